"""Files: whole or absent, locked while somebody works on them, and the shards of a zarr array."""

from actlas.store.files.atomic import Claim, create_once, read_json, to_json, write_atomically

__all__ = ["Claim", "create_once", "read_json", "to_json", "write_atomically"]
