"""Reading arrays of a store: pooled values, sampled token vectors, scores, token counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.compiled.bfloat16 import bfloat16_to_float32
from actlas.compiled.float16 import float16_to_float32
from actlas.errors import IndexNotFound, NameNotFound
from actlas.store.bounds import Bounds
from actlas.store.corpus.text_sets import LanguageSets
from actlas.store.files.shard_reader import find_part, plan_of, read_part
from actlas.store.layout import STATE_ARRAYS
from actlas.store.records import ShardRecord
from actlas.words import did_you_mean

if TYPE_CHECKING:
    import xarray
    import zarr

Rows = slice | Sequence[int] | NDArray[np.integer[Any]] | None


#: The records of the shards of an array by their index, see `read_part`, or what reads them once they are needed.
Committed = Callable[[], Mapping[str, ShardRecord]]


def read_array(array: zarr.Array[Any], selectors: Sequence[int | Rows], committed: Committed | None) -> NDArray[Any]:
    """Orthogonal read: an int drops its dimension, a sequence picks in the order given, None takes all.

    Raises:
        IndexError: If an index is outside the array.
        DamagedStore: If what is on disk is not what was committed.
    """
    folder, where, dropped = _place(array, selectors)
    records = None if committed is None else committed()
    return read_part(folder, plan_of(array), where, records).squeeze(axis=tuple(dropped))


def find_in_array(
    array: zarr.Array[Any], selectors: Sequence[int | Rows], committed: Committed | None, bounds: Bounds
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Where values are within bounds in what `read_array` gives, flattened, ascending; and these values.

    Raises:
        IndexError: If an index is outside the array.
        DamagedStore: If what is on disk is not what was committed.
    """
    folder, where, _ = _place(array, selectors)
    return find_part(folder, plan_of(array), where, None if committed is None else committed(), bounds)


def _place(array: zarr.Array[Any], selectors: Sequence[int | Rows]) -> tuple[Path, list[slice | NDArray[np.int64]], list[int]]:
    """The folder of an array, positions along each axis, and the axes of which one position is asked for."""
    where: list[slice | NDArray[np.int64]] = []
    dropped = []
    for axis, selector in enumerate(selectors):
        size = array.shape[axis]
        if isinstance(selector, int | np.integer):
            at = int(selector) + (size if selector < 0 else 0)
            if not 0 <= at < size:
                raise IndexNotFound(f"index {int(selector)} on an axis of {size}")
            where.append(slice(at, at + 1))
            dropped.append(axis)
        elif selector is None:
            where.append(slice(None))
        elif isinstance(selector, slice):
            start, stop, step = selector.indices(size)
            where.append(slice(start, stop, step) if step > 0 else np.arange(start, stop, step))
        else:
            where.append(_rows(selector, size))
    return Path(str(array.store_path).removeprefix("file://")), where, dropped


def _rows(selector: Sequence[int] | NDArray[Any], size: int) -> NDArray[np.int64]:
    rows = np.asarray(selector, dtype=np.int64)
    if rows.ndim != 1:
        raise IndexNotFound(f"expected a flat sequence of indices, got shape {rows.shape}")
    if rows.size and (rows.min() < -size or rows.max() >= size):
        raise IndexNotFound(f"indices from {rows.min()} to {rows.max()} on an axis of {size}")
    return np.where(rows < 0, rows + size, rows)


