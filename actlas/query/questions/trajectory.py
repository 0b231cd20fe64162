"""Trajectories: how neurons and their ranks change from step to step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Count, Names, Positive, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress
from actlas.query.choices import (
    Ranking,
    check_k,
    check_min_languages,
    chosen_labels,
    followed_checkpoints,
    linear_sites,
    tell_ties,
)
from actlas.query.experts.ranked import ranked_experts, ranking_steps
from actlas.query.experts.sets import ExpertSets
from actlas.query.keep import Keeper, KeptPart
from actlas.query.neurons import NeuronAxis, check_neuron
from actlas.query.rankable import ap_cubes
from actlas.query.ranks import n_scores, scores_of
from actlas.query.schema import TABLES
from actlas.store.store import Store


@checks_arguments(QueryError)
def neuron_trajectory(
    store: Atlas | str | Path,
    site: str,
    layer: Count,
    neuron: Count,
    *,
    stats: Sequence[str] = ("ap",),
    checkpoints: Names | None = None,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Scores of one neuron over all checkpoints.

    Args:
        store: With scores of that site.
        site: Where the neuron is.
        layer: Where the neuron is.
        neuron: Its coordinate.
        stats: Statistics wanted.
        checkpoints: None for all but controls.
        languages: None for all.
        concepts: None for all.

    Returns:
        Columns checkpoint, step, language, concept and one per statistic, in order of steps; null where a concept
        has no scores.

    Raises:
        QueryError: If the site has no such neuron, or a language or concept is unknown.
        ScoresNotFound: If a checkpoint was not scored there.
        KeyError: If a statistic was not computed.

    Example:
        >>> followed = neuron_trajectory(store, "mlp_pre", 1, 1, languages=["en"], concepts=["water"])
        >>> followed.columns, followed["step"].to_list()
        (['checkpoint', 'step', 'language', 'concept', 'ap'], [0, 64, 128])
    """
    store = as_atlas(store)
    named_languages, named_concepts = chosen_labels(store, languages, concepts)
    parts, names = [], followed_checkpoints(store, checkpoints)
    tell_ties(store, names)
    for checkpoint in names:
        check_neuron(store, checkpoint, site, layer, neuron)
        scores = store.scores(checkpoint, site)
        columns = {
            stat: scores.read(stat, named_languages, named_concepts, layer, neuron).reshape(-1).astype(np.float64)
            for stat in stats
        }
        n_concepts = len(named_concepts)
        labels = {
            "language": [language for language in named_languages for _ in range(n_concepts)],
            "concept": list(named_concepts) * len(named_languages),
        }
        parts.append(
            pl.DataFrame({**labels, **columns})
            .with_columns(pl.col(*stats).fill_nan(None))
            .select(
                pl.lit(checkpoint).alias("checkpoint"),
                pl.lit(store.checkpoint(checkpoint)["step"], dtype=pl.Int64).alias("step"),
                pl.all(),
            )
        )
    if not parts:
        raise QueryError(f"{store.path} has no committed checkpoint")
    return pl.concat(parts)


