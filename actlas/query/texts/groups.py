"""Groups of neurons, and the texts by their values: read neuron by neuron, so that a group of any size takes little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.names import Combination, Metric
from actlas.query.atlas import Atlas
from actlas.query.blocks import BLOCK_BYTES
from actlas.query.choices import chosen_checkpoints, chosen_labels, place_of_text
from actlas.query.keep import basis_of
from actlas.query.neurons import check_neuron, top_columns
from actlas.query.texts.held import HELD_BYTES
from actlas.store.cube import Cube

Values = NDArray[np.float64]
_PLACE = ("site", "layer", "neuron")


@dataclass(frozen=True)
class Group:
    """Some neurons of a checkpoint, and some of its texts.

    Attributes:
        store: Where they are.
        checkpoint: Whose they are.
        neurons: site, layer, neuron, and row: the place in the frame that named them; sorted by where they are.
        texts: Parts of the text axis, in its order.
    """

    store: Atlas
    checkpoint: str
    neurons: pl.DataFrame
    texts: tuple[slice, ...]

    @classmethod
    def of(cls, store: Atlas, checkpoint: str, neurons: pl.DataFrame, languages: Sequence[str] | None) -> Group:
        """The group that a frame of at least one row names, over the texts of some languages.

        Raises:
            CheckpointNotFound: If the checkpoint is not in the store.
            CubeNotFound: If it has no cube at a site.
            QueryError: If the frame names a neuron that is not there, or one twice; or a language is unknown.
        """
        chosen_checkpoints(store, [checkpoint])
        missing = [name for name in _PLACE if name not in neurons.columns]
        if missing:
            raise QueryError(f"a group is a frame with columns site, layer, neuron; this one has {', '.join(neurons.columns)}")
        named = neurons.select(*_PLACE).with_row_index("row").sort(_PLACE)
        twice = named.filter(pl.struct(_PLACE).is_duplicated())
        if twice.height:
            raise QueryError(
                f"{'/'.join(map(str, twice.row(0)[1:]))} is in the group more than once; leave repeated neurons out, in a frame "
                "with neurons.unique(['site', 'layer', 'neuron'])"
            )
        for site, layer, least, most in named.group_by("site", "layer").agg(least=pl.min("neuron"), most=pl.max("neuron")).rows():
            check_neuron(store, checkpoint, site, layer, least)
            check_neuron(store, checkpoint, site, layer, most)
        parts: list[slice] = [slice(0, store.corpus.n_texts)]
        if languages is not None:
            parts = [store.corpus.language_slice(language) for language in chosen_labels(store, languages, None)[0]]
        return cls(store, checkpoint, named, tuple(parts))

    def values(self, texts: slice) -> Iterator[tuple[int, Values]]:
        """Row of every neuron in the frame that named it, and its values for some texts."""
        row_bytes = 4 * max(1, texts.stop - texts.start)
        # a group that does not fit would drive out itself
        read = self._read_and_hold if self.neurons.height * row_bytes <= HELD_BYTES else _read
        step = max(1, BLOCK_BYTES // row_bytes)
        for (site, layer), own in self.neurons.group_by("site", "layer", maintain_order=True):
            cube = self.store.cube(self.checkpoint, str(site))
            rows, neurons = own["row"].to_list(), own["neuron"].to_list()
            for start in range(0, len(rows), step):
                part = slice(start, start + step)
                for row, values in zip(rows[part], read(cube, int(layer), neurons[part], texts), strict=True):
                    yield row, values.astype(np.float64)

    def _read_and_hold(self, cube: Cube, layer: int, neurons: list[int], texts: slice) -> Iterable[NDArray[Any]]:
        """As `_read`, of those neurons whose values are not held since an earlier question."""
        key = (self.basis, self.checkpoint, cube.site, layer, texts.start, texts.stop)
        held = {neuron: self.store.held.get((*key, neuron)) for neuron in neurons}
        found = {neuron: values for neuron, values in held.items() if values is not None}
        others = [neuron for neuron in neurons if neuron not in found]
        for neuron, values in zip(others, _read(cube, layer, others, texts) if others else (), strict=True):
            # a copy: a row of a block keeps all of it
            found[neuron] = values.copy()
            self.store.held.add((*key, neuron), found[neuron])
        return [found[neuron] for neuron in neurons]

    @cached_property
    def basis(self) -> str:
        """What the values are told by from those of another run under the same name."""
        return basis_of(self.store, "top_texts", self.checkpoint, {})

    def combined(self, combine: Combination) -> Values:
        """One number per text; NaN where a neuron has no value."""
        return np.concatenate([_combined((values for _, values in self.values(part)), combine) for part in self.texts])

    def distances(self, target: Values, metric: Metric) -> Values:
        """How far every text is from the values that a target has, in the order of the frame; NaN where that is not defined."""
        return np.concatenate([_distances(self.values(part), target, metric) for part in self.texts])

    def target(self, text_id: int) -> Values:
        """The values of one text, in the order of the frame.

        Raises:
            QueryError: If there is no such text.
        """
        place = place_of_text(self.store, text_id)
        found = np.empty(self.neurons.height)
        for row, values in self.values(slice(place, place + 1)):
            found[row] = values[0]
        return found

    def best(self, values: Values, n: int, name: str, *, without: int | None = None) -> pl.DataFrame:
        """The n texts with the highest values, ties by text_id; those without a value are none of them.

        Args:
            values: One per text of the group.
            n: How many.
            name: Of the column of values.
            without: text_id of a text that is left out.
        """
        columns = self.store.corpus.texts.select("language", "text_id", "text")
        texts = pl.concat([columns[part] for part in self.texts])
        ids = texts["text_id"].to_numpy()
        takes_part = ~np.isnan(values) if without is None else ~np.isnan(values) & (ids != without)
        # text_ids ascend along the axis, so that ties go by column
        candidates = np.flatnonzero(takes_part)
        (best,), (highest,) = top_columns(values[candidates][np.newaxis], n)
        ranked: pl.DataFrame = texts[candidates[best]].with_columns(pl.Series(name, highest)).with_row_index("rank", offset=1)
        return ranked.select(pl.col("rank").cast(pl.Int32), name, "language", "text_id", "text")


def _read(cube: Cube, layer: int, neurons: list[int], texts: slice) -> Iterable[NDArray[Any]]:
    """The values of some neurons of a layer, one array each."""
    block: NDArray[Any] = cube.read(layer=layer, neurons=neurons, texts=texts)
    return block


def _combined(rows: Iterator[Values], combine: Combination) -> Values:
    total, n_neurons = next(rows), 1
    if combine == "l2":
        total *= total
    for values in rows:
        n_neurons += 1
        if combine == "min":
            np.minimum(total, values, out=total)
        elif combine == "max":
            np.maximum(total, values, out=total)
        else:
            total += values * values if combine == "l2" else values
    if combine == "mean":
        total /= n_neurons
    return np.sqrt(total) if combine == "l2" else total


def _distances(rows: Iterator[tuple[int, Values]], target: Values, metric: Metric) -> Values:
    total: Any = 0.0
    squares: Any = 0.0
    for row, values in rows:
        if metric == "cosine":
            total = total + values * target[row]
            squares = squares + values * values
        else:
            values -= target[row]
            total = total + (np.abs(values) if metric == "l1" else values * values)
    if metric == "cosine":
        # a text, or a target, of zeros alone has no direction
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1 - total / (np.sqrt(squares) * np.sqrt(np.sum(target * target))))
    return np.asarray(np.sqrt(total) if metric == "l2" else total)
