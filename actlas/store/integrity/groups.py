"""Metadata and coordinates of a store: what zarr and xarray read of it, compared with what they have to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import DamagedStore, raise_shortage
from actlas.store import layout
from actlas.store.files.atomic import read_json
from actlas.store.files.shard_reader import open_array, plan_of
from actlas.store.groups import ArrayGroup, count_group, cube_group, score_group, state_group, token_group
from actlas.store.integrity.manifests import Manifest
from actlas.store.layout import VALUES, ArrayPlan
from actlas.store.store import Store

_PLAIN_GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}
_EMPTY_LIST = {"kind": "inline", "must_understand": False, "metadata": {}}


@dataclass(frozen=True)
class CommittedArray:
    """An array that a record says is there.

    Attributes:
        path: Where, inside the store.
        shape: Its sizes; None for one that no record says.
        dtype: What its numbers are.
    """

    path: str
    shape: tuple[int | None, ...]
    dtype: str

    def faults(self, plan: ArrayPlan) -> Iterator[str]:
        """What its metadata says that cannot be."""
        is_same = len(self.shape) == len(plan.shape)
        is_same = is_same and all(known in (None, size) for known, size in zip(self.shape, plan.shape, strict=True))
        if not is_same or (plan.logical_dtype, plan.dtype) != (self.dtype, layout.storage_dtype(self.dtype)):
            said, asked = (" x ".join(map(str, sizes)).replace("None", "?") for sizes in (plan.shape, self.shape))
            yield f"{self.path}/zarr.json: it says {said} of {plan.logical_dtype}, and {asked} of {self.dtype} were committed"

    def shards(self, plan: ArrayPlan) -> Iterator[str]:
        """Files that hold its values."""
        for index in product(*(range(ceil(size / step)) for size, step in zip(plan.shape, plan.shard, strict=True))):
            yield f"{self.path}/c/{'/'.join(map(str, index))}"


def committed_arrays(store: Store, manifest: Manifest) -> Iterator[CommittedArray]:
    """The arrays of values of a complete checkpoint, and of its complete scores."""
    record, recipe, store_format = manifest.record, store.recipe, store.about["format"]
    if record is None:
        return
    for site in record.cubes:
        path = layout.values_path(layout.cube_path(manifest.checkpoint, site, recipe.pooling), store_format)
        yield CommittedArray(path, record.shapes.get(site, (None, None, None)), record.dtype_of(site, recipe))
    for site in record.token_cubes:
        path = layout.values_path(layout.token_path(manifest.checkpoint, site), store_format)
        yield CommittedArray(path, (None, None, None), record.dtype_of(site, recipe))
    for site in record.counts:
        path = layout.values_path(layout.count_path(manifest.checkpoint, site), store_format)
        n_thresholds = len(recipe.count_thresholds)
        several = (n_thresholds,) if n_thresholds > 1 else ()
        yield CommittedArray(path, (*several, len(store.corpus.languages), None, None), "int64")
    for site, (n_layers, n_neurons) in record.states.items():
        folder = layout.state_path(manifest.checkpoint, site, recipe.pooling)
        n_sets = sum(part.n_sets for part in store.text_sets)
        for name in state_names(manifest, folder):
            plan = layout.state_array_plan(name, n_sets, n_layers, n_neurons, store_format)
            yield CommittedArray(f"{folder}/{name}", plan.shape, plan.dtype)
    for path, scores in manifest.scores.items():
        sizes = _sizes_of(manifest, path)
        if scores.is_done and scores.settings is not None and sizes is not None:
            axes = (len(scores.settings.languages), len(scores.settings.concepts))
            for stat in scores.settings.stats:
                yield CommittedArray(f"{path}/{stat}", (*axes, *sizes), layout.score_dtype(stat))


def _sizes_of(manifest: Manifest, path: str) -> tuple[int, int] | None:
    site = path.rpartition("/")[2].partition(".")[0]
    record = manifest.record
    return record.shape(site) if record is not None and site in {*record.shapes, *record.states, *record.imported} else None


def state_names(manifest: Manifest, folder: str) -> list[str]:
    """The arrays of states that a checkpoint has in a folder."""
    committed = {shard.path.rpartition("/c/")[0] for _, shard in manifest.shards()}
    return [name for name in layout.STATE_ARRAYS if f"{folder}/{name}" in committed]


class KnownMetadata:
    """Metadata and coordinates of a store as they are read. What has the bytes of something that was read before says the same:
    most arrays share theirs with those of other checkpoints, and opening one with zarr takes longer than reading its shards.

    Args:
        root: Folder of the store.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._plans: dict[bytes, ArrayPlan | None] = {}
        self._values: dict[tuple[bytes, bytes], NDArray[Any] | str] = {}

    def plan(self, path: str) -> ArrayPlan | None:
        """Grid of an array; None where its metadata cannot be read."""
        try:
            written = (self.root / path / "zarr.json").read_bytes()
        except OSError as error:
            raise_shortage(error)
            return None
        if written not in self._plans:
            try:
                self._plans[written] = plan_of(open_array(self.root / path))
            except DamagedStore:
                self._plans[written] = None
        return self._plans[written]

    def plans(self, group: str, arrays: Mapping[str, Sequence[str]]) -> dict[str, ArrayPlan]:
        """Grids of those arrays of a group, name -> dimensions, that have these; the others are named with their shards."""
        plans = {name: self.plan(f"{group}/{name}") for name in arrays}
        return {name: plan for name, plan in plans.items() if plan is not None and plan.dims == tuple(arrays[name])}

    def coordinate(self, folder: Path) -> NDArray[Any] | str:
        """Values of a coordinate, which are one file; what is wrong, where they cannot be read."""
        import zarr

        if not (folder / "c" / "0").is_file():
            return "its values are missing"
        try:
            written = ((folder / "zarr.json").read_bytes(), (folder / "c" / "0").read_bytes())
            if written not in self._values:
                self._values[written] = np.asarray(zarr.open_array(folder, mode="r", zarr_format=3)[:])
        except Exception as error:
            raise_shortage(error)
            # whatever zarr stumbles over, the files are not those that were written here
            return f"its values cannot be read ({' '.join(str(error).split())})"
        return self._values[written]