@checks_arguments(QueryError)
def shared_trajectory(
    store: Atlas | str | Path,
    *,
    k: Positive = 500,
    min_languages: Positive = 2,
    checkpoints: Names | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Neurons that are experts for a concept in several languages at some step, followed over all steps.

    Args:
        store: With scores, or the path of such a store.
        k: Experts per language and concept.
        min_languages: In how many languages at once, at one step at least.
        checkpoints: None for all but controls.
        concepts: None for all.
        sites: As in `top_experts`.
        progress: Called while scores are ranked.
        keep: Whether an answer for all checkpoints and concepts and two languages is kept as table `trajectory`. None: if the
            store was opened with mode "a".
        replace: Put the answer in the place of a kept one with another k or sites, instead of beside it.

    Returns:
        Columns of table `trajectory`: checkpoint, step, concept, site, layer, neuron, n_languages (in which it is an
        expert at that step, 0 included), ap_mean and ap_min over the languages that have scores. One row per neuron and step.

    Raises:
        ScoresNotFound: If a checkpoint or site was not scored.
        CheckpointNotFound: If a checkpoint is not in the store.
        QueryError: If k is more than there are neurons, or a concept is unknown, or part of an answer is to be kept.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: arXiv 2506.01629 (neurons that predict one concept in more and more languages).

    Example:
        >>> followed = shared_trajectory(store, k=6, min_languages=3, concepts=["water"])
        >>> followed.group_by("step", maintain_order=True).agg(pl.col("n_languages").max()).rows()
        [(0, 0), (64, 2), (128, 3)]
    """
    store, ranking = as_atlas(store, "a" if keep else "r"), Ranking(k, sites, concepts=concepts)
    check_min_languages(store, min_languages)
    names = followed_checkpoints(store, checkpoints)
    tell_ties(store, names)
    _, chosen_concepts = chosen_labels(store, None, concepts)
    with Keeper(store, keep, replace) as keeper:
        keeper.only_if(
            checkpoints is None and concepts is None and min_languages == 2,
            "table trajectory is about all checkpoints, all concepts and two languages or more",
        )
        parts = _kept_by_checkpoint(keeper, "trajectory", names, ranking)
        if parts is not None and min_languages >= 2:
            rows = pl.concat([TABLES["trajectory"].empty(), *(part.scan().collect() for part in parts)])
            rows = rows.filter(pl.col("concept").is_in(chosen_concepts))
            most = pl.col("n_languages").max().over("concept", "site", "layer", "neuron")
            return rows.filter(most >= min_languages)
        steps = ranking_steps(store, names, ranking, progress, n_passes=2)
        sets = {name: ranked_experts(keeper, name, ranking, steps)[0] for name in names}
        # which neurons are followed is known only now, so their scores take a pass of their own
        followed = _ever_shared(list(sets.values()), min_languages)
        answers = [TABLES["trajectory"].empty()]
        for checkpoint, experts in sets.items():
            answers.append(_followed_rows(store, experts, followed))
            steps.add(n_scores(experts.axis, experts.languages, experts.concepts), checkpoint)
            keeper.put(checkpoint, {"trajectory": answers[-1]}, {"k": k, "sites": list(experts.axis.sites)})
    return pl.concat(answers)


def _kept_by_checkpoint(keeper: Keeper, name: str, checkpoints: Sequence[str], ranking: Ranking) -> list[KeptPart] | None:
    """The kept parts of a table that compares checkpoints; None if one of them is missing or no longer current."""
    parts = []
    for checkpoint in checkpoints:
        axis = NeuronAxis.of(keeper.store, checkpoint, linear_sites(keeper.store, checkpoint, ranking.sites))
        check_k(ranking.k, axis)
        part = keeper.find(name, checkpoint, {"k": ranking.k, "sites": list(axis.sites)})
        if part is None:
            return None
        parts.append(part)
    return parts


def _expert_counts(sets: ExpertSets, concept: int) -> NDArray[np.int64]:
    """Languages in which each neuron of the axis is an expert for a concept."""
    index = sets.neurons[sets.has_experts[:, concept], concept]
    return np.bincount(index.reshape(-1), minlength=sets.axis.n_neurons)


def _ever_shared(sets: Sequence[ExpertSets], min_languages: int) -> list[NDArray[np.int64]]:
    """Per concept the neurons that reach `min_languages` at one of the checkpoints."""
    if not sets:
        return []
    _refuse_other_neurons(sets)
    reached = []
    for concept in range(len(sets[0].concepts)):
        most = np.max([_expert_counts(experts, concept) for experts in sets], axis=0)
        reached.append(np.flatnonzero(most >= min_languages))
    return reached


def _refuse_other_neurons(sets: Sequence[ExpertSets]) -> None:
    """Refuse to compare checkpoints that differ in their neurons."""
    if len({(experts.axis.sites, experts.axis.shapes) for experts in sets}) > 1:
        shapes = "; ".join(f"{experts.checkpoint}: {experts.axis.sites} {experts.axis.shapes}" for experts in sets)
        raise QueryError(f"trajectories need the same neurons at every checkpoint; choose sites or checkpoints ({shapes})")


def _followed_rows(store: Store, sets: ExpertSets, followed: Sequence[NDArray[np.int64]]) -> pl.DataFrame:
    """Table `trajectory` of one checkpoint."""
    table, axis = TABLES["trajectory"], sets.axis
    most = max((index.size for index in followed), default=0)
    if not most:
        return table.empty()
    neurons = np.full((len(followed), most), -1, dtype=np.int64)
    for concept, index in enumerate(followed):
        neurons[concept, : index.size] = index
    cubes, step = ap_cubes(store, sets.checkpoint, axis), store.checkpoint(sets.checkpoint)["step"]
    everywhere = np.broadcast_to(neurons, (len(sets.languages), *neurons.shape))
    ap = scores_of(cubes, axis, "ap", sets.languages, sets.concepts, everywhere)
    parts = []
    for concept, index in enumerate(followed):
        if not index.size:
            continue
        own = ap[:, concept, : index.size]
        own = own[~np.isnan(own).any(axis=1)]
        columns: dict[str, Any] = {
            **axis.columns(index),
            "n_languages": _expert_counts(sets, concept)[index],
            "ap_mean": own.mean(axis=0),
            "ap_min": own.min(axis=0),
        }
        labels = (
            pl.lit(sets.checkpoint).alias("checkpoint"),
            pl.lit(step, dtype=pl.Int64).alias("step"),
            pl.lit(sets.concepts[concept]).alias("concept"),
        )
        parts.append(table.conform(pl.DataFrame(columns).with_columns(labels)))
    return pl.concat(parts)


@checks_arguments(QueryError)
def first_shared(trajectory: pl.DataFrame, min_languages: Positive) -> pl.DataFrame:
    """The first step at which each neuron is an expert in at least `min_languages` languages.

    Args:
        trajectory: What `shared_trajectory` gave, with at most as many `min_languages`.
        min_languages: In how many languages.

    Returns:
        Columns concept, site, layer, neuron, checkpoint, step, n_languages; neurons that never get there are left out.

    Example:
        >>> followed = shared_trajectory(store, k=6, concepts=["water"])
        >>> first_shared(followed, 3)["step"].unique().to_list()
        [128]
    """
    order = trajectory["checkpoint"].unique(maintain_order=True)
    position = pl.col("checkpoint").replace_strict(order, pl.Series(range(len(order))), return_dtype=pl.Int64)
    key = ("concept", "site", "layer", "neuron")
    reached = trajectory.filter(pl.col("n_languages") >= min_languages).with_columns(position.alias("position"))
    first = reached.sort("position", maintain_order=True).unique(key, keep="first", maintain_order=True)
    return first.sort("concept", "position", "site", "layer", "neuron").select(*key, "checkpoint", "step", "n_languages")


@checks_arguments(QueryError)
def rank_stability(
    store: Atlas | str | Path,
    *,
    k: Positive = 500,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """How far the experts of a checkpoint are those of the one before, and of the last.

    Args:
        store: With scores, or the path of such a store.
        k: Experts per language and concept.
        languages: None for all.
        concepts: None for all.
        sites: As in `top_experts`.
        progress: Called while scores are ranked.
        keep: Whether an answer for all languages and concepts is kept as table `rank_stability`. None: if the store was opened
            with mode "a".
        replace: Put the answer in the place of a kept one with another k or sites, instead of beside it.

    Returns:
        Columns of table `rank_stability`: checkpoint, step, language, concept, k, previous (checkpoint), overlap_previous and
        overlap_last (size of the intersection / k). The first checkpoint has no previous one.

    Raises:
        ScoresNotFound: If a checkpoint or site was not scored.
        QueryError: If k is more than there are neurons, or a language or concept is unknown, or checkpoints differ in their
            neurons, or part of an answer is to be kept.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Example:
        >>> rank_stability(store, k=6, languages=["en"], concepts=["water"]).select("step", "previous", "overlap_last").rows()
        [(0, None, 0.0), (64, 'planted-step0', 0.16666666666666666), (128, 'planted-step64', 1.0)]
    """
    store, ranking = as_atlas(store, "a" if keep else "r"), Ranking(k, sites, languages, concepts)
    names = followed_checkpoints(store, None)
    tell_ties(store, names)
    chosen_languages, chosen_concepts = chosen_labels(store, languages, concepts)
    answers = [TABLES["rank_stability"].empty()]
    with Keeper(store, keep, replace) as keeper:
        keeper.only_if(ranking.is_whole)
        parts = _kept_by_checkpoint(keeper, "rank_stability", names, ranking)
        if parts is not None:
            rows = pl.concat(answers + [part.scan().collect() for part in parts])
            return rows.filter(pl.col("language").is_in(chosen_languages), pl.col("concept").is_in(chosen_concepts))
        steps = ranking_steps(store, names, ranking, progress)
        sets = [ranked_experts(keeper, name, ranking, steps)[0] for name in names]
        _refuse_other_neurons(sets)
        for position, experts in enumerate(sets):
            previous = sets[position - 1] if position else None
            answers.append(_stability_rows(experts, previous, sets[-1], store.checkpoint(experts.checkpoint)["step"]))
            keeper.put(experts.checkpoint, {"rank_stability": answers[-1]}, {"k": k, "sites": list(experts.axis.sites)})
    return pl.concat(answers)


def _stability_rows(experts: ExpertSets, previous: ExpertSets | None, last: ExpertSets, step: int | None) -> pl.DataFrame:
    """Table `rank_stability` of one checkpoint."""
    rows = []
    for language, concept in np.argwhere(experts.has_experts):
        own = experts.neurons[language, concept]
        shares = [
            None if other is None else np.isin(own, other.neurons[language, concept]).sum() / experts.k
            for other in (previous, last)
        ]
        labels = (experts.checkpoint, step, experts.languages[language], experts.concepts[concept], experts.k)
        rows.append((*labels, previous.checkpoint if previous else None, *shares))
    return pl.DataFrame(rows, schema=dict(TABLES["rank_stability"].columns), orient="row")
