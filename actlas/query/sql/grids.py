"""The cubes of a store as grids of labels: what tables `activations` and `scores` are read from, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.store.cube import Cube, ScoreCube, as_float32
from actlas.store.layout import CHUNK_NEURONS, CHUNK_TEXTS
from actlas.store.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from actlas.query.sql.values import Keep

#: Rows of one batch: enough that a batch costs little, few enough that a query holds little and LIMIT ends early.
BATCH_ROWS = 500_000
#: The same where only values within bounds go on: what is read then is not held, and what goes on is hardly ever all.
_SEARCHED_ROWS = 2_000_000

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Region:
    """Part of a grid.

    Attributes:
        box: Axis -> positions on it, ascending.
        cells: (position of a cube, layer) -> neurons, where these are not the same everywhere; None where they are.
    """

    box: Mapping[str, Positions]
    cells: Mapping[tuple[int, int], Positions] | None = None


@dataclass(frozen=True)
class Batch:
    """Rows of a grid, column by column.

    Attributes:
        height: How many.
        n_read: Rows of the grid that they were chosen from.
        numbers: Column -> one number per row; NaN stands for null.
        coded: Column of strings -> one position per row, and the strings.
        constants: Column -> what all rows have.
    """

    height: int
    n_read: int
    numbers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    coded: Mapping[str, tuple[NDArray[np.int32], pl.Series]] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)

    def taken(self, at: Positions) -> Batch:
        """Those of its rows that are at some places."""
        numbers = {name: values[at] for name, values in self.numbers.items()}
        coded = {name: (codes[at], names) for name, (codes, names) in self.coded.items()}
        return Batch(at.size, self.n_read, numbers, coded, self.constants)

    def frame(self, schema: Mapping[str, pl.DataType], columns: Sequence[str]) -> pl.DataFrame:
        """The rows as polars, with these columns."""
        data: dict[str, pl.Series] = {}
        for name in columns:
            if name in self.numbers:
                data[name] = pl.Series(self.numbers[name], dtype=schema[name])
                if schema[name].is_float():
                    data[name] = data[name].fill_nan(None)
            elif name in self.coded:
                codes, names = self.coded[name]
                data[name] = names.gather(pl.Series(codes, dtype=pl.UInt32))
        frame = pl.DataFrame(data or {"": np.zeros(self.height, dtype=np.int8)})
        constants = {name: value for name, value in self.constants.items() if name in columns}
        # a literal is one value for all rows to polars
        with_all = frame.with_columns(pl.lit(value, dtype=schema[name]).alias(name) for name, value in constants.items())
        return with_all.select(columns) if columns else with_all

    def record(self, schema: pa.Schema) -> pa.RecordBatch:
        """The rows as Arrow, with the columns of a schema; one that no query asked for is null."""
        import pyarrow as pa

        arrays = []
        for column in schema:
            if column.name in self.numbers:
                values = self.numbers[column.name]
                mask = np.isnan(values) if values.dtype.kind == "f" else None
                arrays.append(pa.array(values, column.type, mask=mask if mask is not None and mask.any() else None))
            elif column.name in self.coded:
                codes, names = self.coded[column.name]
                arrays.append(pa.DictionaryArray.from_arrays(codes, names.to_arrow().cast(column.type.value_type)))
            elif self.constants.get(column.name) is None:
                arrays.append(pa.nulls(self.height, column.type))
            elif pa.types.is_dictionary(column.type):
                only = pa.array([self.constants[column.name]], column.type.value_type)
                arrays.append(pa.DictionaryArray.from_arrays(np.zeros(self.height, dtype=np.int32), only))
            else:
                arrays.append(pa.array(np.full(self.height, self.constants[column.name]), column.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


class Grid(Protocol):
    """What a table of this kind has to know."""

    @property
    def name(self) -> str: ...

    @property
    def cubes(self) -> pl.DataFrame:
        """checkpoint, site, n_layers, n_neurons, one row per position of the axis "cube"."""
        ...

    @property
    def axes(self) -> Mapping[str, pl.DataFrame]:
        """axis -> its labels, one row per position; the columns of all axes and the values make the table."""
        ...

    @property
    def schema(self) -> pl.Schema: ...

    def n_rows(self, region: Region) -> int:
        """Rows of a region."""
        ...

    def batches(self, region: Region, columns: Sequence[str], keep: Keep | None = None) -> Iterator[Batch]:
        """Rows of a region, at least with these columns, reading nothing outside it; of every batch those that `keep` keeps."""
        ...


def label_columns(grid: Grid) -> frozenset[str]:
    """Columns that say where a row of a grid is; the others are values."""
    return frozenset(column for labels in grid.axes.values() for column in labels.columns)


def _span(positions: Positions) -> slice | Positions:
    """A slice where positions are consecutive, which zarr reads faster."""
    if positions.size and positions[-1] - positions[0] == positions.size - 1:
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions


def _groups(positions: Positions, per_group: int, unit: int) -> Iterator[Positions]:
    """Consecutive parts of about `per_group` positions that end at multiples of `unit`."""
    ends = np.flatnonzero(np.diff(positions // unit)) + 1
    start = 0
    for end in [*ends.tolist(), positions.size]:
        if end - start >= per_group or end == positions.size:
            if end > start:
                yield positions[start:end]
            start = end


def _range_axis(name: str, size: int) -> pl.DataFrame:
    return pl.DataFrame({name: np.arange(size, dtype=np.int32)})


@dataclass(frozen=True)
class ActivationGrid:
    """Table `activations`.

    Attributes:
        store: Where cubes are read from.
        cubes: checkpoint, site, n_layers, n_neurons of every cube.
        texts: text_id and language in the order of the text axis.
    """

    store: Store
    cubes: pl.DataFrame
    texts: pl.DataFrame
    name: str = "activations"
    _cubes: dict[tuple[str, str], Cube] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def axes(self) -> Mapping[str, pl.DataFrame]:
        return {
            "cube": self.cubes.select("checkpoint", "site"),
            "layer": _range_axis("layer", int(self.cubes["n_layers"].max() or 0)),  # type: ignore[arg-type]
            "neuron": _range_axis("neuron", int(self.cubes["n_neurons"].max() or 0)),  # type: ignore[arg-type]
            "text": self.texts.select("text_id", "language"),
        }

    @cached_property
    def schema(self) -> pl.Schema:
        names = {"checkpoint": pl.String(), "site": pl.String(), "layer": pl.Int32(), "neuron": pl.Int32()}
        return pl.Schema({**names, "text_id": pl.Int64(), "value": pl.Float32(), "language": pl.String()})

    def n_rows(self, region: Region) -> int:
        places = sum(layers.size * neurons.size for _, _, layers, neurons in slabs_in(self.cubes, region))
        return places * region.box["text"].size

    def batches(self, region: Region, columns: Sequence[str], keep: Keep | None = None) -> Iterator[Batch]:
        texts = region.box["text"]
        columns_of = _Columns(self._text_ids, *self._languages, frozenset(columns))
        for checkpoint, site, layers, neurons in slabs_in(self.cubes, region) if texts.size else ():
            cube = self._cube(checkpoint, site) if "value" in columns or keep is not None else None
            for layer in layers.tolist():
                most = _batch_rows(keep)
                constants = {"checkpoint": checkpoint, "site": site, "layer": layer}
                for part in _groups(neurons, max(1, most // texts.size), CHUNK_NEURONS):
                    for rows in _groups(texts, max(1, most // part.size), CHUNK_TEXTS):
                        values, at = None, None
                        if cube is not None:
                            values, at = _values(cube, layer, _span(part), _span(rows), keep)
                        yield columns_of.batch(part, rows, values, at, constants)

    def _cube(self, checkpoint: str, site: str) -> Cube:
        # to open one takes as long as to read a neuron of it
        if (checkpoint, site) not in self._cubes:
            self._cubes[checkpoint, site] = self.store.cube(checkpoint, site)
        return self._cubes[checkpoint, site]

    @cached_property
    def _text_ids(self) -> NDArray[np.int64]:
        return self.texts["text_id"].to_numpy().astype(np.int64)

    @cached_property
    def _languages(self) -> tuple[NDArray[np.int32], pl.Series]:
        names = self.texts["language"].unique(maintain_order=True)
        codes = self.texts["language"].replace_strict(names, range(len(names)), return_dtype=pl.Int32)
        return codes.to_numpy(), names


def _batch_rows(keep: Keep | None) -> int:
    return BATCH_ROWS if keep is None or keep.bounds is None else _SEARCHED_ROWS


def _values(
    cube: Cube, layer: int, neurons: slice | Positions, texts: slice | Positions, keep: Keep | None
) -> tuple[NDArray[np.float32], Positions | None]:
    """Values of a part of a cube; or those that go on, and where they are in the flattened part."""
    bounds = None if keep is None else keep.bounds
    if keep is None or bounds is None:
        values = as_float32(cube.read(layer=layer, neurons=neurons, texts=texts).reshape(-1))
        at = None if keep is None else np.flatnonzero(keep.rows({"value": values}))
        return (values, None) if at is None else (values[at], at)
    at, found = cube.find(bounds, layer=layer, neurons=neurons, texts=texts)
    values = as_float32(found)
    kept = keep.rows({"value": values})
    return values[kept], at[kept]


class _Columns:
    """Columns of batches of `activations`; those of a part of the texts are made once for parts that follow each other."""

    def __init__(self, text_ids: Positions, codes: NDArray[np.int32], languages: pl.Series, columns: frozenset[str]) -> None:
        self._of_text: dict[str, NDArray[Any]] = {"text_id": text_ids, "language": codes}
        self._languages, self._columns = languages, columns
        self._tiled: dict[tuple[str, int, int, int], NDArray[Any]] = {}

    def batch(
        self,
        neurons: Positions,
        texts: Positions,
        values: NDArray[np.float32] | None,
        at: Positions | None,
        constants: Mapping[str, Any],
    ) -> Batch:
        """Neurons by texts, or of these, counted row by row, those at some places; and the values of what is taken."""
        n_read = neurons.size * texts.size
        numbers: dict[str, NDArray[Any]] = {}
        if "neuron" in self._columns:
            own = neurons.astype(np.int32)
            numbers["neuron"] = np.repeat(own, texts.size) if at is None else own[at // texts.size]
        if "value" in self._columns and values is not None:
            numbers["value"] = values
        of_text = {
            name: self._tile(name, neurons.size, texts) if at is None else labels[texts[at % texts.size]]
            for name, labels in self._of_text.items()
            if name in self._columns
        }
        coded = {"language": (of_text.pop("language"), self._languages)} if "language" in of_text else {}
        return Batch(n_read if at is None else at.size, n_read, numbers | of_text, coded, constants)

    def _tile(self, name: str, times: int, texts: Positions) -> NDArray[Any]:
        key = (name, times, int(texts[0]), texts.size)
        if key not in self._tiled:
            # of one part of the texts, and no more
            self._tiled = {old: tiled for old, tiled in self._tiled.items() if old[1:] == key[1:]}
            self._tiled[key] = np.tile(self._of_text[name][texts], times)
        return self._tiled[key]


@dataclass(frozen=True)
class ScoreGrid:
    """Table `scores`.

    Attributes:
        store: Where scores are read from.
        cubes: checkpoint, site, n_layers, n_neurons and stats of every scored cube.
        languages: Of the store.
        concepts: Of the store.
        columns: Statistics and their types.
    """

    store: Store
    cubes: pl.DataFrame
    languages: tuple[str, ...]
    concepts: tuple[str, ...]
    columns: Mapping[str, pl.DataType]
    name: str = "scores"
    _scores: dict[tuple[str, str], ScoreCube] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def axes(self) -> Mapping[str, pl.DataFrame]:
        return {
            "cube": self.cubes.select("checkpoint", "site"),
            "language": pl.DataFrame({"language": self.languages}, schema={"language": pl.String}),
            "concept": pl.DataFrame({"concept": self.concepts}, schema={"concept": pl.String}),
            "layer": _range_axis("layer", int(self.cubes["n_layers"].max() or 0)),  # type: ignore[arg-type]
            "neuron": _range_axis("neuron", int(self.cubes["n_neurons"].max() or 0)),  # type: ignore[arg-type]
        }

    @cached_property
    def schema(self) -> pl.Schema:
        names = ("checkpoint", "language", "concept", "site")
        labels: dict[str, pl.DataType] = {name: pl.String() for name in names}
        return pl.Schema({**labels, "layer": pl.Int32(), "neuron": pl.Int32(), **self.columns})

    def n_rows(self, region: Region) -> int:
        sizes = (layers.size * neurons.size for _, _, layers, neurons in slabs_in(self.cubes, region))
        return sum(sizes) * region.box["language"].size * region.box["concept"].size

    def batches(self, region: Region, columns: Sequence[str], keep: Keep | None = None) -> Iterator[Batch]:
        asked = {axis: [names[at] for at in region.box[axis]] for axis, names in self._names.items()}
        for checkpoint, site, layers, neurons in slabs_in(self.cubes, region):
            scores = self._opened(checkpoint, site)
            languages = [name for name in asked["language"] if name in scores.languages]
            concepts = [name for name in asked["concept"] if name in scores.concepts]
            if not languages or not concepts:
                continue
            most = _batch_rows(keep)
            # chunks hold several languages: all of them are read together, and of layers and concepts as many as fit
            own_layers = _even_groups(layers, most // (len(languages) * neurons.size))
            for some_layers in own_layers:
                per_batch = max(1, most // (len(languages) * some_layers.size * neurons.size))
                for start in range(0, len(concepts), per_batch):
                    part = _ScorePart(languages, concepts[start : start + per_batch], some_layers, neurons)
                    yield self._batch(scores, part, columns, {"checkpoint": checkpoint, "site": site}, keep)

    @property
    def _names(self) -> Mapping[str, tuple[str, ...]]:
        return {"language": self.languages, "concept": self.concepts}

    def _opened(self, checkpoint: str, site: str) -> ScoreCube:
        # to open one takes as long as to read a concept of it
        if (checkpoint, site) not in self._scores:
            self._scores[checkpoint, site] = self.store.scores(checkpoint, site)
        return self._scores[checkpoint, site]

    def _batch(
        self, scores: ScoreCube, part: _ScorePart, columns: Sequence[str], constants: Mapping[str, Any], keep: Keep | None
    ) -> Batch:
        needed = {*columns, *(keep.columns if keep is not None else ())}
        where = (part.languages, part.concepts, _span(part.layers), _span(part.neurons))
        numbers: dict[str, NDArray[Any]] = {}
        at: Positions | None = None
        bounds = None if keep is None else keep.bounds
        if keep is not None and bounds is not None and keep.columns <= {*scores.stats}:
            (stat,) = keep.columns
            found, values = scores.find(stat, bounds, *where)
            kept = keep.rows({stat: values})
            at, numbers[stat] = found[kept], values[kept]
        others = {stat: scores.read(stat, *where).reshape(-1) for stat in scores.stats if stat in needed and stat not in numbers}
        if keep is not None and at is None:
            absent = keep.columns - others.keys()
            nothing = dict.fromkeys(absent, np.full(part.height if absent else 0, np.nan))
            at = np.flatnonzero(keep.rows(others | nothing))
        numbers |= {name: values if at is None else values[at] for name, values in others.items()}
        for axis, positions in (("layer", part.layers), ("neuron", part.neurons)):
            if axis in columns:
                numbers[axis] = part.along(axis, positions.astype(np.int32), at)
        coded = {
            axis: (part.along(axis, np.arange(len(names), dtype=np.int32), at), pl.Series(names, dtype=pl.String))
            for axis, names in (("language", part.languages), ("concept", part.concepts))
            if axis in columns
        }
        missing = dict.fromkeys(name for name in columns if name in self.columns and name not in scores.stats)
        height = part.height if at is None else at.size
        return Batch(height, part.height, numbers, coded, {**constants, **missing})


@dataclass(frozen=True)
class _ScorePart:
    """What one batch of scores is about; its rows are in this order of axes."""

    languages: list[str]
    concepts: list[str]
    layers: Positions
    neurons: Positions

    @property
    def shape(self) -> dict[str, int]:
        axes = (("language", self.languages), ("concept", self.concepts), ("layer", self.layers), ("neuron", self.neurons))
        return {axis: len(there) for axis, there in axes}

    @property
    def height(self) -> int:
        return prod(self.shape.values())

    def along(self, axis: str, values: NDArray[Any], at: Positions | None) -> NDArray[Any]:
        """Values along one axis, one for every row, or for the rows at some places."""
        sizes = list(self.shape.values())
        place = list(self.shape).index(axis)
        after = prod(sizes[place + 1 :])
        if at is not None:
            return values[at // after % sizes[place]]
        return np.tile(np.repeat(values, after), prod(sizes[:place]))


def _even_groups(positions: Positions, most: int) -> list[Positions]:
    """Consecutive parts of at most so many positions, one at least in each."""
    return np.array_split(positions, -(-positions.size // max(1, most)))


def slabs_in(cubes: pl.DataFrame, region: Region) -> Iterator[tuple[str, str, Positions, Positions]]:
    """Cubes inside a region, each with layers that have the same neurons of it, and these."""
    box = region.box
    for position, row in zip(box["cube"].tolist(), cubes[box["cube"]].iter_rows(named=True), strict=True):
        layers, neurons = box["layer"], box["neuron"]
        layers, neurons = layers[layers < row["n_layers"]], neurons[neurons < row["n_neurons"]]
        slabs = [(layers, neurons)]
        if region.cells is not None:
            here = {layer: region.cells.get((position, layer), _NONE) for layer in layers.tolist()}
            slabs = [(np.array([layer]), np.intersect1d(some, neurons, assume_unique=True)) for layer, some in here.items()]
        for some_layers, some_neurons in slabs:
            if some_layers.size and some_neurons.size:
                yield row["checkpoint"], row["site"], some_layers, some_neurons


_NONE = np.empty(0, dtype=np.int64)