def as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Values of a cube as float32, exactly."""
    as_float: NDArray[np.float32] = float16_to_float32(values) if values.dtype == np.float16 else values
    return as_float


@dataclass(frozen=True)
class Cube:
    """Values of one checkpoint at one site under one pooling, dimensions (layer, neuron, text).

    Attributes:
        checkpoint: Id of the checkpoint.
        site: Its site.
        pooling: How tokens became one value per text.
        array: The zarr array. bfloat16 is kept there as bits in uint16; `read` gives numbers.
        text_ids: text_id along the text axis.
        committed: Gives the records of its shards, with which whatever is read is compared; None for an array without records.
    """

    checkpoint: str
    site: str
    pooling: str
    array: zarr.Array[Any]
    text_ids: NDArray[np.int64]
    committed: Committed | None = field(default=None, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(layers, neurons, texts)."""
        layers, neurons, texts = self.array.shape
        return (layers, neurons, texts)

    @property
    def dtype(self) -> str:
        """ "float16", "bfloat16" or "float32"."""
        return str(self.array.attrs["logical_dtype"])

    def read(self, layer: int | None = None, neurons: int | Rows = None, texts: int | Rows = None) -> NDArray[Any]:
        """Values in memory.

        Args:
            layer: One layer, whose dimension is dropped, or None for all.
            neurons: One neuron (dimension dropped), a slice, a sequence in the wanted order, or None for all.
            texts: Likewise, positions on the text axis (the order of `Store.corpus.texts`), not text_ids.

        Returns:
            ``"layers neurons texts"`` less the dropped dimensions, float16 or float32; bfloat16 comes back as float32, exactly.

        Raises:
            IndexError: If an index is outside the cube.

        Example:
            >>> cube = store.cube("planted-step64", "mlp_pre")
            >>> cube.read(layer=1, neurons=[7, 3]).shape
            (2, 144)
        """
        values = read_array(self.array, (layer, neurons, texts), self.committed)
        return bfloat16_to_float32(values) if self.dtype == "bfloat16" else values

    def find(
        self, bounds: Bounds, layer: int | None = None, neurons: int | Rows = None, texts: int | Rows = None
    ) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """The values that are within bounds, found while chunks are decoded: what is not wanted takes no memory.

        Args:
            bounds: Which values are wanted; NaN never is.
            layer: As in `read`.
            neurons: Likewise.
            texts: Likewise.

        Returns:
            Positions, ascending, in the flattened part that `read` gives; and the values there.

        Raises:
            IndexError: If an index is outside the cube.

        Example:
            >>> from actlas.store.bounds import Bounds
            >>> cube = store.cube("planted-step64", "mlp_pre")
            >>> at, values = cube.find(Bounds(low=1.0), layer=1, neurons=7)
            >>> bool((values >= 1.0).all()), bool((cube.read(1, 7)[at] == values).all())
            (True, True)
        """
        at, values = find_in_array(self.array, (layer, neurons, texts), self.committed, bounds)
        return at, bfloat16_to_float32(values) if self.dtype == "bfloat16" else values

    def to_xarray(self) -> xarray.DataArray:
        """The cube as a lazy `xarray.DataArray` with coordinates layer, neuron and text_id; nothing is read yet.

        bfloat16 cubes are wrapped by dask, which turns bits into float32 when a part is computed.

        Returns:
            Array with dimensions layer, neuron and text.

        Raises:
            ImportError: If xarray (or dask, for bfloat16) is not installed: ``pip install 'actlas[xarray]'``.

        Example:
            >>> array = store.cube("planted-step64", "mlp_pre").to_xarray()
            >>> array.sel(layer=1, neuron=7).shape
            (144,)
        """
        try:
            import xarray as xr
        except ImportError as error:
            raise ImportError("Cube.to_xarray needs xarray: pip install 'actlas[xarray]'") from error
        layers, neurons, _ = self.shape
        data: Any
        if self.dtype == "bfloat16":
            import dask.array as da

            data = da.from_zarr(self.array).map_blocks(bfloat16_to_float32, dtype=np.float32)
        else:
            from xarray.backends.zarr import ZarrArrayWrapper
            from xarray.core.indexing import LazilyIndexedArray

            data = LazilyIndexedArray(ZarrArrayWrapper(self.array))
        coords = {
            "layer": np.arange(layers),
            "neuron": np.arange(neurons),
            "text_id": ("text", self.text_ids),
        }
        attrs = {"checkpoint": self.checkpoint, "site": self.site, "pooling": self.pooling}
        variable = xr.Variable(("layer", "neuron", "text"), data)
        return xr.DataArray(variable, coords=coords, name=f"{self.site}.{self.pooling}", attrs=attrs)


