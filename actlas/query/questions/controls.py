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

from actlas.errors import QueryError, TableNotFound
from actlas.names import VERSION
from actlas.query.atlas import Atlas
from actlas.query.blocks import BLOCK_BYTES, StepProgress, language_slices, neuron_blocks, on_host
from actlas.query.choices import check_k, chosen_labels, linear_sites
from actlas.query.neurons import NeuronAxis, RunningBest
from actlas.query.questions.experts import ExpertSets
from actlas.query.schema import TABLES
from actlas.query.splits import split_halves

#: Variants of the labels: each half of the texts, and labels dealt anew among the texts of a language.
VARIANTS = ("half_0", "half_1", "shuffled")

VariantLabels = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def variant_labels(store: Atlas, languages: Sequence[str], concepts: Sequence[str], seed: int) -> dict[str, list[VariantLabels]]:
    """VariantLabels of every variant: language -> one (is_concept, is_member) per entry of `VARIANTS`."""
    second = split_halves(store.corpus.texts, seed)
    rows = language_slices(store)
    labels = {}
    for language in languages:
        is_concept, is_member = store.corpus.concept_matrix(language, list(concepts))
        in_second = second[rows[language]][:, np.newaxis]
        rng = np.random.default_rng([seed, store.corpus.languages.index(language)])
        dealt = rng.permutation(is_concept.shape[0])
        labels[language] = [
            (is_concept, is_member & ~in_second),
            (is_concept, is_member & in_second),
            (is_concept[dealt], is_member[dealt]),
        ]
    return labels


def rescored_experts(
    store: Atlas,
    checkpoint: str,
    *,
    k: int,
    sites: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    seed: int = 0,
    backend: str = "auto",
    block_bytes: int = BLOCK_BYTES,
    progress: StepProgress | None = None,
) -> dict[str, ExpertSets]:
    """The k best neurons under every variant of the labels.

    All variants share one ranking of a neuron's texts. What a store of mode "a" computed for all languages and
    concepts is kept as table `control_experts` and taken from there when the settings agree.

    Args:
        store: With cubes; scores are needed only to know which linear sites were scored.
        checkpoint: Which.
        k: How many.
        sites: As in `top_experts`.
        languages: None for all.
        concepts: None for all.
        seed: Of the halves and of the shuffling.
        backend: Of the kernels.
        block_bytes: Values in memory at a time.
        progress: Told after every block.

    Returns:
        variant -> experts. A language and concept that a half leaves without positives or without negatives has none there.

    Raises:
        QueryError: If states were kept in place of a cube.
    """
    axis = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, sites))
    check_k(k, axis)
    if kept_states := [site for site in axis.sites if site in store.state_sites(checkpoint)]:
        raise QueryError(
            f"halves of the texts and shuffled labels need the value of every text, and of {', '.join(kept_states)} {store.path} "
            "keeps states alone; leave them out: halves=False (--no-halves)"
        )
    settings = {"k": k, "sites": list(axis.sites), "seed": seed, "corpus": store.corpus.fingerprint, "actlas": VERSION}
    named_languages, named_concepts = chosen_labels(store, languages, concepts)
    kept = _kept(store, checkpoint, axis, settings, named_languages, named_concepts)
    if kept is not None:
        return kept
    labels = variant_labels(store, named_languages, named_concepts, seed)
    best = _stream(store, checkpoint, axis, labels, k, backend, block_bytes, progress)
    answer = {}
    for at, variant in enumerate(VARIANTS):
        shape = (len(named_concepts), k)
        part = slice(at * shape[0], (at + 1) * shape[0])
        neurons = np.stack([best[language].index[part] for language in named_languages])
        ap = np.stack([best[language].score[part] for language in named_languages])
        neurons[neurons[:, :, -1] < 0] = -1
        answer[variant] = ExpertSets(checkpoint, axis, named_languages, named_concepts, neurons, ap)
    if store.mode == "a" and languages is None and concepts is None:
        frames = [sets.frame().with_columns(pl.lit(variant).alias("variant")) for variant, sets in answer.items()]
        store.publish_table("control_experts", checkpoint, TABLES["control_experts"].conform(pl.concat(frames)), settings)
    return answer


def _stream(
    store: Atlas,
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
    done = 0
    for site in axis.sites:
        for block in neuron_blocks(store.cube(checkpoint, site), block_bytes=block_bytes):
            first = int(axis.index_of(site, block.layer, block.start))
            for language, prepared in stacked.items():
                values = np.ascontiguousarray(block.values[:, rows[language]])
                scores = concept_scores(values, prepared, stats=("ap",), backend=backend)
                best[language].add(first, on_host(scores["ap"]))
            done += block.values.shape[0]
            if progress is not None:
                progress(done, axis.n_neurons, f"{checkpoint} {site} halves")
    return best


def _kept(
    store: Atlas,
    checkpoint: str,
    axis: NeuronAxis,
    settings: dict[str, Any],
    languages: tuple[str, ...],
    concepts: tuple[str, ...],
) -> dict[str, ExpertSets] | None:
    """What an earlier call with the same settings kept, cut to some languages and concepts."""
    try:
        if store.table_settings("control_experts", checkpoint) != settings:
            return None
    except TableNotFound:
        return None
    table = store.table("control_experts", checkpoint)
    answer = {}
    for variant in VARIANTS:
        shape = (len(languages), len(concepts), settings["k"])
        neurons, ap = np.full(shape, -1, dtype=np.int64), np.full(shape, -np.inf)
        part = table.filter(pl.col("variant") == variant, pl.col("language").is_in(languages), pl.col("concept").is_in(concepts))
        at = (
            part["language"].replace_strict(languages, range(len(languages)), return_dtype=pl.Int64).to_numpy(),
            part["concept"].replace_strict(concepts, range(len(concepts)), return_dtype=pl.Int64).to_numpy(),
            part["rank"].to_numpy() - 1,
        )
        index = np.zeros(part.height, dtype=np.int64)
        for site in axis.sites:
            here = (part["site"] == site).to_numpy()
            index[here] = axis.index_of(site, part["layer"].to_numpy()[here], part["neuron"].to_numpy()[here])
        neurons[at], ap[at] = index, part["ap"].to_numpy()
        answer[variant] = ExpertSets(checkpoint, axis, languages, concepts, neurons, ap)
    return answer
