"""Whether languages share more experts of a concept than labels without meaning would let them: permutation tests."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, Positive, Seed, checks_arguments
from actlas.errors import QueryError
from actlas.kernels.significance import benjamini_hochberg, permutation_p_value
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress
from actlas.query.choices import Ranking, check_k, chosen_checkpoints, chosen_labels, linear_sites
from actlas.query.experts.ranked import ranked_experts
from actlas.query.experts.sets import ExpertSets
from actlas.query.keep import Keeper
from actlas.query.neurons import NeuronAxis
from actlas.query.questions.controls import check_has_cubes
from actlas.query.questions.nulls import NullRanking, null_steps
from actlas.query.questions.overlap import has_experts, intersections, language_pairs, pair_labels, with_nulls
from actlas.query.schema import TABLES

Floats = NDArray[np.float64]
_LOG = logging.getLogger(__name__)
#: What the rows are about -> table.
_TABLES = {"pair": "overlap_tests", "layer": "overlap_tests_by_layer", "concept": "overlap_tests_by_concept"}
#: Means that differ by less are equal: they are sums of the same numbers in another order.
_SAME = 1e-9


@checks_arguments(QueryError)
def overlap_tests(
    store: Atlas | str | Path,
    *,
    k: Positive = 500,
    by: Literal["pair", "layer", "concept"] = "pair",
    n_repeats: Positive = 199,
    checkpoints: Names | None = None,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    seed: Seed = 0,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Is an overlap more than what texts have in common without the concept? A permutation test for every pair of languages.

    Translations share more than a concept: names, numbers, length. So the null keeps them together: labels move from meaning to
    meaning, in all languages alike, and all concepts move at once. The cubes are read again, and each repeat ranks all
    neurons under its labels.

    Args:
        store: With scores and cubes, or the path of such a store.
        k: Experts per language and concept.
        by: "pair" for a row per concept and pair of languages, "layer" for one per layer of these, "concept" for the mean over
            all pairs of each concept.
        n_repeats: How many permutations; no p-value is smaller than 1 / (1 + n_repeats).
        checkpoints: None for all.
        languages: None for all.
        concepts: None for all.
        sites: As in `top_experts`.
        seed: Of the permutations.
        progress: Called while permuted labels are scored.
        keep: Whether an answer for all languages and concepts is kept, as tables `overlap_tests`, `overlap_tests_by_layer` and
            `overlap_tests_by_concept` together. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with another k, sites, seed or n_repeats, instead of beside it.

    Returns:
        Columns of the table: checkpoint, concept, language_a and language_b (and layer; or n_pairs), k, ``overlap`` as in
        `expert_overlap`, ``null`` and ``null_sd`` (mean and standard deviation over the permutations), ``excess`` = overlap -
        null, ``p_value`` = (1 + permutations with as much overlap) / (1 + n_repeats), ``q_value`` after Benjamini and Hochberg
        over the ``n_tests`` rows of the checkpoint that have a p-value, ``n_repeats`` in which both languages had experts.

    Raises:
        ScoresNotFound: If a checkpoint or site was not scored.
        CheckpointNotFound: If a checkpoint is not in the store.
        QueryError: If k is more than there are neurons, or a language or concept is unknown, or states were kept in place of
            cubes, or part of an answer is to be kept.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: permutation test; Benjamini and Hochberg 1995.

    Example:
        >>> tests = overlap_tests(store, k=6, n_repeats=19, checkpoints=["planted-step128"], concepts=["water"])
        >>> tests.select("language_a", "language_b", "overlap", "p_value").rows()
        [('en', 'es', 0.6666666666666666, 0.05), ('en', 'fr', 0.8333333333333334, 0.05), ('es', 'fr', 0.6666666666666666, 0.05)]
    """
    store, ranking = as_atlas(store, "a" if keep else "r"), Ranking(k, sites, languages, concepts)
    answers = [TABLES[_TABLES[by]].empty()]
    with Keeper(store, keep, replace) as keeper:
        keeper.only_if(ranking.is_whole)
        for checkpoint in chosen_checkpoints(store, checkpoints):
            answers.append(_test_tables(keeper, checkpoint, ranking, _TABLES[by], n_repeats, seed, progress)[_TABLES[by]])
    return pl.concat(answers)


