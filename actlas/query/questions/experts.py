"""Expert neurons: the k best by average precision, over all layers and linear sites together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError, ScoresNotFound
from actlas.names import VERSION
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import check_k, chosen_checkpoints, chosen_labels, linear_sites
from actlas.query.neurons import Indices, NeuronAxis, names_at, top_indices
from actlas.query.schema import LANGUAGES_PER_WORD, TABLES

#: Scores held in memory at a time while experts are chosen.
_SLAB_BYTES = 256 << 20


@dataclass(frozen=True)
class ExpertSets:
    """The experts of one checkpoint.

    Attributes:
        checkpoint: Its id.
        axis: The neurons that were ranked.
        languages: Names along the first axis of `neurons`.
        concepts: Names along the second.
        neurons: ``"languages concepts k"``: indices into `axis`, best first; -1 throughout where the scores are null.
        ap: Their average precision, same shape.
    """

    checkpoint: str
    axis: NeuronAxis
    languages: tuple[str, ...]
    concepts: tuple[str, ...]
    neurons: Indices
    ap: NDArray[np.float64]

    @property
    def k(self) -> int:
        return int(self.neurons.shape[2])

    @property
    def is_there(self) -> NDArray[np.bool_]:
        """Pairs ``"languages concepts"`` that have experts."""
        return np.asarray(self.neurons[:, :, 0] >= 0)

    def frame(self) -> pl.DataFrame:
        """Columns checkpoint, language, concept, rank, site, layer, neuron, ap; one row per expert."""
        at_language, at_concept = np.nonzero(self.is_there)
        index = self.neurons[at_language, at_concept].reshape(-1)
        return pl.DataFrame(
            {
                "checkpoint": pl.repeat(self.checkpoint, index.size, dtype=pl.String, eager=True),
                "language": names_at(self.languages, np.repeat(at_language, self.k)),
                "concept": names_at(self.concepts, np.repeat(at_concept, self.k)),
                "rank": pl.Series(np.tile(np.arange(1, self.k + 1), at_language.size), dtype=pl.Int32),
                **self.axis.columns(index),
                "ap": self.ap[at_language, at_concept].reshape(-1),
            }
        )


def expert_sets(
    store: Atlas,
    checkpoint: str,
    *,
    k: int,
    sites: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    skip: int = 0,
) -> ExpertSets:
    """The experts of one checkpoint as arrays.

    Args:
        store: With scores.
        checkpoint: Which.
        k: How many per language and concept.
        sites: Ranked together; None for the linear sites that are scored.
        languages: None for all.
        concepts: None for all.
        skip: Leave out this many best ones first.

    Raises:
        QueryError: If there are not that many neurons.
        ScoresNotFound: If a site is not scored.
    """
    axis = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, sites))
    check_k(k, axis, skip)
    named_languages, named_concepts = chosen_labels(store, languages, concepts)
    shape = (len(named_languages), len(named_concepts), k)
    neurons, ap = np.full(shape, -1, dtype=np.int64), np.full(shape, np.nan)
    for at, language in enumerate(named_languages):
        for first, slab in _ap_slabs(store, checkpoint, axis, language, named_concepts):
            for offset, values in enumerate(slab):
                best = top_indices(values, k + skip)[skip:]
                if best.size == k:
                    neurons[at, first + offset], ap[at, first + offset] = best, values[best]
    return ExpertSets(checkpoint, axis, named_languages, named_concepts, neurons, ap)


def _ap_slabs(
    store: Atlas, checkpoint: str, axis: NeuronAxis, language: str, concepts: Sequence[str]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """AP ``"concepts neurons"`` of one language, some concepts at a time, with the position of the first."""
    cubes = [store.scores(checkpoint, site) for site in axis.sites]
    for cube in cubes:
        if "ap" not in cube.stats:
            raise ScoresNotFound(
                f"scores of {checkpoint} at {cube.site} have no ap (they have {', '.join(cube.stats)}); experts need it"
            )
    step = max(1, _SLAB_BYTES // (8 * axis.n_neurons))
    for first in range(0, len(concepts), step):
        part = list(concepts[first : first + step])
        reads = [cube.read("ap", language, part).reshape(len(part), -1) for cube in cubes]
        yield first, np.concatenate(reads, axis=1)


def top_experts(
    store: Atlas | str | Path,
    *,
    k: int = 500,
    checkpoints: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
) -> pl.DataFrame:
    """The k best neurons of every concept, language and checkpoint by average precision, all layers and linear sites together.

    Equal scores are ranked by (site, layer, neuron). A concept without positives or without negatives in a language
    has no experts there.

    Args:
        store: With scores (`score_neurons`). Open with mode "a", and nothing left out, the answer is also kept as
            tables `experts`, `expert_mask` and `layer_histogram`.
        k: How many.
        checkpoints: None for all.
        languages: None for all.
        concepts: None for all.
        sites: Sites ranked together; None for the linear ones that are scored.

    Returns:
        Columns of table `experts`: checkpoint, language, concept, rank, site, layer, neuron, ap, median, p90. The
        last two, null where they were not scored, are what a forced neuron is set to.

    Raises:
        ScoresNotFound: If a checkpoint or site was not scored.
        QueryError: If k is more than there are neurons, or a language or concept is unknown.

    Source: Suau et al. 2022; k = 500 after arXiv 2506.01629.
    """
    store = as_atlas(store)
    answers = []
    for checkpoint in chosen_checkpoints(store, checkpoints):
        sets = expert_sets(store, checkpoint, k=k, sites=sites, languages=languages, concepts=concepts)
        frame = _with_values(store, sets)
        answers.append(frame)
        if store.mode == "a" and languages is None and concepts is None:
            settings = {"k": k, "sites": list(sets.axis.sites), "n_neurons": sets.axis.n_neurons, "actlas": VERSION}
            store.publish_table("experts", checkpoint, frame, settings)
            store.publish_table("expert_mask", checkpoint, expert_mask(sets), settings)
            store.publish_table("layer_histogram", checkpoint, layer_histogram(sets), settings)
    return pl.concat(answers) if answers else TABLES["experts"].empty()


def _with_values(store: Atlas, sets: ExpertSets) -> pl.DataFrame:
    """The table `experts`: with the values that a forced neuron is set to."""
    at_language, at_concept = np.nonzero(sets.is_there)
    cubes = [store.scores(sets.checkpoint, site) for site in sets.axis.sites]
    columns: dict[str, NDArray[np.float32]] = {}
    for stat in ("median", "p90"):
        values = np.full((at_language.size, sets.k), np.nan, dtype=np.float32)
        if all(stat in cube.stats for cube in cubes):
            for at, (language, concept) in enumerate(zip(at_language, at_concept, strict=True)):
                index = sets.neurons[language, concept]
                for site, cube in enumerate(cubes):
                    here = sets.axis.site_at(index) == site
                    if here.any():
                        # only layers that hold an expert are decoded
                        layers, row = np.unique(sets.axis.layer_at(index[here]), return_inverse=True)
                        slab = cube.read(stat, sets.languages[language], sets.concepts[concept], layers)
                        values[at, here] = slab[row, sets.axis.neuron_at(index[here])]
        columns[stat] = values.reshape(-1)
    frame = sets.frame().with_columns(pl.Series(stat, values).fill_nan(None) for stat, values in columns.items())
    return TABLES["experts"].conform(frame)


def control_experts(
    store: Atlas | str | Path,
    checkpoint: str,
    *,
    k: int = 500,
    kind: str = "random",
    skip: int = 500,
    seed: int = 0,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Neurons to hold experts against: k at random, or the k that come after the `skip` best.

    Args:
        store: With scores.
        checkpoint: Which.
        k: How many.
        kind: "random" (drawn anew for each language and concept), or "next".
        skip: For "next": how many best ones are left out.
        seed: For "random".
        languages: None for all.
        concepts: None for all.
        sites: As in `top_experts`.

    Returns:
        Columns of table `experts`. Rank counts the drawn neurons from 1 for "random", and goes on after `skip` for "next".

    Raises:
        QueryError: If `kind` is another word, or there are not that many neurons.
    """
    store = as_atlas(store)
    if kind not in ("random", "next"):
        raise QueryError(f"controls are 'random' or 'next', not {kind!r}")
    skip = skip if kind == "next" else 0
    sets = expert_sets(store, checkpoint, k=k, skip=skip, sites=sites, languages=languages, concepts=concepts)
    if kind == "next":
        return _with_values(store, sets).with_columns(pl.col("rank") + skip)
    rng = np.random.default_rng(seed)
    neurons, ap = sets.neurons.copy(), sets.ap.copy()
    for at, language in enumerate(sets.languages):
        for first, slab in _ap_slabs(store, checkpoint, sets.axis, language, sets.concepts):
            for offset, values in enumerate(slab):
                drawn = rng.choice(sets.axis.n_neurons, size=k, replace=False)
                if sets.is_there[at, first + offset]:
                    neurons[at, first + offset], ap[at, first + offset] = drawn, values[drawn]
    return _with_values(store, replace(sets, neurons=neurons, ap=ap))


