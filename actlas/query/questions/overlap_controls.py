"""The mean overlap of a checkpoint beside what it has to be held against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, Positive, Seed, checks_arguments
from actlas.errors import QueryError
from actlas.kernels.significance import benjamini_hochberg, bootstrap_interval, permutation_p_value
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress
from actlas.query.choices import Ranking, chosen_checkpoints, linear_sites
from actlas.query.experts.ranked import ranked_experts
from actlas.query.experts.sets import ExpertSets
from actlas.query.keep import Keeper
from actlas.query.questions.controls import rescored_experts
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
    by_layer: bool = False,
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
        by_layer: Answer with the layers instead of the whole.
        n_repeats: Permutations of the labels behind `null` and `p_value`, and at most 20 of them behind the other nulls.
        seed: Of the halves, the permutations and the interval.
        progress: Called while halves and permuted labels are scored.
        keep: Whether an answer for all languages and concepts is kept, as tables `overlap_controls` and
            `overlap_controls_by_layer` together, with the overlap that they are the mean of, as tables `overlap` and
            `overlap_by_layer`. None: if the store was opened with mode "a".
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
        Of a layer: its part of the overlap, of chance, ceiling, cross_half and null, so that layers add up to the whole (chance
        but roughly), with an interval and a p-value of its own, and ``q_value`` after Benjamini and Hochberg over the layers.

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
    name = "overlap_controls_by_layer" if by_layer else "overlap_controls"
    answers = [TABLES[name].empty()]
    with Keeper(store, keep, replace) as keeper:
        keeper.only_if(ranking.is_whole)
        answers += [
            _control_tables(keeper, checkpoint, ranking, name, n_repeats, seed, progress)[name]
            for checkpoint in chosen_checkpoints(store, checkpoints)
        ]
    return pl.concat(answers)


def _control_tables(
    keeper: Keeper, checkpoint: str, ranking: Ranking, name: str, n_repeats: int, seed: int, progress: StepProgress | None
) -> dict[str, pl.DataFrame]:
    """Table `name` of one checkpoint where it is kept, otherwise both tables, computed."""
    store, k = keeper.store, ranking.k
    sites = list(linear_sites(store, checkpoint, ranking.sites))
    settings = {"k": k, "sites": sites, "seed": seed, "n_repeats": n_repeats}
    along = ("overlap_controls", "overlap_controls_by_layer")
    part = keeper.find(name, checkpoint, settings, along=along) if ranking.is_whole else None
    if part is not None:
        return {name: TABLES[name].conform(part.scan().collect())}
    sets = ranked_experts(keeper, checkpoint, ranking)[0]
    variants = rescored_experts(keeper, checkpoint, ranking, seed=seed, progress=progress)
    total, layered = (
        overlap_tables(keeper, checkpoint, ranking, table, halves=True, seed=seed, progress=progress, variants=variants)[table]
        for table in ("overlap", "overlap_by_layer")
    )
    nulls = NullRanking(store, checkpoint, sets.axis, sets.languages, sets.concepts, k, seed)
    drawn = _Draws.of(nulls, n_repeats, progress)
    labels = {"checkpoint": checkpoint, "step": store.checkpoint(checkpoint)["step"], "k": k}
    row = {
        **labels,
        **_observed(total, seed),
        "other_concept": other_concept_overlap(sets),
        **drawn.against(*(_mean(total[name]) for name in ("overlap", "ceiling", "cross_half"))),
        "n_repeats": n_repeats,
        "permuted": "meanings" if nulls.meanings.are_shared else "texts",
    }
    layers = [
        {**labels, "layer": layer, **_observed(rows, seed), "n_repeats": n_repeats}
        for layer in range(sets.axis.n_layers)
        for rows in (layered.filter(pl.col("layer") == layer),)
    ]
    tables = {
        "overlap_controls": _frame("overlap_controls", [row]),
        "overlap_controls_by_layer": _frame("overlap_controls_by_layer", drawn.with_tests(layers)),
    }
    keeper.put(checkpoint, tables, settings)
    return tables


def _frame(name: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """A table out of its rows; NaN becomes null, as columns that rows do not have."""
    table = TABLES[name]
    columns = {column: [row.get(column) for row in rows] for column in table.columns}
    return table.conform(pl.DataFrame(columns, schema=dict(table.columns), strict=False).fill_nan(None))


def _observed(rows: pl.DataFrame, seed: int) -> dict[str, Any]:
    """Means over rows of table `overlap`, or of one layer in `overlap_by_layer`, and the interval of the overlap."""
    ordered = rows.sort("concept", "language_a", "language_b")
    by_concept = ordered.group_by("concept", maintain_order=True).agg(
        pl.col("overlap").sum(), pl.col("overlap").count().alias("n")
    )
    low, high = bootstrap_interval(by_concept["overlap"].to_numpy(), by_concept["n"].to_numpy(), seed)
    means = {name: _mean(rows[name]) for name in ("overlap", "chance", "ceiling", "cross_half")}
    n_concepts = int((by_concept["n"] > 0).sum())
    return {**means, "low": low, "high": high, "n_pairs": rows["overlap"].count(), "n_concepts": n_concepts}


@dataclass(frozen=True)
class _Draws:
    """Mean overlaps for labels that mean nothing, one row per permutation; NaN where no pair has experts.

    Attributes:
        together: Translations keep together: each layer's part of the overlap, ``"repeats layers"``.
        apart: Each language by itself, ``"repeats"``.
        ceilings: Of the halves, translations together, ``"repeats"``.
        cross_halves: Across the halves, likewise.
    """

    together: NDArray[np.float64]
    apart: NDArray[np.float64]
    ceilings: NDArray[np.float64]
    cross_halves: NDArray[np.float64]

    @classmethod
    def of(cls, nulls: NullRanking, n_repeats: int, progress: StepProgress | None) -> _Draws:
        n_mean = min(n_repeats, _MEAN_REPEATS)
        steps = null_steps(nulls, progress, nulls.n_passes(n_repeats) + nulls.n_passes(n_mean, 2) + nulls.n_passes(n_mean))
        pairs = language_pairs(nulls.languages)
        together = np.array([_mean_overlaps(drawn) for part in nulls.together(n_repeats, steps) for drawn in part])
        apart = np.array([_mean_overlaps(drawn).sum() for part in nulls.apart(n_mean, steps) for drawn in part])
        halves = np.array([_mean_halves(drawn, pairs, nulls.k) for drawn in nulls.halves(n_mean, steps)])
        return cls(together, apart, halves[:, 0], halves[:, 1])

    def against(self, overlap: float | None, ceiling: float | None, cross_half: float | None) -> dict[str, float | None]:
        """Columns of `overlap_controls` that say what labels without meaning give."""
        null_ceiling, null_cross_half = _known_mean(self.ceilings), _known_mean(self.cross_halves)
        ratio = None
        if ceiling is not None and cross_half is not None and ceiling - null_ceiling > _CLEAR * _spread(self.ceilings):
            ratio = (cross_half - null_cross_half) / (ceiling - null_ceiling)
        return {
            **_tested(overlap, self.together.sum(axis=1)),
            "null_independent": _known_mean(self.apart),
            "null_ceiling": null_ceiling,
            "null_cross_half": null_cross_half,
            "corrected_ratio": ratio,
        }

    def with_tests(self, layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of `overlap_controls_by_layer` with what labels without meaning give; the layers are one family of tests."""
        tested = [{**row, **_tested(row["overlap"], self.together[:, row["layer"]])} for row in layers]
        p_values = np.array([math.nan if row["p_value"] is None else row["p_value"] for row in tested])
        return [{**row, "q_value": q} for row, q in zip(tested, benjamini_hochberg(p_values).tolist(), strict=True)]


def _tested(overlap: float | None, drawn: NDArray[np.float64]) -> dict[str, float | None]:
    """A mean overlap against those of every permutation."""
    null, spread, n_drawn = _known_mean(drawn), _spread(drawn), np.count_nonzero(~np.isnan(drawn))
    columns = {"null": null, "null_sd": spread if math.isfinite(spread) else None}
    if overlap is None:
        return {**columns, "excess": None, "p_value": None}
    # sums of the same numbers in another order differ in the last digits
    n_at_least = np.count_nonzero(drawn >= overlap - 1e-12)
    return {**columns, "excess": overlap - null, "p_value": float(permutation_p_value(n_at_least, n_drawn))}


def _mean_overlaps(sets: ExpertSets) -> NDArray[np.float64]:
    """Each layer's part of the mean overlap over all pairs of languages and concepts that have experts; NaN where none has."""
    a, b = pairs = language_pairs(sets.languages)
    there = has_experts(pairs, sets)
    shared = intersections(sets, sets).by_layer[:, :, a, b].swapaxes(1, 2)[there]
    return shared.mean(axis=0) / sets.k if len(shared) else np.full(sets.axis.n_layers, math.nan)


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
