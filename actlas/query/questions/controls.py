"""Experts under other labels than the corpus has: either half of the texts, and shuffled labels. Streams the cube,
needs no model.

Average precision under other labels is not kept: only the k best neurons of each language, concept and variant are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.query.blocks import BLOCK_BYTES, StepProgress, Steps, language_slices, neuron_blocks, on_host
from actlas.query.choices import Ranking, check_k, chosen_labels, linear_sites
from actlas.query.keep import Keeper
from actlas.query.neurons import NeuronAxis, RunningBest
from actlas.query.questions.experts import ExpertSets, sets_of_rows
from actlas.query.schema import TABLES
from actlas.query.splits import split_halves
from actlas.store.store import Store

#: Variants of the labels: each half of the texts, and shuffled among the texts of a language.
VARIANTS = ("half_0", "half_1", "shuffled")

VariantLabels = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def variant_labels(store: Store, languages: Sequence[str], concepts: Sequence[str], seed: int) -> dict[str, list[VariantLabels]]:
    """VariantLabels of every variant: language -> one (is_concept, is_member) per entry of `VARIANTS`."""
    second = split_halves(store.corpus.texts, seed)
    rows = language_slices(store)
    labels = {}
    for language in languages:
        is_concept, is_member = store.corpus.concept_matrix(language, list(concepts))
        in_second = second[rows[language]][:, np.newaxis]
        rng = np.random.default_rng([seed, store.corpus.languages.index(language)])
        order = rng.permutation(is_concept.shape[0])
        labels[language] = [
            (is_concept, is_member & ~in_second),
            (is_concept, is_member & in_second),
            (is_concept[order], is_member[order]),
        ]
    return labels


def rescored_experts(
    keeper: Keeper,
    checkpoint: str,
    ranking: Ranking,
    *,
    seed: int = 0,
    backend: str = "auto",
    block_bytes: int = BLOCK_BYTES,
    progress: StepProgress | None = None,
) -> dict[str, ExpertSets]:
    """The k best neurons under every variant of the labels, out of the kept table where it reaches that far.

    All variants share one ranking of a neuron's texts. What is computed for all languages and concepts is kept as table
    `control_experts`.

    Args:
        keeper: Of the question. Its store needs cubes, and scores only to tell which linear sites were scored.
        checkpoint: Which.
        ranking: Which experts.
        seed: Of the halves and of the shuffling.
        backend: Of the kernels.
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
    if without_cube := [site for site in axis.sites if site in store.state_sites(checkpoint)]:
        raise QueryError(
            f"halves of the texts and shuffled labels need the value of every text, and of {', '.join(without_cube)} "
            f"{store.path} keeps states alone; leave them out: halves=False, on the command line --no-halves"
        )
    languages, concepts = chosen_labels(store, ranking.languages, ranking.concepts)
    settings: dict[str, Any] = {"k": ranking.k, "sites": list(axis.sites), "seed": seed}
    part = keeper.find("control_experts", checkpoint, settings)
    if part is not None:
        rows = part.scan().filter(pl.col("rank") <= ranking.k).collect()
        of_variant = {variant: rows.filter(pl.col("variant") == variant) for variant in VARIANTS}
        return {name: sets_of_rows(part, checkpoint, axis, languages, concepts, ranking.k) for name, part in of_variant.items()}
    if ranking.is_whole:
        settings["k"] = keeper.largest("k", "control_experts", checkpoint, settings)
    labels = variant_labels(store, languages, concepts, seed)
    best = _stream(store, checkpoint, axis, labels, settings["k"], backend, block_bytes, progress)
    answer = {}
    for position, variant in enumerate(VARIANTS):
        columns = slice(position * len(concepts), (position + 1) * len(concepts))
        neurons = np.stack([best[language].index[columns] for language in languages])
        ap = np.stack([best[language].score[columns] for language in languages])
        is_missing = neurons[:, :, -1] < 0
        neurons[is_missing], ap[is_missing] = -1, np.nan
        answer[variant] = ExpertSets(checkpoint, axis, languages, concepts, neurons, ap)
    if ranking.is_whole:
        frames = [sets.frame().with_columns(pl.lit(variant).alias("variant")) for variant, sets in answer.items()]
        table = TABLES["control_experts"].conform(pl.concat(frames))
        keeper.put(checkpoint, {"control_experts": table}, settings)
    return {variant: sets.best(ranking.k) for variant, sets in answer.items()}


def _stream(
    store: Store,
    checkpoint: str,
    axis: NeuronAxis,
    labels: dict[str, list[VariantLabels]],
    k: int,
    backend: str,
    block_bytes: int,
    progress: StepProgress | None,
) -> dict[str, RunningBest]:
    from actlas.kernels import concept_scores, prepare_labels

    rows = language_slices(store)
    stacked = {}
    for language, variants in labels.items():
        is_concept, is_member = (np.hstack(arrays) for arrays in zip(*variants, strict=True))
        stacked[language] = prepare_labels(is_concept, is_member)
    best = {language: RunningBest(prepared.n_concepts, k) for language, prepared in stacked.items()}
    steps = Steps(progress, axis.n_neurons)
    for site in axis.sites:
        for block in neuron_blocks(store.cube(checkpoint, site), block_bytes=block_bytes):
            first = int(axis.index_of(site, block.layer, block.start))
            for language, prepared in stacked.items():
                values = np.ascontiguousarray(block.values[:, rows[language]])
                scores = concept_scores(values, prepared, stats=("ap",), backend=backend)
                best[language].add(first, on_host(scores["ap"]))
            steps.add(block.values.shape[0], f"{checkpoint} {site} halves")
    return best
