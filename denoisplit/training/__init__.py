"""Training of one network or of a chain, from prepared data to an evaluated run folder."""

from denoisplit.machine.distributed import no_launcher

with no_launcher():
    import lightning as lightning
