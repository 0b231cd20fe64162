"""Several processes on one store: devices of this machine, or workers of a Dask cluster."""