def _test_tables(
    keeper: Keeper, checkpoint: str, ranking: Ranking, name: str, n_repeats: int, seed: int, progress: StepProgress | None
) -> dict[str, pl.DataFrame]:
    """Table `name` of one checkpoint where it is kept and answers the question, otherwise all three, computed."""
    store = keeper.store
    axis = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, ranking.sites))
    check_k(ranking.k, axis)
    check_has_cubes(store, checkpoint, axis)
    languages, concepts = chosen_labels(store, ranking.languages, ranking.concepts)
    settings: dict[str, Any] = {"k": ranking.k, "sites": list(axis.sites), "seed": seed, "n_repeats": n_repeats}
    # a family of tests is what was asked for: part of a kept one would have other q-values
    part = keeper.find(name, checkpoint, settings, along=tuple(_TABLES.values())) if ranking.is_whole else None
    if part is not None:
        return {name: TABLES[name].conform(part.scan().collect())}
    nulls = NullRanking(store, checkpoint, axis, languages, concepts, ranking.k, seed)
    if (share := nulls.meanings.share_moving) < 0.5:
        _LOG.warning(
            "labels of %.0f %% of the texts cannot move with their translations: no other meaning is expressed in the same "
            "languages; p-values are larger than they need be",
            100 * (1 - share),
        )
    tally = Tally.of(ranked_experts(keeper, checkpoint, ranking)[0])
    steps = null_steps(nulls, progress, nulls.n_passes(n_repeats))
    for drawn in (sets for part in nulls.together(n_repeats, steps) for sets in part):
        tally.add(drawn)
    tables = {"overlap_tests": tally.pairs(), "overlap_tests_by_layer": tally.layers(), "overlap_tests_by_concept": tally.means()}
    keeper.put(checkpoint, tables, settings)
    return tables


