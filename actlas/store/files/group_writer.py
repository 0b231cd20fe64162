"""Creating arrays and groups: metadata and coordinates, every file whole or absent, the first writer's stays.

zarr makes the bytes in memory; writing them is ours, so that a kill leaves neither half a file nor a temporary one of zarr.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from actlas.store.files.atomic import create_once, to_json
from actlas.store.files.codecs import Codec
from actlas.store.groups import ArrayGroup, Coordinate
from actlas.store.layout import ArrayPlan

METADATA = "zarr.json"
#: Files that wait for the disk at the same time: a group has many small ones, and a file system flushes several as fast as one.
_FLUSHES = 8


def create_groups(root: Path, groups: Sequence[ArrayGroup], codec: Codec, *, store_format: int, sync: bool = True) -> None:
    """Create groups: their coordinates and the metadata of their arrays, then their own, which makes them groups to every reader.

    Nothing is written where a group exists already. Several processes may create it at once, and one may go on where a killed
    one stopped: a file that is there stays, and all would write the same. A store of format 1 gets the arrays alone.
    """
    if store_format == 1:
        for group in groups:
            for name, plan in group.arrays.items():
                create_array(root, group.array_path(name, store_format), plan, codec, group.attributes, sync=sync)
        return
    missing = [group for group in groups if not (root / group.path / METADATA).exists()]
    files: dict[Path, bytes] = {}
    for group in missing:
        files |= _parents(root, group.path)
        for coordinate in group.coordinates:
            folder = root / group.path / coordinate.name
            files |= {folder / name: data for name, data in coordinate_files(coordinate, codec).items()}
        for name, plan in group.arrays.items():
            metadata = array_metadata(plan, codec, group.attributes_of(name))
            files[root / group.array_path(name, store_format) / METADATA] = metadata
    _create_all(files, sync=sync)
    _create_all({root / group.path / METADATA: _inline_metadata(root, group) for group in missing}, sync=sync)


def group_files(root: Path, group: ArrayGroup, store_format: int) -> list[str]:
    """The files of a group that exists, apart from shards: metadata, and the values of coordinates."""
    if store_format == 1:
        folders = [group.path, *(group.array_path(name, store_format) for name in group.arrays)]
        return [f"{folder}/{METADATA}" for folder in dict.fromkeys(folders)]
    folders = [*group.arrays, *(coordinate.name for coordinate in group.coordinates)]
    files = [METADATA, *(f"{name}/{METADATA}" for name in folders)]
    for coordinate in group.coordinates:
        files += [f"{coordinate.name}/c/{path.name}" for path in sorted((root / group.path / coordinate.name / "c").iterdir())]
    return [f"{group.path}/{file}" for file in files if not file.endswith(".tmp")]


def create_leaf(root: Path, path: str, *, sync: bool = True) -> None:
    """Create a group that says of itself that nothing in it is zarr's, for a folder of other files inside the hierarchy.

    Without it, readers that list the hierarchy warn of what they find there.
    """
    create_once(root / path / METADATA, [_group_metadata({})], sync=sync)


def create_array(
    root: Path, path: str, plan: ArrayPlan, codec: Codec, attributes: Mapping[str, Any], *, sync: bool = True
) -> None:
    """Create an array's metadata, and the groups above it. Nothing is written where the array exists already."""
    file = root / path / METADATA
    if not file.exists():
        attributes = {**attributes, "logical_dtype": plan.logical_dtype}
        _create_all({**_parents(root, path), file: array_metadata(plan, codec, attributes)}, sync=sync)


def array_metadata(plan: ArrayPlan, codec: Codec, attributes: Mapping[str, Any]) -> bytes:
    """What zarr.json says of an array."""
    import zarr
    from zarr.core.buffer import default_buffer_prototype

    array = zarr.create_array(
        zarr.storage.MemoryStore(),
        shape=plan.shape,
        chunks=plan.chunk,
        shards=plan.shard,
        dtype=plan.dtype,
        compressors=codec.zarr_codecs(plan.itemsize),
        fill_value=plan.fill_value,
        dimension_names=plan.dims,
        attributes=dict(attributes),
        zarr_format=3,
    )
    return array.metadata.to_buffer_dict(default_buffer_prototype())[METADATA].to_bytes()


def coordinate_files(coordinate: Coordinate, codec: Codec) -> dict[str, bytes]:
    """The files of a coordinate array, by their name in its folder."""
    values = coordinate.values
    if coordinate.is_text:
        return _encoded(coordinate, codec)
    # every cube of a store has the same text_ids, which take longer to encode than all else in a group
    return _encoded_once(coordinate.name, coordinate.dim, values.dtype.str, values.tobytes(), coordinate.chunk, codec)


@lru_cache(maxsize=16)
def _encoded_once(name: str, dim: str, dtype: str, values: bytes, chunk: int, codec: Codec) -> dict[str, bytes]:
    return _encoded(Coordinate(name, dim, np.frombuffer(values, dtype), chunk), codec)


def _encoded(coordinate: Coordinate, codec: Codec) -> dict[str, bytes]:
    import zarr
    from zarr.codecs import Crc32cCodec

    files: dict[str, Any] = {}
    n_values, chunk = len(coordinate.values), coordinate.chunk
    shard = -(-n_values // chunk) * chunk
    array = zarr.create_array(
        zarr.storage.MemoryStore(files),
        shape=(n_values,),
        chunks=(chunk,),
        shards=(shard,) if shard > chunk else None,
        dtype="string" if coordinate.is_text else coordinate.values.dtype,
        compressors=[Crc32cCodec()] if coordinate.is_text else codec.zarr_codecs(coordinate.values.dtype.itemsize),
        fill_value=coordinate.fill_value,
        dimension_names=(coordinate.dim,),
        zarr_format=3,
        config={"write_empty_chunks": True},
    )
    array[:] = coordinate.values
    return {name: buffer.to_bytes() for name, buffer in files.items()}


def _inline_metadata(root: Path, group: ArrayGroup) -> bytes:
    """Metadata of a group whose arrays are on disk, with theirs in it: they never change, and one read opens the group."""
    names = [*(coordinate.name for coordinate in group.coordinates), *group.arrays]
    return _group_metadata({name: json.loads((root / group.path / name / METADATA).read_bytes()) for name in names})


def _group_metadata(members: Mapping[str, Any]) -> bytes:
    listing = {"kind": "inline", "must_understand": False, "metadata": members}
    return to_json({"zarr_format": 3, "node_type": "group", "attributes": {}, "consolidated_metadata": listing})


def _parents(root: Path, path: str) -> dict[Path, bytes]:
    """Metadata of the groups above a group or an array."""
    above = to_json({"zarr_format": 3, "node_type": "group", "attributes": {}})
    return {root / parent / METADATA: above for parent in PurePosixPath(path).parents[:-1]}


def _create_all(files: Mapping[Path, bytes], *, sync: bool) -> None:
    missing = {path: data for path, data in files.items() if not path.exists()}
    if missing:
        with ThreadPoolExecutor(_FLUSHES, thread_name_prefix="actlas-create") as pool:
            for _ in pool.map(lambda path: create_once(path, [missing[path]], sync=sync), missing):
                pass