def group_faults(store: Store, manifests: Sequence[Manifest], known: KnownMetadata) -> Iterator[str]:
    """Groups of committed cubes and scores that other libraries could not open, or would label wrongly."""
    # of the folder of the log, stores without one have none
    above: set[str] = set(layout.OTHER_FILES) - {"log"}
    for manifest in manifests:
        for group in groups_of(store, manifest, known):
            above.update(map(str, PurePosixPath(group.path).parents[:-1]))
            yield from _damaged_group(known, group)
    yield from plain_group_faults(store.path, [f"{path}/zarr.json" for path in sorted(above)])


def metadata_above(path: str) -> Iterator[str]:
    """The metadata of an array, and of the groups above it."""
    parts = path.split("/")
    yield from (f"{'/'.join(parts[:n])}/zarr.json" for n in range(1, len(parts) + 1))


def plain_group_faults(root: Path, paths: Iterable[str]) -> Iterator[str]:
    """Metadata of groups that hold groups alone, or no arrays: all of them say the same."""
    for path in paths:
        metadata = _metadata((root / path).parent)
        listed = metadata.pop("consolidated_metadata", _EMPTY_LIST)
        if metadata != _PLAIN_GROUP or listed != _EMPTY_LIST:
            yield f"{path}: not the metadata of a group"


def groups_of(store: Store, manifest: Manifest, known: KnownMetadata) -> Iterator[ArrayGroup]:
    """The groups of a complete checkpoint as they have to be."""
    record, recipe, corpus, tokens = manifest.record, store.recipe, store.corpus, store.sampled_tokens
    if record is None:
        return
    for site in record.cubes:
        path = layout.cube_path(manifest.checkpoint, site, recipe.pooling)
        for plan in known.plans(path, {VALUES: layout.CUBE_DIMS}).values():
            yield cube_group(path, plan, corpus.texts["text_id"].to_numpy())
    for site in record.token_cubes:
        path = layout.token_path(manifest.checkpoint, site)
        for plan in known.plans(path, {VALUES: layout.TOKEN_DIMS}).values():
            yield token_group(path, plan, tokens["row"].to_numpy(), tokens["text_id"].to_numpy())
    for site in record.counts:
        path = layout.count_path(manifest.checkpoint, site)
        dims = layout.COUNT_DIMS if len(recipe.count_thresholds) == 1 else ("threshold", *layout.COUNT_DIMS)
        for plan in known.plans(path, {VALUES: dims}).values():
            yield count_group(path, plan, corpus.languages, recipe.count_thresholds)
    for site in record.states:
        path = layout.state_path(manifest.checkpoint, site, recipe.pooling)
        yield state_group(path, known.plans(path, {name: layout.STATE_ARRAYS[name][0] for name in state_names(manifest, path)}))
    for path, scores in manifest.scores.items():
        settings = scores.settings
        if scores.is_done and settings is not None:
            plans = known.plans(path, dict.fromkeys(settings.stats, layout.SCORE_DIMS))
            if plans:
                yield score_group(path, plans, settings.languages, settings.concepts)


def _damaged_group(known: KnownMetadata, group: ArrayGroup) -> Iterator[str]:
    folder = known.root / group.path
    own = _metadata(folder)
    if own.get("node_type") != "group":
        yield f"{group.path}/zarr.json: not the metadata of a group"
    inline = own.get("consolidated_metadata") or {}
    members = inline.get("metadata") if isinstance(inline, dict) else None
    for name in (*(coordinate.name for coordinate in group.coordinates), *group.arrays):
        metadata = _metadata(folder / name)
        if metadata.get("node_type") != "array":
            yield f"{group.path}/{name}/zarr.json: not the metadata of an array"
        elif own and metadata != (members.get(name) if isinstance(members, dict) else None):
            yield f"{group.path}/zarr.json: what it says of {name} differs from {group.path}/{name}/zarr.json"
    for coordinate in group.coordinates:
        values = known.coordinate(folder / coordinate.name)
        if isinstance(values, str):
            yield f"{group.path}/{coordinate.name}/c/0: {values}"
        elif not np.array_equal(values, coordinate.values):
            where = f"manifests/{'/scores/'.join(group.path.split('/')[1:])}/settings.json has"
            whose = where if group.path.startswith("scores/") and coordinate.is_text else f"the {coordinate.name} of this store"
            yield f"{group.path}/{coordinate.name}/c/0: other values than {whose}"


def _metadata(folder: Path) -> dict[str, Any]:
    """What zarr.json says; empty where there is none, or none that can be read."""
    try:
        data = read_json(folder / "zarr.json")
    except (OSError, ValueError) as error:
        raise_shortage(error)
        return {}
    return data if isinstance(data, dict) else {}