@dataclass
class Tally:
    """Counts of permutations, of the observed experts and their layers.

    Attributes:
        sets: The observed experts.
        pairs_at: Positions of the two languages of each pair, ``"2 pairs"``.
        observed: Sizes of their intersections, ``"concepts layers pairs"``.
        has: Whether both have experts, ``"concepts pairs"``.
        n_drawn: Permutations in which both have experts, ``"concepts pairs"``.
        sums: Over these permutations of the sizes, ``"concepts layers pairs"``.
        squares: Of their squares, same shape.
        at_least: Permutations with as large an intersection, same shape.
        shared: Sizes over all layers, ``"repeats concepts pairs"``; NaN where one of the two has no experts.
    """

    sets: ExpertSets
    pairs_at: NDArray[np.int64]
    observed: NDArray[np.int64]
    has: NDArray[np.bool_]
    n_drawn: NDArray[np.int64]
    sums: NDArray[np.int64]
    squares: NDArray[np.int64]
    at_least: NDArray[np.int64]
    shared: list[Floats]

    @classmethod
    def of(cls, sets: ExpertSets) -> Tally:
        a, b = pairs = language_pairs(sets.languages)
        observed = intersections(sets, sets).by_layer[:, :, a, b]
        has = has_experts(pairs, sets)
        none, zeros = np.zeros(has.shape, dtype=np.int64), np.zeros_like(observed)
        return cls(sets, pairs, observed, has, none, zeros, zeros.copy(), zeros.copy(), [])

    def add(self, drawn: ExpertSets) -> None:
        """Take in the experts under one permutation."""
        a, b = self.pairs_at
        there = has_experts(self.pairs_at, drawn)
        counts = intersections(drawn, drawn).by_layer[:, :, a, b]
        self.n_drawn += there
        self.sums += counts
        self.squares += counts**2
        self.at_least += (counts >= self.observed) & there[:, np.newaxis]
        self.shared.append(np.where(there, counts.sum(axis=1), np.nan))

    def pairs(self) -> pl.DataFrame:
        """Table `overlap_tests`."""
        observed = np.where(self.has, self.observed.sum(axis=1), np.nan)
        frame = pl.DataFrame({**pair_labels(self.sets, self.pairs_at), **self._columns(observed, np.array(self.shared))})
        return TABLES["overlap_tests"].conform(frame)

    def means(self) -> pl.DataFrame:
        """Table `overlap_tests_by_concept`: means over the pairs that have experts."""
        counted = np.where(self.has, self.observed.sum(axis=1), np.nan)
        shared = np.where(self.has, np.array(self.shared), np.nan)
        columns = self._columns(_mean_of_pairs(counted), _mean_of_pairs(shared))
        n_concepts = len(self.sets.concepts)
        labels = {
            "checkpoint": pl.repeat(self.sets.checkpoint, n_concepts, dtype=pl.String, eager=True),
            "concept": pl.Series(self.sets.concepts, dtype=pl.String),
            "n_pairs": pl.Series(self.has.sum(axis=1)),
            "k": pl.repeat(self.sets.k, n_concepts, dtype=pl.Int32, eager=True),
        }
        return TABLES["overlap_tests_by_concept"].conform(pl.DataFrame({**labels, **columns}))

    def layers(self) -> pl.DataFrame:
        """Table `overlap_tests_by_layer`."""
        n_concepts, n_layers, n_pairs = self.observed.shape
        n_drawn = np.broadcast_to(self.n_drawn[:, np.newaxis], self.observed.shape)
        observed = np.where(self.has[:, np.newaxis], self.observed, np.nan)
        mean, spread = _moments(self.sums, self.squares, n_drawn)
        columns = _tested(observed, mean, spread, self.at_least, n_drawn, self.sets.k)
        layer = pl.Series(np.tile(np.repeat(np.arange(n_layers), n_pairs), n_concepts))
        frame = pl.DataFrame({**pair_labels(self.sets, self.pairs_at, n_layers), "layer": layer, **columns})
        return TABLES["overlap_tests_by_layer"].conform(frame)

    def _columns(self, observed: Floats, drawn: Floats) -> dict[str, Any]:
        """Tests of numbers against those of every permutation, which have one more axis in front; NaN says nothing."""
        is_there = ~np.isnan(drawn)
        known, n_drawn = np.where(is_there, drawn, 0.0), is_there.sum(axis=0)
        mean, spread = _moments(known.sum(axis=0), (known**2).sum(axis=0), n_drawn)
        at_least = (np.where(is_there, drawn, -np.inf) >= observed - _SAME).sum(axis=0)
        return _tested(observed, mean, spread, at_least, n_drawn, self.sets.k)


def _mean_of_pairs(shared: Floats) -> Floats:
    """Mean over the last axis of what is there; NaN where nothing is."""
    is_there = ~np.isnan(shared)
    n_pairs = is_there.sum(axis=-1)
    return np.where(n_pairs > 0, np.where(is_there, shared, 0.0).sum(axis=-1) / np.maximum(n_pairs, 1), np.nan)


def _moments(sums: NDArray[Any], squares: NDArray[Any], n_drawn: NDArray[Any]) -> tuple[Floats, Floats]:
    """Mean, and standard deviation with n - 1 below; NaN where too few were drawn."""
    mean = np.where(n_drawn > 0, sums / np.maximum(n_drawn, 1), np.nan)
    variance = np.maximum(squares - n_drawn * mean**2, 0) / np.maximum(n_drawn - 1, 1)
    return mean, np.where(n_drawn > 1, np.sqrt(variance), np.nan)


def _tested(
    observed: Floats, mean: Floats, spread: Floats, at_least: NDArray[Any], n_drawn: NDArray[Any], k: int
) -> dict[str, pl.Series]:
    """Columns of a table of tests, out of sizes of intersections."""
    p_values = np.where(np.isnan(observed), np.nan, permutation_p_value(at_least, n_drawn))
    is_test = ~np.isnan(p_values)
    numbers = {
        "overlap": observed / k,
        "null": np.where(is_test, mean / k, np.nan),
        "null_sd": np.where(is_test, spread / k, np.nan),
        "excess": (observed - mean) / k,
        "p_value": p_values,
        "q_value": benjamini_hochberg(p_values),
        "n_repeats": np.where(is_test, n_drawn, 0).astype(np.float64),
        "n_tests": np.full(p_values.shape, np.count_nonzero(is_test), dtype=np.float64),
    }
    return with_nulls(numbers)