def expert_mask(sets: ExpertSets) -> pl.DataFrame:
    """Table `expert_mask`: for each neuron and concept the languages in which it is an expert, as bits.

    Bit b of word w stands for the language with that bit and word in table `languages`. Stores of up to 64 languages
    have word 0 only.
    """
    parts = []
    for at, concept in enumerate(sets.concepts):
        languages = np.flatnonzero(sets.is_there[:, at])
        if not languages.size:
            continue
        index, row = np.unique(sets.neurons[languages, at], return_inverse=True)
        row = row.reshape(languages.size, sets.k)
        n_languages = np.bincount(row.reshape(-1), minlength=index.size)
        for word in range(-(-len(sets.languages) // LANGUAGES_PER_WORD)):
            mask = np.zeros(index.size, dtype=np.uint64)
            for position, language in enumerate(languages):
                if language // LANGUAGES_PER_WORD == word:
                    mask[row[position]] |= np.uint64(1) << np.uint64(language % LANGUAGES_PER_WORD)
            parts.append(
                pl.DataFrame({**sets.axis.columns(index), "mask": mask, "n_languages": n_languages}).with_columns(
                    pl.lit(sets.checkpoint).alias("checkpoint"), pl.lit(concept).alias("concept"), pl.lit(word).alias("word")
                )
            )
    table = TABLES["expert_mask"]
    return pl.concat([table.conform(part) for part in parts]) if parts else table.empty()


def layer_histogram(sets: ExpertSets) -> pl.DataFrame:
    """Table `layer_histogram`: experts in each layer of each site, zeros included."""
    axis = sets.axis
    cells = [
        (site, layer, neurons) for site, (layers, neurons) in zip(axis.sites, axis.shapes, strict=True) for layer in range(layers)
    ]
    cell_start = np.concatenate(
        [np.arange(layers) * n + start for start, (layers, n) in zip(axis.starts[:-1], axis.shapes, strict=True)]
    )
    at_language, at_concept = np.nonzero(sets.is_there)
    counts = np.zeros((at_language.size, len(cells)), dtype=np.int64)
    for at, index in enumerate(sets.neurons[at_language, at_concept]):
        counts[at] = np.bincount(np.searchsorted(cell_start, index, side="right") - 1, minlength=len(cells))
    n_pairs = at_language.size
    frame = pl.DataFrame(
        {
            "checkpoint": pl.repeat(sets.checkpoint, n_pairs * len(cells), dtype=pl.String, eager=True),
            "concept": names_at(sets.concepts, np.repeat(at_concept, len(cells))),
            "language": names_at(sets.languages, np.repeat(at_language, len(cells))),
            "site": pl.Series([site for site, _, _ in cells] * n_pairs, dtype=pl.String),
            "layer": pl.Series([layer for _, layer, _ in cells] * n_pairs, dtype=pl.Int32),
            "n_experts": counts.reshape(-1),
            "n_neurons": pl.Series([n for _, _, n in cells] * n_pairs, dtype=pl.Int32),
            "k": pl.repeat(sets.k, n_pairs * len(cells), dtype=pl.Int32, eager=True),
        }
    )
    return TABLES["layer_histogram"].conform(frame)
