"""How alike texts are to each other in one representation, and comparing representations by that alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_frame
from actlas.query.blocks import StepProgress, Steps, finite
from actlas.query.choices import chosen_checkpoints, chosen_labels
from actlas.query.measures.asked import Asked
from actlas.query.measures.registry import Between, Weighting
from actlas.query.measures.vectors import FEWEST, TextVectors, text_vectors
from actlas.query.probing.settings import Values
from actlas.query.schema import TABLES
from actlas.store.cube import TokenCube
from actlas.store.store import Store

#: Values of a block of neurons: 32 MiB in float64.
_CHUNK = 1 << 22
#: What all representations that are compared with each other may take.
_MOST_BYTES = 2 << 30

T = TypeVar("T")


@dataclass(frozen=True)
class Representations:
    """Which representations are compared, over which texts: the arguments of measures of the same names."""

    between: Between
    languages: Sequence[str] | None
    values: Values | None
    weighting: Weighting
    n_texts: int
    seed: int
    neurons: pl.DataFrame | str | Path | None = None


@dataclass(frozen=True)
class Place:
    """One representation of the texts: a part of the neurons of a layer, at some of the vectors.

    Attributes:
        vectors: Of a checkpoint and site.
        layer: Which layer.
        rows: Places among the vectors.
        language: Whose texts these are; None for those of all languages that were chosen.
        neurons: Which of them; None for all.
    """

    vectors: TextVectors
    layer: int
    rows: NDArray[np.int64]
    language: str | None = None
    neurons: NDArray[np.int64] | None = None

    def gram(self) -> NDArray[np.float64]:
        """Inner products of the texts, ``"texts texts"``, less the mean text; neurons are read in blocks."""
        n = self.rows.size
        products = np.zeros((n, n))
        for block in self._blocks():
            centred = block - block.mean(axis=0)
            products += centred @ centred.T
        return products

    def _blocks(self) -> Iterator[NDArray[np.float64]]:
        of = self.vectors.of
        if isinstance(of.cube, TokenCube):
            own = self.vectors.read(self.layer)[self.rows].astype(np.float64)
            yield own if self.neurons is None else own[:, self.neurons]
            return
        neurons = np.arange(of.cube.shape[1]) if self.neurons is None else self.neurons
        step = max(1, _CHUNK // self.rows.size)
        for start in range(0, neurons.size, step):
            part = neurons[start : start + step]
            values = of.cube.read(layer=self.layer, neurons=part, texts=self.rows)
            yield finite(values, of.cube, self.layer).T.astype(np.float64)


def comparison(
    name: str,
    asked: Asked,
    chosen: Representations,
    summary: Callable[[NDArray[np.float64]], T],
    tell: Callable[[T, T], Mapping[str, float | None]],
) -> pl.DataFrame:
    """The answer of a measure of representations: every pair of those that are compared with each other.

    Args:
        name: Of its table.
        asked: Where, and whether it is kept.
        chosen: Which representations.
        summary: What is kept of the inner products of the texts in one representation.
        tell: Of two of them, a number for each column.

    Raises:
        QueryError: If there are too few texts, or all of it would not fit into memory.
    """
    named = None if chosen.neurons is None else _named(chosen.neurons)
    compares = None
    if chosen.between == "checkpoints":
        compares = chosen_checkpoints(asked.atlas, asked.checkpoints)
        if len(compares) < 2:
            there = ", ".join(compares) or "none"
            raise QueryError(f"checkpoints are compared, and there is {there} alone; name two or more")

    def take(store: Atlas, names: list[str], progress: StepProgress | None) -> pl.DataFrame:
        groups = _groups(store, names, asked.sites, chosen, named)
        return pl.DataFrame(list(_compared(groups, summary, tell, progress)), schema=dict(TABLES[name].columns))

    options = {one.name: getattr(chosen, one.name) for one in fields(chosen)}
    options["neurons"] = None if named is None else hashlib.sha256(named.write_csv().encode()).hexdigest()[:16]
    return asked.answer(name, options, take, compares=compares)


def _compared(
    groups: list[list[Place]],
    summary: Callable[[NDArray[np.float64]], T],
    tell: Callable[[T, T], Mapping[str, float | None]],
    progress: StepProgress | None,
) -> Iterator[dict[str, Any]]:
    steps = Steps(progress, sum(map(len, groups)))
    for places in groups:
        needed = len(places) * places[0].rows.size ** 2 * 8
        if needed > _MOST_BYTES:
            raise QueryError(
                f"{len(places)} representations of {places[0].rows.size:,} texts take {needed / 1e9:.1f} GB to compare; "
                "take fewer texts (--texts), checkpoints or languages"
            )
    for places in groups:
        kept = []
        for place in places:
            kept.append(summary(place.gram()))
            steps.add(1, f"{place.vectors.of.checkpoint} {place.vectors.of.site} layer {place.layer}")
        for (a, of_a), (b, of_b) in combinations(zip(places, kept, strict=True), 2):
            about: dict[str, Any] = {
                "checkpoint": a.vectors.of.checkpoint,
                "checkpoint_b": b.vectors.of.checkpoint,
                "site": a.vectors.of.site,
            }
            about |= {"layer_a": a.layer, "layer_b": b.layer, "language_a": a.language, "language_b": b.language}
            yield {**about, "n_texts": a.rows.size, **tell(of_a, of_b)}


def _groups(
    store: Store, names: Sequence[str], sites: Sequence[str] | None, chosen: Representations, named: pl.DataFrame | None
) -> list[list[Place]]:
    """Representations of some checkpoints, those together that are compared with each other."""
    found = [own for name in names for own in text_vectors(store, name, sites, chosen.values, chosen.weighting)]
    if chosen.between == "checkpoints":
        by_site: dict[tuple[str, int], list[Place]] = {}
        for own in found:
            rows = _texts(store, own, chosen)
            for layer, neurons in _layers(own, named):
                by_site.setdefault((own.of.site, layer), []).append(Place(own, layer, rows, None, neurons))
        return [places for places in by_site.values() if len(places) > 1]
    if chosen.between == "rest" and named is None:
        raise QueryError(
            "chosen neurons are compared with the rest of their layer, and none are named; name some (--neurons FILE)"
        )
    groups = []
    for own in found:
        layers = _layers(own, named)
        if chosen.between == "languages":
            meanings = _meanings(store, own, chosen)
            groups += [[Place(own, layer, rows, name, some) for name, rows in meanings.items()] for layer, some in layers]
            continue
        rows = _texts(store, own, chosen)
        if chosen.between == "layers":
            groups.append([Place(own, layer, rows, None, some) for layer, some in layers])
        else:
            groups += [
                [Place(own, layer, rows, None, part) for part in _parts(_width(own), some, chosen)] for layer, some in layers
            ]
    if named is not None and not any(groups):
        raise QueryError(f"none of the neurons that are named is at a site that is compared ({', '.join(_sites(named))})")
    return [places for places in groups if places]


def _named(neurons: pl.DataFrame | str | Path) -> pl.DataFrame:
    """The neurons that representations are made of."""
    frame = as_frame(neurons)
    missing = [name for name in ("site", "layer", "neuron") if name not in frame.columns]
    if missing:
        raise QueryError(f"neurons are a frame with columns site, layer, neuron; this one has {', '.join(frame.columns)}")
    return frame.select("site", "layer", "neuron").unique().sort("site", "layer", "neuron")


def _sites(named: pl.DataFrame) -> list[str]:
    return named["site"].unique().sort().to_list()


def _width(own: TextVectors) -> int:
    """Neurons of a layer."""
    return int(own.of.cube.shape[-1 if own.tokens is not None else 1])


def _layers(own: TextVectors, named: pl.DataFrame | None) -> list[tuple[int, NDArray[np.int64] | None]]:
    """Layers of a site, each with the neurons of it that are named: without any it is left out; None: no neurons were named."""
    if named is None:
        return [(layer, None) for layer in range(own.of.n_layers)]
    here = named.filter(site=own.of.site)
    for layer, neuron in here.select("layer", "neuron").rows():
        if not (0 <= layer < own.of.n_layers and 0 <= neuron < _width(own)):
            raise QueryError(
                f"{own.of.site} of {own.of.checkpoint} has {own.of.n_layers} layers of {_width(own):,} neurons, no neuron "
                f"{neuron} in layer {layer}"
            )
    return [
        (int(str(layer)), part["neuron"].cast(pl.Int64).to_numpy())
        for (layer,), part in here.group_by("layer", maintain_order=True)
    ]


def _parts(width: int, some: NDArray[np.int64] | None, chosen: Representations) -> list[NDArray[np.int64]]:
    """The two parts of a layer's neurons that are compared with each other."""
    if chosen.between == "rest":
        assert some is not None, "refused without neurons"
        rest = np.setdiff1d(np.arange(width), some)
        if not rest.size:
            raise QueryError(f"all {width:,} neurons of a layer are named, and there is no rest to compare them with")
        return [some, rest]
    order = np.random.default_rng((chosen.seed, 1)).permutation(np.arange(width) if some is None else some)
    if order.size < 2:
        raise QueryError("one neuron of a layer is named, and there are no halves of it to compare")
    return [np.sort(half) for half in np.split(order, [order.size // 2])]


def _texts(store: Store, own: TextVectors, chosen: Representations) -> NDArray[np.int64]:
    """Vectors of some texts of the chosen languages, drawn by the seed."""
    names, _ = chosen_labels(store, chosen.languages, None)
    languages = store.corpus.texts["language"].gather(own.text_rows)
    return _drawn(np.flatnonzero(languages.is_in(names).to_numpy()), chosen, "texts with vectors")


def _meanings(store: Store, own: TextVectors, chosen: Representations) -> dict[str, NDArray[np.int64]]:
    """For every language the vectors of the same meanings, in one order, drawn by the seed."""
    names, _ = chosen_labels(store, chosen.languages, None)
    if len(names) < 2:
        raise QueryError(f"languages are compared, and there is {', '.join(names)} alone; name two or more")
    texts = store.corpus.texts[own.text_rows].select("language", "parallel_id").with_row_index("place")
    texts = texts.filter(pl.col("parallel_id").is_not_null(), pl.col("language").is_in(names))
    texts = texts.unique(("language", "parallel_id"), keep="first", maintain_order=True)
    shared = texts.group_by("parallel_id", maintain_order=True).len().filter(pl.col("len") == len(names))["parallel_id"]
    drawn = shared.gather(_drawn(np.arange(len(shared)), chosen, f"meanings that all of {', '.join(names)} have")).to_frame()
    places = {
        name: drawn.join(texts.filter(language=name), on="parallel_id", how="left", maintain_order="left") for name in names
    }
    return {name: own["place"].cast(pl.Int64).to_numpy() for name, own in places.items()}


def _drawn(rows: NDArray[np.int64], chosen: Representations, what: str) -> NDArray[np.int64]:
    n = min(chosen.n_texts, rows.size)
    if n < FEWEST:
        raise QueryError(f"{n} {what} are too few to compare representations on; {FEWEST} or more are needed")
    return np.sort(np.random.default_rng(chosen.seed).permutation(rows)[:n])
