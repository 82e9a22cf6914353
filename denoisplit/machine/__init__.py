"""What this machine offers: device, memory, processes, a Dask cluster."""
