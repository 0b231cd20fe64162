"""Trajectories: how neurons and their ranks change from step to step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.names import VERSION
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import chosen_checkpoints, chosen_labels
from actlas.query.neurons import check_neuron
from actlas.query.questions.experts import ExpertSets, expert_sets
from actlas.query.schema import TABLES


def neuron_trajectory(
    store: Atlas | str | Path,
    site: str,
    layer: int,
    neuron: int,
    *,
    stats: Sequence[str] = ("ap",),
    checkpoints: Sequence[str] | None = None,
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
        checkpoints: None for all.
        languages: None for all.
        concepts: None for all.

    Returns:
        Columns checkpoint, step, language, concept and one per statistic, in order of steps; null where a concept
        has no scores.

    Raises:
        QueryError: If the site has no such neuron, or a language or concept is unknown.
        ScoresNotFound: If a checkpoint was not scored there.
        KeyError: If a statistic was not computed.
    """
    store = as_atlas(store)
    named_languages, named_concepts = chosen_labels(store, languages, concepts)
    parts = []
    for checkpoint in chosen_checkpoints(store, checkpoints):
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


def shared_trajectory(
    store: Atlas | str | Path,
    *,
    k: int = 500,
    min_languages: int = 2,
    checkpoints: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Neurons that are experts for a concept in several languages at some step, followed over all steps.

    Args:
        store: With scores. Open with mode "a", with all checkpoints and concepts and `min_languages` 2, the answer
            is also kept as table `trajectory`.
        k: Experts per language and concept.
        min_languages: In how many languages at once, at one step at least.
        checkpoints: None for all.
        concepts: None for all.
        sites: As in `top_experts`.

    Returns:
        Columns of table `trajectory`: checkpoint, step, concept, site, layer, neuron, n_languages (in which it is an
        expert at that step, 0 included), ap_mean and ap_min over the languages that have scores. One row per neuron and step.

    Raises:
        ScoresNotFound: If a checkpoint or site was not scored.
        QueryError: If k is more than there are neurons, or a concept is unknown.
    """
    store = as_atlas(store)
    named = chosen_checkpoints(store, checkpoints)
    sets = {name: expert_sets(store, name, k=k, sites=sites, concepts=concepts) for name in named}
    followed = _ever_shared(list(sets.values()), min_languages)
    parts = []
    for checkpoint, experts in sets.items():
        frame = _followed_rows(store, experts, followed)
        parts.append(frame)
        if store.mode == "a" and checkpoints is None and concepts is None and min_languages == 2:
            settings = {"k": k, "sites": list(experts.axis.sites), "actlas": VERSION}
            store.publish_table("trajectory", checkpoint, frame, settings)
    return pl.concat(parts) if parts else TABLES["trajectory"].empty()


def _expert_counts(sets: ExpertSets, concept: int) -> NDArray[np.int64]:
    """Languages in which each neuron of the axis is an expert for a concept."""
    there = sets.neurons[sets.is_there[:, concept], concept]
    return np.bincount(there.reshape(-1), minlength=sets.axis.n_neurons)


def _ever_shared(sets: Sequence[ExpertSets], min_languages: int) -> list[NDArray[np.int64]]:
    """Per concept the neurons that reach `min_languages` at one of the checkpoints."""
    if not sets:
        return []
    if len({(experts.axis.sites, experts.axis.shapes) for experts in sets}) > 1:
        shapes = "; ".join(f"{experts.checkpoint}: {experts.axis.sites} {experts.axis.shapes}" for experts in sets)
        raise QueryError(f"trajectories need the same neurons at every checkpoint; choose sites or checkpoints ({shapes})")
    reached = []
    for concept in range(len(sets[0].concepts)):
        most = np.max([_expert_counts(experts, concept) for experts in sets], axis=0)
        reached.append(np.flatnonzero(most >= min_languages))
    return reached


def _followed_rows(store: Atlas, sets: ExpertSets, followed: Sequence[NDArray[np.int64]]) -> pl.DataFrame:
    table = TABLES["trajectory"]
    parts = [table.empty()]
    cubes = [store.scores(sets.checkpoint, site) for site in sets.axis.sites]
    step = store.checkpoint(sets.checkpoint)["step"]
    for concept, index in enumerate(followed):
        if not index.size:
            continue
        ap = np.full((len(sets.languages), index.size), np.nan)
        for at, cube in enumerate(cubes):
            here = sets.axis.site_at(index) == at
            if here.any():
                layers, row = np.unique(sets.axis.layer_at(index[here]), return_inverse=True)
                slab = cube.read("ap", sets.languages, sets.concepts[concept], layers)
                ap[:, here] = slab[:, row, sets.axis.neuron_at(index[here])]
        ap = ap[~np.isnan(ap).any(axis=1)]
        columns: dict[str, Any] = {
            **sets.axis.columns(index),
            "n_languages": _expert_counts(sets, concept)[index],
            "ap_mean": ap.mean(axis=0),
            "ap_min": ap.min(axis=0),
        }
        labels = (
            pl.lit(sets.checkpoint).alias("checkpoint"),
            pl.lit(step, dtype=pl.Int64).alias("step"),
            pl.lit(sets.concepts[concept]).alias("concept"),
        )
        parts.append(table.conform(pl.DataFrame(columns).with_columns(labels)))
    return pl.concat(parts)


def first_shared(trajectory: pl.DataFrame, min_languages: int) -> pl.DataFrame:
    """The first step at which each neuron is an expert in at least `min_languages` languages.

    Args:
        trajectory: What `shared_trajectory` gave, with at most as many `min_languages`.
        min_languages: In how many languages.

    Returns:
        Columns concept, site, layer, neuron, checkpoint, step, n_languages; neurons that never get there are left out.
    """
    order = trajectory["checkpoint"].unique(maintain_order=True)
    position = pl.col("checkpoint").replace_strict(order, pl.Series(range(len(order))), return_dtype=pl.Int64)
    key = ("concept", "site", "layer", "neuron")
    reached = trajectory.filter(pl.col("n_languages") >= min_languages).with_columns(position.alias("position"))
    first = reached.sort("position", maintain_order=True).unique(key, keep="first", maintain_order=True)
    return first.sort("concept", "position", "site", "layer", "neuron").select(*key, "checkpoint", "step", "n_languages")


def rank_stability(
    store: Atlas | str | Path,
    *,
    k: int = 500,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
) -> pl.DataFrame:
    """How far the experts of a checkpoint are those of the one before, and of the last.

    Args:
        store: With scores. Open with mode "a", and nothing left out, the answer is also kept as table `rank_stability`.
        k: Experts per language and concept.
        languages: None for all.
        concepts: None for all.
        sites: As in `top_experts`.

    Returns:
        Columns of table `rank_stability`: checkpoint, step, language, concept, k, previous (checkpoint), overlap_previous and
        overlap_last (size of the intersection / k). The first checkpoint has no previous one.
    """
    store = as_atlas(store)
    sets = [expert_sets(store, name, k=k, sites=sites, languages=languages, concepts=concepts) for name in store.checkpoints]
    _ever_shared(sets, 2)
    table = TABLES["rank_stability"]
    parts = [table.empty()]
    for at, experts in enumerate(sets):
        previous = sets[at - 1] if at else None
        step = store.checkpoint(experts.checkpoint)["step"]
        rows = []
        for language, concept in np.argwhere(experts.is_there):
            mine = experts.neurons[language, concept]
            kept = [
                None if other is None else np.isin(mine, other.neurons[language, concept]).sum() / k
                for other in (previous, sets[-1])
            ]
            name = previous.checkpoint if previous else None
            rows.append((experts.checkpoint, step, experts.languages[language], experts.concepts[concept], k, name, *kept))
        frame = pl.DataFrame(rows, schema=dict(table.columns), orient="row")
        parts.append(frame)
        if store.mode == "a" and languages is None and concepts is None:
            settings = {"k": k, "sites": list(experts.axis.sites), "actlas": VERSION}
            store.publish_table("rank_stability", experts.checkpoint, frame, settings)
    return pl.concat(parts)
