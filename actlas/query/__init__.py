"""Questions: read the store, call the kernels, return polars frames. Importing this loads no model library."""
