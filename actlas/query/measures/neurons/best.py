"""What measures of neurons share: cubes block by block, texts that are told apart, and the best neurons of each of these."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import NeuronBlock, StepProgress, Steps, finite, neuron_blocks, refuse_imported
from actlas.query.choices import chosen_checkpoints, chosen_labels
from actlas.query.measures.asked import Asked
from actlas.query.neurons import NeuronAxis, top_columns
from actlas.store.cube import Cube
from actlas.store.store import Store

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Contrast:
    """Texts that are told from other texts.

    Attributes:
        language: Of the texts that are on.
        concept: What those express, told from texts of the language that do not; None for the language, told from the others.
        on: Which texts of the axis.
        off: Which others; the rest takes no part.
    """

    language: str
    concept: str | None
    on: Mask
    off: Mask


def contrasts(store: Store, languages: Sequence[str] | None, concepts: Sequence[str] | None) -> list[Contrast]:
    """Every language against the others and every concept within it, where there are texts on both sides.

    Args:
        store: With texts.
        languages: None for all.
        concepts: None for all.

    Raises:
        QueryError: If a language or concept is not in the corpus, nothing can be told apart, or scores were imported alone.
    """
    refuse_imported(store)
    corpus = store.corpus
    own_languages, own_concepts = chosen_labels(store, languages, concepts)
    found = []
    for language in own_languages:
        rows = corpus.language_slice(language)
        own = np.zeros(corpus.n_texts, dtype=bool)
        own[rows] = True
        found.append(Contrast(language, None, own, ~own))
        is_concept, is_member = corpus.concept_matrix(language, own_concepts)
        for column, concept in enumerate(own_concepts):
            on, off = np.zeros_like(own), np.zeros_like(own)
            on[rows], off[rows] = is_concept[:, column], is_member[:, column] & ~is_concept[:, column]
            found.append(Contrast(language, concept, on, off))
    found = [one for one in found if one.on.any() and one.off.any()]
    if not found:
        raise QueryError(
            f"nothing to tell apart in {store.path}: it has one language, and no concept that was chosen has texts that express "
            "it and texts that do not; see table label_counts"
        )
    return found


def measured_cubes(store: Store, checkpoints: Sequence[str] | None, sites: Sequence[str] | None) -> list[list[Cube]]:
    """Cubes that a measure of neurons reads: for every checkpoint those of its sites, by the name of the site.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no cube.
        QueryError: If a site is named twice, or scores were imported without values.
    """
    refuse_imported(store)
    if sites is not None and len(set(sites)) < len(sites):
        raise QueryError(f"a site is named twice: {', '.join(sites)}")
    names = chosen_checkpoints(store, checkpoints)
    return [[store.cube(name, site) for site in sorted(store.sites(name) if sites is None else sites)] for name in names]


def blocks_of(cubes: Sequence[Cube], steps: Steps) -> Iterator[tuple[Cube, NeuronBlock]]:
    """Every block of some cubes; steps are neurons."""
    for cube in cubes:
        for block in neuron_blocks(cube):
            finite(block.values, cube, block.layer)
            yield cube, block
            steps.add(block.values.shape[0], f"{cube.checkpoint} {cube.site}")


#: Given the values of some neurons, ``"neurons texts"``, and all that is told apart: columns ``"classes neurons"``.
Measure = Callable[[Values, Sequence[Contrast]], Mapping[str, Values]]
#: Neurons that one core works on at a time: few enough that their values stay near it.
_PART = 128

T = TypeVar("T")


def each(measure: Callable[[Values, Contrast], Mapping[str, Values]]) -> Measure:
    """The measure of all contrasts by that of one."""
    return lambda values, told_apart: stacked([measure(values, one) for one in told_apart])


def stacked(told: Sequence[Mapping[str, Values]]) -> dict[str, Values]:
    """Columns ``"classes neurons"`` of what is told of every class."""
    return {name: np.stack([columns[name] for columns in told]) for name in told[0]}


def with_members(told_apart: Sequence[Contrast], compute: Callable[[Mask], T]) -> Iterator[tuple[Contrast, T]]:
    """Every contrast with something of all its texts, computed once for those of the same texts, as all languages have."""
    found: dict[bytes, T] = {}
    for one in told_apart:
        members = one.on | one.off
        key = members.tobytes()
        if key not in found:
            found[key] = compute(members)
        yield one, found[key]


@dataclass
class BestNeurons:
    """The neurons with the largest values of every class, over the blocks of one checkpoint.

    Attributes:
        axis: Of all neurons; of equal values the first neuron of the axis is the better one.
        n: How many per class.
        ranked_by: The column whose values rank.
        kept: Columns so far, ``"classes n"`` each, best first; index is that of the axis.
    """

    axis: NeuronAxis
    n: int
    ranked_by: str
    kept: dict[str, NDArray[np.float64] | NDArray[np.int64]] = field(default_factory=dict)

    def add(self, cube: Cube, block: NeuronBlock, columns: dict[str, Values]) -> None:
        """Columns ``"classes neurons"`` of a block; where the ranking one is NaN there is no value."""
        n_classes, n_neurons = columns[self.ranked_by].shape
        index = self.axis.index_of(cube.site, block.layer, np.arange(block.start, block.start + n_neurons))
        new = {"index": np.broadcast_to(index, (n_classes, n_neurons)), **columns}
        # earlier blocks stand first, so that ties go to the first neuron of the axis
        both = {name: np.concatenate([self.kept[name], part], axis=1) if self.kept else part for name, part in new.items()}
        ranking = np.where(np.isnan(both[self.ranked_by]), -np.inf, both[self.ranked_by])
        best, _ = top_columns(ranking, self.n)
        self.kept = {name: np.take_along_axis(part, best, axis=1) for name, part in both.items()}

    def frame(self, checkpoint: str, classes: Mapping[str, pl.Series]) -> pl.DataFrame:
        """One row per class and neuron: checkpoint, what is said of the class, rank, site, layer, neuron and the columns.

        Args:
            checkpoint: Its id.
            classes: Columns with one entry per class.
        """
        columns = dict(self.kept)
        is_there = ~np.isnan(columns[self.ranked_by])
        row, place = np.nonzero(is_there)
        index = columns.pop("index")[is_there].astype(np.int64)
        return pl.DataFrame(
            {
                "checkpoint": pl.repeat(checkpoint, row.size, dtype=pl.String, eager=True),
                **{name: entries.gather(row.astype(np.uint32)) for name, entries in classes.items()},
                "rank": pl.Series(place + 1, dtype=pl.Int32),
                **self.axis.columns(index),
                **{name: pl.Series(part[is_there]).fill_nan(None) for name, part in columns.items()},
            }
        )


def best_answer(
    name: str,
    asked: Asked,
    told_apart: Sequence[Contrast],
    options: Mapping[str, Any],
    ranked_by: str,
    measure: Measure,
    *,
    then: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame,
) -> pl.DataFrame:
    """The answer of a measure of neurons: the best ones of every contrast.

    Args:
        name: Of its table.
        asked: Where, and whether it is kept.
        told_apart: What is measured.
        options: The other arguments of the measure; ``n`` says how many neurons of each.
        ranked_by: As of `best_of_contrasts`.
        measure: Likewise.
        then: Makes the rows of the table out of the best neurons.
    """

    def take(store: Atlas, names: list[str], progress: StepProgress | None) -> pl.DataFrame | None:
        cubes = measured_cubes(store, names, asked.sites)
        best = best_of_contrasts(store, cubes, told_apart, options["n"], ranked_by, measure, progress)
        return None if best is None else then(best)

    return asked.answer(name, options, take)


def best_of_contrasts(
    store: Store,
    cubes: Sequence[Sequence[Cube]],
    told_apart: Sequence[Contrast],
    n: int,
    ranked_by: str,
    measure: Measure,
    progress: StepProgress | None,
) -> pl.DataFrame | None:
    """The best neurons of every contrast at every checkpoint, by a measure of a block's values.

    Args:
        store: With pooled values.
        cubes: Those of each checkpoint, which are ranked together.
        told_apart: What is measured.
        n: Neurons of each.
        ranked_by: A column of the measure, largest first; NaN has no rank.
        measure: Takes float64 ``"neurons texts"`` and gives columns ``"classes neurons"``; on every core, for some neurons.
        progress: Called after every block.

    Returns:
        checkpoint, language, concept, rank, site, layer, neuron, the columns of the measure, n_on and n_off; None without cubes.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types; scikit-learn brings it

    steps = Steps(progress, sum(cube.shape[0] * cube.shape[1] for own in cubes for cube in own))
    names = pl.DataFrame(
        [(one.language, one.concept, int(one.on.sum()), int(one.off.sum())) for one in told_apart],
        schema={"language": pl.String, "concept": pl.String, "n_on": pl.Int64, "n_off": pl.Int64},
        orient="row",
    ).to_dict(as_series=True)
    answers = []
    for own in filter(None, cubes):
        best = BestNeurons(NeuronAxis.of(store, own[0].checkpoint, [cube.site for cube in own]), n, ranked_by)
        # every core has neurons of its own, and products of matrices are not divided once more
        with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="actlas-measure") as pool:
            for cube, block in blocks_of(own, steps):
                parts = [block.values[start : start + _PART] for start in range(0, len(block.values), _PART)]
                told = list(pool.map(lambda part: measure(part.astype(np.float64), told_apart), parts))
                best.add(cube, block, {name: np.concatenate([one[name] for one in told], axis=1) for name in told[0]})
        answers.append(best.frame(own[0].checkpoint, names))
    return pl.concat(answers) if answers else None
