"""Groups of format 2: arrays, and beside them the coordinates that say what their rows are. Pure functions, no I/O.

Every cube, every site's scores, states, counts and token vectors are a zarr group of their own, so that a dimension name has one
size in it: that is what xarray and everything built on it ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.store.layout import VALUES, ArrayPlan, values_path

#: Dimensions whose coordinate is the position along them.
_COUNTED = ("set", "layer", "neuron", "channel")
#: Row of a token array that no token owns.
NO_TEXT = -1


@dataclass(frozen=True)
class Coordinate:
    """One value per position along a dimension.

    Attributes:
        name: Name of the array; the dimension's own, or that of what else is known along it.
        dim: The dimension.
        values: int64, float64 or strings, one per position.
        chunk: Values per chunk: as many as the arrays of the group have along the dimension where dask is to cut both alike.
    """

    name: str
    dim: str
    values: NDArray[Any]
    chunk: int

    @property
    def is_text(self) -> bool:
        """Whether the values are strings."""
        return self.values.dtype.kind == "O"

    @property
    def fill_value(self) -> str | float | int:
        """What no value is, so that one which is not there can not pass for one that is."""
        return "" if self.is_text else float("nan") if self.values.dtype.kind == "f" else NO_TEXT


@dataclass(frozen=True)
class ArrayGroup:
    """Arrays that share their dimensions, and the coordinates of those.

    Attributes:
        path: Folder of the group inside the store.
        arrays: name -> grid.
        coordinates: What lies along the dimensions.
        attributes: Of every array.
    """

    path: str
    arrays: Mapping[str, ArrayPlan]
    coordinates: tuple[Coordinate, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def array_path(self, array: str, store_format: int) -> str:
        """Where an array is inside the store."""
        return values_path(self.path, store_format) if array == VALUES else f"{self.path}/{array}"

    def attributes_of(self, array: str) -> dict[str, Any]:
        """Attributes of one array; `coordinates` names those that do not bear the name of their dimension, as CF has it."""
        dims = self.arrays[array].dims
        others = [one.name for one in self.coordinates if one.name != one.dim and one.dim in dims]
        named = {"coordinates": " ".join(others)} if others else {}
        return {**self.attributes, **named, "logical_dtype": self.arrays[array].logical_dtype}


def cube_group(path: str, plan: ArrayPlan, text_ids: NDArray[np.int64]) -> ArrayGroup:
    """A cube, with the text_id of every text.

    Example:
        >>> from actlas.store.layout import cube_plan
        >>> group = cube_group("cubes/c/mlp_pre.max", cube_plan(2, 8, 3, 3, "float16"), np.array([4, 5, 9]))
        >>> [(one.name, one.dim, one.values.tolist()) for one in group.coordinates if one.dim != "neuron"]
        [('layer', 'layer', [0, 1]), ('text_id', 'text', [4, 5, 9])]
    """
    return _group(path, {VALUES: plan}, {"text_id": ("text", text_ids)})


def token_group(path: str, plan: ArrayPlan, rows: NDArray[np.int64], text_ids: NDArray[np.int64]) -> ArrayGroup:
    """Token vectors, with the text_id of the text that every token stands in; `NO_TEXT` in rows that no token owns."""
    owners = np.full(plan.shape[plan.dims.index("token")], NO_TEXT, dtype=np.int64)
    owners[rows] = text_ids
    return _group(path, {VALUES: plan}, {"text_id": ("token", owners)})


def count_group(path: str, plan: ArrayPlan, languages: Sequence[str], thresholds: Sequence[float]) -> ArrayGroup:
    """Counts of active tokens, with the languages, and the thresholds where there are several."""
    labels = {"language": ("language", _strings(languages))}
    if "threshold" in plan.dims:
        labels["threshold"] = ("threshold", np.asarray(thresholds, dtype=np.float64))
    return _group(path, {VALUES: plan}, labels)


def state_group(path: str, plans: Mapping[str, ArrayPlan]) -> ArrayGroup:
    """States; position along the set axis is the row of the table of sets."""
    return _group(path, plans, {})


def score_group(path: str, plans: Mapping[str, ArrayPlan], languages: Sequence[str], concepts: Sequence[str]) -> ArrayGroup:
    """Scores, one array per statistic."""
    labels = {"language": ("language", _strings(languages)), "concept": ("concept", _strings(concepts))}
    return _group(path, plans, labels)


def _strings(names: Sequence[str]) -> NDArray[Any]:
    return np.array(list(names), dtype=object)


def _group(path: str, arrays: Mapping[str, ArrayPlan], labels: Mapping[str, tuple[str, NDArray[Any]]]) -> ArrayGroup:
    sizes = {dim: size for plan in arrays.values() for dim, size in zip(plan.dims, plan.shape, strict=True)}
    chunks = {dim: chunk for plan in arrays.values() for dim, chunk in zip(plan.dims, plan.chunk, strict=True)}
    counted = [Coordinate(dim, dim, np.arange(size), size) for dim, size in sizes.items() if dim in _COUNTED]
    # xarray reads those that bear the name of their dimension at once, the others chunk by chunk
    labelled = [
        Coordinate(name, dim, values, sizes[dim] if name == dim else chunks[dim]) for name, (dim, values) in labels.items()
    ]
    return ArrayGroup(path, arrays, (*counted, *labelled))
