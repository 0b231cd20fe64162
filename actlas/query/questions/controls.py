"""Experts under other labels than the corpus has: of either half of the texts, and any that are handed over. Streams the cube,
needs no model.

Average precision under other labels is not kept: only the k best neurons of each language, concept and variant are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.query.blocks import BLOCK_BYTES, StepProgress, Steps, language_slices, neuron_blocks, on_host
from actlas.query.choices import Ranking, check_k, chosen_labels, linear_sites
from actlas.query.experts.sets import ExpertSets, sets_of_rows
from actlas.query.keep import Keeper
from actlas.query.neurons import GUESS_TOLERANCE, NeuronAxis
from actlas.query.rankable import share_of_positives
from actlas.query.schema import TABLES
from actlas.query.splits import split_halves
from actlas.store.store import Store

if TYPE_CHECKING:
    from actlas.kernels.cpu.best import RunningBest

#: Variants of the labels: each half of the texts.
VARIANTS = ("half_0", "half_1")
#: Scores of one call of the kernels, in bytes.
_SCORE_BYTES = 24 << 20

#: is_concept and is_member, each ``"texts concepts"``, of one language.
Labels = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def half_labels(
    labels: Mapping[str, Labels], in_second: NDArray[np.bool_], rows: Mapping[str, slice]
) -> dict[str, tuple[Labels, Labels]]:
    """Labels of each language on either half of its texts.

    Args:
        labels: Of all texts.
        in_second: Which texts are in the second half, along the text axis.
        rows: language -> its part of the text axis.
    """
    halves = {}
    for language, (is_concept, is_member) in labels.items():
        second = in_second[rows[language]][:, np.newaxis]
        halves[language] = ((is_concept, is_member & ~second), (is_concept, is_member & second))
    return halves


def corpus_labels(store: Store, languages: Sequence[str], concepts: Sequence[str]) -> dict[str, Labels]:
    """The labels that the corpus has."""
    return {language: store.corpus.concept_matrix(language, list(concepts)) for language in languages}


def check_has_cubes(store: Store, checkpoint: str, axis: NeuronAxis) -> None:
    """Refuse states: other labels need the value of every text.

    Raises:
        QueryError: If states were kept in place of a cube.
    """
    if without_cube := [site for site in axis.sites if site in store.state_sites(checkpoint)]:
        raise QueryError(
            f"halves of the texts and permuted labels need the value of every text, and of {', '.join(without_cube)} "
            f"{store.path} keeps states alone; leave them out: halves=False, on the command line --no-halves"
        )


def rescored_experts(
    keeper: Keeper,
    checkpoint: str,
    ranking: Ranking,
    *,
    seed: int = 0,
    block_bytes: int = BLOCK_BYTES,
    progress: StepProgress | None = None,
) -> dict[str, ExpertSets]:
    """The k best neurons on either half of the texts, out of the kept table where it reaches that far.

    Both share one ranking of a neuron's texts. What is computed for all languages and concepts is kept as table
    `control_experts`.

    Args:
        keeper: Of the question. Its store needs cubes, and scores only to tell which linear sites were scored.
        checkpoint: Which.
        ranking: Which experts.
        seed: Of the halves.
        block_bytes: Values in memory at a time.
        progress: Called after every block.

    Returns:
        variant -> experts. A language and concept that a half leaves without positives or without negatives has none there.

    Raises:
        QueryError: If states were kept in place of a cube.
    """
    store = keeper.store
    axis = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, ranking.sites))
    check_k(ranking.k, axis)
    check_has_cubes(store, checkpoint, axis)
    languages, concepts = chosen_labels(store, ranking.languages, ranking.concepts)
    settings: dict[str, Any] = {"k": ranking.k, "sites": list(axis.sites), "seed": seed}
    part = keeper.find("control_experts", checkpoint, settings)
    if part is not None:
        rows = part.scan().filter(pl.col("rank") <= ranking.k).collect()
        of_variant = {variant: rows.filter(pl.col("variant") == variant) for variant in VARIANTS}
        return {name: sets_of_rows(part, checkpoint, axis, languages, concepts, ranking.k) for name, part in of_variant.items()}
    if ranking.is_whole:
        settings["k"] = keeper.largest("k", "control_experts", checkpoint, settings)
    halves = half_labels(
        corpus_labels(store, languages, concepts), split_halves(store.corpus.texts, seed), language_slices(store)
    )
    steps = Steps(progress, axis.n_neurons)
    experts = best_under(store, checkpoint, axis, halves, concepts, settings["k"], steps, "halves", block_bytes=block_bytes)
    answer = dict(zip(VARIANTS, experts, strict=True))
    if ranking.is_whole:
        frames = [sets.frame().with_columns(pl.lit(variant).alias("variant")) for variant, sets in answer.items()]
        table = TABLES["control_experts"].conform(pl.concat(frames))
        keeper.put(checkpoint, {"control_experts": table}, settings)
    return {variant: sets.best(ranking.k) for variant, sets in answer.items()}


def best_under(
    store: Store,
    checkpoint: str,
    axis: NeuronAxis,
    labels: Mapping[str, Sequence[Labels]],
    concepts: tuple[str, ...],
    k: int,
    steps: Steps,
    what: str,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> list[ExpertSets]:
    """The k best neurons under several variants of the labels at once; all share one ranking of a neuron's texts.

    Args:
        store: With cubes.
        checkpoint: Which.
        axis: The neurons to rank.
        labels: language -> the labels of every variant.
        concepts: Their columns.
        k: How many.
        steps: Counts neurons.
        what: Named in progress.
        block_bytes: Values in memory at a time.

    Returns:
        Experts of every variant. Where fewer than k neurons can be ranked, there are none.
    """
    best = _stream(store, checkpoint, axis, labels, k, steps, what, block_bytes=block_bytes)
    languages = tuple(labels)
    found = [best[language].best() for language in languages]
    neurons, ap = np.stack([one[0] for one in found]), np.stack([one[1] for one in found])
    is_missing = neurons[:, :, -1] < 0
    neurons[is_missing], ap[is_missing] = -1, np.nan
    columns = [slice(start, start + len(concepts)) for start in range(0, neurons.shape[1], len(concepts))]
    return [ExpertSets(checkpoint, axis, languages, concepts, neurons[:, part], ap[:, part]) for part in columns]


def _stream(
    store: Store,
    checkpoint: str,
    axis: NeuronAxis,
    labels: Mapping[str, Sequence[Labels]],
    k: int,
    steps: Steps,
    what: str,
    *,
    block_bytes: int,
) -> dict[str, RunningBest]:
    from actlas.kernels import concept_scores, prepare_labels
    from actlas.kernels.cpu.best import RunningBest

    rows = language_slices(store)
    stacked, best = {}, {}
    for language, variants in labels.items():
        is_concept, is_member = (np.hstack(arrays) for arrays in zip(*variants, strict=True))
        prepared = prepare_labels(is_concept, None if is_member.all() else is_member)
        guesses = share_of_positives(prepared.n_positive, prepared.n_member)
        stacked[language], best[language] = prepared, RunningBest(guesses, GUESS_TOLERANCE, k, axis.n_neurons)
    for site in axis.sites:
        for block in neuron_blocks(store.cube(checkpoint, site), block_bytes=block_bytes):
            first = int(axis.index_of(site, block.layer, block.start))
            for language, prepared in stacked.items():
                values = np.ascontiguousarray(block.values[:, rows[language]])
                for part in _portions(len(values), prepared.n_concepts):
                    scores = concept_scores(values[part], prepared, stats=("ap",))
                    best[language].add(first + part.start, np.ascontiguousarray(on_host(scores["ap"]).T, dtype=np.float64))
            steps.add(block.values.shape[0], f"{checkpoint} {site} {what}")
    return best


def _portions(n_neurons: int, n_questions: int) -> Iterator[slice]:
    """Neurons whose scores are in memory at a time."""
    step = max(1, _SCORE_BYTES // (8 * n_questions))
    for start in range(0, n_neurons, step):
        yield slice(start, min(start + step, n_neurons))
