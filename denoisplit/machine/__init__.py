"""Resources of this machine: device, memory, processes, Dask clusters."""
