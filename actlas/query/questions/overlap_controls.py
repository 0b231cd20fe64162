"""The mean overlap of a checkpoint beside what it has to be held against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, Positive, Seed, checks_arguments
from actlas.errors import QueryError
from actlas.kernels.significance import bootstrap_interval, permutation_p_value
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress
from actlas.query.choices import Ranking, chosen_checkpoints, linear_sites
from actlas.query.keep import Keeper
from actlas.query.questions.controls import rescored_experts
from actlas.query.questions.experts import ExpertSets, expert_sets
from actlas.query.questions.nulls import NullRanking, null_steps
from actlas.query.questions.overlap import half_counts, has_experts, intersections, language_pairs, overlap_tables
from actlas.query.schema import TABLES

#: Repeats that give the nulls of which only means are needed.
_MEAN_REPEATS = 20
#: Standard deviations by which a ceiling has to lie above its null for a ratio to say something.
_CLEAR = 3


@checks_arguments(QueryError)
def overlap_controls(
    store: Atlas | str | Path,
    *,
    k: Positive = 500,
    checkpoints: Names | None = None,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    n_repeats: Positive = 99,
    seed: Seed = 0,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Mean overlap of every checkpoint beside what it has to be held against.

    Means are over all pairs of languages and all concepts; pairs without experts are left out of them. A null is the mean overlap
    of experts for labels that mean nothing; `expert_overlap` explains what has no null in its name.

    Args:
        store: With scores, or the path of such a store.
        k: Experts per language and concept.
        checkpoints: None for all.
        languages: None for all.
        concepts: None for all.
        sites: As in `top_experts`.
        n_repeats: Permutations of the labels behind `null` and `p_value`, and at most 20 of them behind the other nulls.
        seed: Of the halves, the permutations and the interval.
        progress: Called while halves and permuted labels are scored.
        keep: Whether an answer for all languages and concepts is kept, as table `overlap_controls`, with the overlap that it is
            the mean of, as tables `overlap` and `overlap_by_layer`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with another k, sites or seed, instead of beside it.

    Returns:
        Columns checkpoint, step, k, then: ``overlap``; ``low`` and ``high``, the ends of its 95 % interval, from 2,000 draws of
        concepts with replacement; ``null`` and ``null_sd``, mean and standard deviation over permutations that move the labels
        among meanings, in all languages alike, so that translations stay together; ``excess`` = overlap - null; ``p_value`` =
        (1 + permutations with as much overlap) / (1 + n_repeats); ``null_independent``, where labels move in each language
        by itself; ``other_concept`` (experts of one concept in one language against those of every other concept in the
        other language); ``chance``; ``ceiling``, ``cross_half``, and ``null_ceiling``, ``null_cross_half``, the same two for
        labels that move among meanings; ``corrected_ratio`` = (cross_half - null_cross_half) / (ceiling - null_ceiling), null
        where the ceiling does not lie 3 standard deviations above its null; ``n_pairs`` and ``n_concepts`` the mean is over;
        ``n_repeats``; ``permuted``: "meanings", or "texts" where no text has a translation, and both nulls are one thing.

    Raises:
        ScoresNotFound: If a checkpoint or site was not scored.
        CheckpointNotFound: If a checkpoint is not in the store.
        QueryError: If k is more than there are neurons, or a language or concept is unknown, or part of an answer is to be kept.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Suau et al. 2022 (experts); the controls are permutations of labels, as in any permutation test.

    Example:
        >>> overlap_controls(store, k=6, checkpoints=["planted-step64"], n_repeats=9).select("step", "n_pairs", "p_value").rows()
        [(64, 10, 0.2)]
    """
    store, ranking = as_atlas(store, "a" if keep else "r"), Ranking(k, sites, languages, concepts)
    answers = [TABLES["overlap_controls"].empty()]
    with Keeper(store, keep, replace) as keeper:
        keeper.only_if(ranking.is_whole)
        answers += [
            _control_row(keeper, checkpoint, ranking, n_repeats, seed, progress)
            for checkpoint in chosen_checkpoints(store, checkpoints)
        ]
    return pl.concat(answers)


def _control_row(
    keeper: Keeper, checkpoint: str, ranking: Ranking, n_repeats: int, seed: int, progress: StepProgress | None
) -> pl.DataFrame:
    """Table `overlap_controls` of one checkpoint: one row."""
    store, k = keeper.store, ranking.k
    settings = {
        "k": k,
        "sites": list(linear_sites(store, checkpoint, ranking.sites)),
        "seed": seed,
        "n_repeats": n_repeats,
    }
    part = keeper.find("overlap_controls", checkpoint, settings) if ranking.is_whole else None
    if part is not None:
        return TABLES["overlap_controls"].conform(part.scan().collect())
    sets = expert_sets(store, checkpoint, ranking)
    variants = rescored_experts(keeper, checkpoint, ranking, seed=seed, progress=progress)
    tables = overlap_tables(keeper, checkpoint, ranking, "overlap", halves=True, seed=seed, progress=progress, variants=variants)
    total = tables["overlap"]
    nulls = NullRanking(store, checkpoint, sets.axis, sets.languages, sets.concepts, k, seed)
    by_concept = total.group_by("concept").agg(pl.col("overlap").sum(), pl.col("overlap").count().alias("n")).sort("concept")
    low, high = bootstrap_interval(by_concept["overlap"].to_numpy(), by_concept["n"].to_numpy(), seed)
    overlap, chance, ceiling, cross_half = (_mean(total[name]) for name in ("overlap", "chance", "ceiling", "cross_half"))
    row = {
        "checkpoint": checkpoint,
        "step": store.checkpoint(checkpoint)["step"],
        "k": k,
        "overlap": overlap,
        "low": low,
        "high": high,
        "other_concept": other_concept_overlap(sets),
        "chance": chance,
        "ceiling": ceiling,
        "cross_half": cross_half,
        **_against_nulls(nulls, overlap, ceiling, cross_half, n_repeats, progress),
        "n_pairs": total["overlap"].count(),
        "n_concepts": int((by_concept["n"] > 0).sum()),
        "n_repeats": n_repeats,
        "permuted": "meanings" if nulls.meanings.are_shared else "texts",
    }
    schema = {name: TABLES["overlap_controls"].columns[name] for name in row}
    frame = TABLES["overlap_controls"].conform(pl.DataFrame([row], schema=schema).fill_nan(None))
    keeper.put(checkpoint, {"overlap_controls": frame}, settings)
    return frame


