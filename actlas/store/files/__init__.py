"""Files: written whole or not at all, claimed while they are worked on, and the shards of a zarr array."""

from actlas.store.files.atomic import create_once, read_json, to_json, write_atomically
from actlas.store.files.locks import Claim

__all__ = ["Claim", "create_once", "read_json", "to_json", "write_atomically"]