@dataclass(frozen=True)
class TokenCube:
    """Sampled token vectors of one site, dimensions (layer, token, channel).

    Attributes:
        checkpoint: Id of the checkpoint.
        site: Its site.
        array: The zarr array; rows that no token owns are NaN.
        table: One row per vector, in the order in which `read` gives them: row (of the array), text_id, position, token_id,
            n_tokens, surface, word, span, language, split, parallel_id.
        committed: As in `Cube`.
    """

    checkpoint: str
    site: str
    array: zarr.Array[Any]
    table: pl.DataFrame
    committed: Committed | None = field(default=None, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(layers, tokens, channels)."""
        layers, _, channels = self.array.shape
        return (layers, self.table.height, channels)

    def read(self, layer: int, tokens: Rows = None, channels: int | Rows = None) -> NDArray[np.float32]:
        """Vectors of one layer, in the order of `table`.

        Args:
            layer: Which one, from 0.
            tokens: Rows of `table`, or None for all.
            channels: One channel (dimension dropped), a slice, a sequence in the wanted order, or None for all.

        Returns:
            float32 ``"tokens channels"``.

        Raises:
            IndexError: If an index is outside the cube.

        Example:
            >>> store.token_cube("planted-step64", "resid").read(layer=1).shape
            (288, 6)
        """
        rows = self.table["row"].to_numpy()
        rows = rows if tokens is None else rows[tokens]
        values = read_array(self.array, (layer, rows, channels), self.committed)
        if self.array.attrs["logical_dtype"] == "bfloat16":
            return bfloat16_to_float32(values)
        as_float: NDArray[np.float32] = values.astype(np.float32, copy=False)
        return as_float


@dataclass(frozen=True)
class TokenCounts:
    """Exact numbers of active tokens per neuron and language, over every token of the corpus.

    Attributes:
        active: ``"languages layers neurons"``: tokens with activation > threshold.
        n_tokens: ``"languages"``: tokens seen.
        threshold: What counts as active.
        languages: Names along the first axis.
    """

    active: NDArray[np.int64]
    n_tokens: NDArray[np.int64]
    threshold: float
    languages: tuple[str, ...]


@dataclass(frozen=True)
class StateArrays:
    """States of the neurons of one site at one checkpoint, over the sets of texts that `sets` lists.

    Attributes:
        checkpoint: Id of the checkpoint.
        site: Its site.
        arrays: name -> zarr array, those of `layout.STATE_ARRAYS` that are kept.
        sets: The sets of each language along the set axis.
        committed: Per array, as in `Cube`.
    """

    checkpoint: str
    site: str
    arrays: dict[str, zarr.Array[Any]]
    sets: tuple[LanguageSets, ...]
    committed: Mapping[str, Committed] = field(default_factory=dict, repr=False, compare=False)

    def read(self, name: str, layer: int, sets: slice | None = None, neurons: slice | None = None) -> NDArray[Any]:
        """One array at one layer, without the dimension layer; some sets and neurons of it, or all."""
        dims = STATE_ARRAYS[name][0]
        selectors: dict[str, int | Rows] = {"set": sets, "layer": layer, "neuron": neurons}
        return read_array(self.arrays[name], [selectors.get(dim) for dim in dims], self.committed.get(name))


@dataclass(frozen=True)
class ScoreCube:
    """Scores of the neurons of one site at one checkpoint, dimensions (language, concept, layer, neuron).

    Attributes:
        checkpoint: Id of the checkpoint.
        site: Its site.
        arrays: One zarr array per statistic.
        languages: Names along the first axis.
        concepts: Names along the second axis.
        settings: What decided the numbers: threshold, statistics, versions.
        committed: Per statistic, as in `Cube`.
    """

    checkpoint: str
    site: str
    arrays: dict[str, zarr.Array[Any]]
    languages: tuple[str, ...]
    concepts: tuple[str, ...]
    settings: dict[str, Any]
    committed: Mapping[str, Committed] = field(default_factory=dict, repr=False, compare=False)

    @property
    def stats(self) -> tuple[str, ...]:
        """Statistics that were computed."""
        return tuple(self.arrays)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(languages, concepts, layers, neurons)."""
        languages, concepts, layers, neurons = next(iter(self.arrays.values())).shape
        return (languages, concepts, layers, neurons)

    def read(
        self,
        stat: str,
        language: str | Sequence[str] | None = None,
        concept: str | Sequence[str] | None = None,
        layer: int | Rows = None,
        neurons: int | Rows = None,
    ) -> NDArray[Any]:
        """One statistic in memory; a name or an int drops its dimension, a sequence keeps it, None takes all.

        NaN stands for null: the concept has no positive or no negative text in that language.

        Args:
            stat: One of `stats`.
            language: One name (dimension dropped), names in the wanted order, or None for all.
            concept: Likewise.
            layer: One layer (dimension dropped), a slice, a sequence, or None for all.
            neurons: Likewise.

        Returns:
            ``"languages concepts layers neurons"`` less the dropped dimensions, in the dtype of the statistic.

        Raises:
            NameNotFound: If the statistic, a language or a concept is not there; the message lists what is.

        Example:
            >>> scores = store.scores("planted-step64", "mlp_pre")
            >>> scores.read("ap", language="en", concept="water", layer=1).shape
            (40,)
        """
        array, names = self._places(stat, language, concept)
        return read_array(array, (*names, layer, neurons), self.committed.get(stat))

    def find(
        self,
        stat: str,
        bounds: Bounds,
        language: str | Sequence[str] | None = None,
        concept: str | Sequence[str] | None = None,
        layer: int | Rows = None,
        neurons: int | Rows = None,
    ) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """The scores that are within bounds, found while chunks are decoded: what is not wanted takes no memory.

        Args:
            stat: One of `stats`.
            bounds: Which scores are wanted; NaN never is.
            language: As in `read`.
            concept: Likewise.
            layer: Likewise.
            neurons: Likewise.

        Returns:
            Positions, ascending, in the flattened part that `read` gives; and the scores there.

        Raises:
            NameNotFound: If the statistic, a language or a concept is not there; the message lists what is.

        Example:
            >>> from actlas.store.bounds import Bounds
            >>> scores = store.scores("planted-step64", "mlp_pre")
            >>> at, ap = scores.find("ap", Bounds(low=0.9), language="en", concept="water", layer=1)
            >>> bool((ap >= 0.9).all()), bool((scores.read("ap", "en", "water", 1)[at] == ap).all())
            (True, True)
        """
        array, names = self._places(stat, language, concept)
        return find_in_array(array, (*names, layer, neurons), self.committed.get(stat), bounds)

    def _places(
        self, stat: str, language: str | Sequence[str] | None, concept: str | Sequence[str] | None
    ) -> tuple[zarr.Array[Any], tuple[int | Rows, int | Rows]]:
        """The array of a statistic, and positions of names in it."""
        if stat not in self.arrays:
            near = did_you_mean([stat], self.stats)
            raise NameNotFound(f"statistic {stat!r} was not computed; {near}there are {', '.join(self.stats)}")
        names = _positions(language, self.languages, "language"), _positions(concept, self.concepts, "concept")
        return self.arrays[stat], names


def _positions(names: str | Sequence[str] | None, known: tuple[str, ...], what: str) -> int | slice | list[int] | None:
    if names is None:
        return None
    missing = sorted({names} - set(known) if isinstance(names, str) else set(names) - set(known))
    if missing:
        raise NameNotFound(f"no {what} {', '.join(map(repr, missing))} here; there are {', '.join(known)}")
    if isinstance(names, str):
        return known.index(names)
    positions = [known.index(name) for name in names]
    # a slice is read more than twice as fast as a list
    is_run = bool(positions) and positions == list(range(positions[0], positions[0] + len(positions)))
    return slice(positions[0], positions[-1] + 1) if is_run else positions