def _against_nulls(
    nulls: NullRanking,
    overlap: float | None,
    ceiling: float | None,
    cross_half: float | None,
    n_repeats: int,
    progress: StepProgress | None,
) -> dict[str, float | None]:
    """Columns of `overlap_controls` that say what labels without meaning give."""
    n_mean = min(n_repeats, _MEAN_REPEATS)
    steps = null_steps(nulls, progress, nulls.n_passes(n_repeats) + nulls.n_passes(n_mean, 2) + nulls.n_passes(n_mean))
    together = np.array([_mean_overlap(drawn) for part in nulls.together(n_repeats, steps) for drawn in part])
    apart = np.array([_mean_overlap(drawn) for part in nulls.apart(n_mean, steps) for drawn in part])
    pairs = language_pairs(nulls.languages)
    halves = np.array([_mean_halves(drawn, pairs, nulls.k) for drawn in nulls.halves(n_mean, steps)])
    null, null_ceiling, null_cross = (_known_mean(values) for values in (together, halves[:, 0], halves[:, 1]))
    n_drawn = np.count_nonzero(~np.isnan(together))
    columns: dict[str, float | None] = {
        "null": null,
        "null_sd": _spread(together),
        "null_independent": _known_mean(apart),
        "null_ceiling": null_ceiling,
        "null_cross_half": null_cross,
        "excess": None if overlap is None else overlap - null,
        "p_value": None,
        "corrected_ratio": None,
    }
    if overlap is not None:
        # sums of the same numbers in another order differ in the last digits
        columns["p_value"] = float(permutation_p_value((together >= overlap - 1e-12).sum(), n_drawn))
    if ceiling is not None and cross_half is not None and ceiling - null_ceiling > _CLEAR * _spread(halves[:, 0]):
        columns["corrected_ratio"] = (cross_half - null_cross) / (ceiling - null_ceiling)
    return columns


def _mean_overlap(sets: ExpertSets) -> float:
    """Mean overlap over all pairs of languages and concepts that have experts; NaN where none has."""
    a, b = pairs = language_pairs(sets.languages)
    shared = intersections(sets, sets).shared[:, a, b][has_experts(pairs, sets)]
    return float(shared.mean() / sets.k) if shared.size else math.nan


def _mean_halves(halves: tuple[ExpertSets, ExpertSets], pairs: NDArray[np.int64], k: int) -> tuple[float, float]:
    """Mean ceiling and mean cross-half overlap; NaN where no pair has experts on both halves."""
    shape = (len(halves[0].concepts), halves[0].axis.n_layers)
    ceiling, cross_half = (counts.sum(axis=1) / k for counts in half_counts(halves, pairs, shape))
    return _known_mean(ceiling), _known_mean(cross_half)


def _known_mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _spread(values: NDArray[np.float64]) -> float:
    """Standard deviation of what was drawn; infinite where one draw or none says nothing about it."""
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1)) if known.size > 1 else math.inf


def _mean(values: pl.Series) -> float | None:
    """Mean without nulls, the same in whatever order the rows come: those of a kept table have another than computed ones."""
    known = values.drop_nulls()
    return math.fsum(known) / len(known) if len(known) else None


def other_concept_overlap(sets: ExpertSets) -> float | None:
    """Mean overlap of one concept's experts in one language with another concept's in another language, over all
    such combinations.

    Counted neuron by neuron: a neuron that is an expert for m concepts in one language and n in another is shared by
    m n pairs of concepts.
    """
    n_languages = len(sets.languages)
    kinds = np.zeros((n_languages, sets.axis.n_neurons), dtype=np.int32)
    for language in range(n_languages):
        index = sets.neurons[language][sets.has_experts[language]]
        kinds[language] = np.bincount(index.reshape(-1), minlength=sets.axis.n_neurons)
    same = intersections(sets, sets).shared.sum(axis=0)
    shared = n_pairs = 0
    for a, b in combinations(range(n_languages), 2):
        both = sets.has_experts[a] & sets.has_experts[b]
        n_pairs += int(sets.has_experts[a].sum()) * int(sets.has_experts[b].sum()) - int(both.sum())
        shared += int(kinds[a].astype(np.int64) @ kinds[b]) - int(same[a, b])
    return shared / (n_pairs * sets.k) if n_pairs else None
