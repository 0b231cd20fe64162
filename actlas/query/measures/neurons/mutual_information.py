"""Dimensions that tell most about a concept, by mutual information, and how many of them languages share."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, Positive, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress
from actlas.query.measures.asked import Asked
from actlas.query.measures.neurons.best import (
    Contrast,
    Mask,
    Values,
    best_answer,
    contrasts,
    measured_cubes,
    stacked,
    with_members,
)
from actlas.query.measures.registry import Bins, Estimate
from actlas.query.schema import TABLES
from actlas.store.cube import Cube


@checks_arguments(QueryError)
def mutual_information(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    concepts: Names | None = None,
    n: Positive = 50,
    estimate: Estimate = "bins",
    n_bins: Bins = 8,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """The neurons whose value tells most about whether a text expresses a concept, or is in a language, in nats.

    With "bins": I = sum over bins b and y in {0, 1} of p(b, y) * log(p(b, y) / (p(b) * p(y))), with the shares of the texts that
    take part; bins hold as many values each, equal values in one bin. With "gaussian": values of either side y have a normal
    distribution q(v | y), of their mean and variance, and I = mean over texts of log(q(v | y) / sum over z of p(z) q(v | z)); no
    more than the true information where the distribution is another one, and never below 0.

    Each neuron is told alone. The papers add one dimension after another to a Gaussian probe, which leaves out what is told
    twice; fit it with a prior to training words, tell it from validation words, and in bits. High and low values tell alike.

    Args:
        store: With pooled values, or the path of such a store.
        checkpoints: None for all.
        sites: Ranked together; None for all with values.
        languages: None for all.
        concepts: None for all.
        n: Neurons of every language and concept; 50 as published.
        estimate: "bins", or "gaussian" as published.
        n_bins: Bins of equal size, of "bins".
        progress: Called after every block of neurons.
        keep: Whether the answer is kept as table `mutual_information`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, language, concept (null: the language against the others), rank, site, layer, neuron, mutual_information,
        expected (what neurons that tell nothing have on average: estimates from few texts are too high), n_on, n_off. Neurons
        with a constant value have no row; with "gaussian" a constant value on either side is enough.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no values.
        QueryError: If a language or concept is not in the corpus, or there are no values.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Torroba Hennigen et al. 2020, Intrinsic Probing through Dimension Selection.

    Example:
        >>> told = mutual_information(store, checkpoints=["planted-step64"], languages=["en"], concepts=["water"], n=1)
        >>> told.filter(concept="water").select("site", "layer", "neuron", pl.col("mutual_information").round(2)).rows()
        [('mlp_hidden', 1, 19, 0.4)]
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)
    options = {"languages": languages, "concepts": concepts, "n": n, "estimate": estimate, "n_bins": n_bins}
    measure = functools.partial(_measure, estimate=estimate, n_bins=n_bins)
    told_apart = contrasts(asked.atlas, languages, concepts)
    return best_answer("mutual_information", asked, told_apart, options, "mutual_information", measure)


@checks_arguments(QueryError)
def dimension_overlap(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    concepts: Names | None = None,
    n: Positive = 50,
    estimate: Estimate = "bins",
    n_bins: Bins = 8,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """How many of the n neurons that tell most about a concept two languages share, beside what chance gives.

    overlap = shared / n. Two sets of n out of d neurons drawn at random share n / d of themselves on average, which grows as the
    model gets narrower, and their number is hypergeometric.

    Args:
        store: As of `mutual_information`, whose neurons these are.
        checkpoints: None for all.
        sites: Ranked together; None for all with values.
        languages: Two or more; None for all.
        concepts: None for all.
        n: Neurons of every language and concept; 50 as published.
        estimate: "bins", or "gaussian" as published.
        n_bins: Bins of equal size, of "bins".
        progress: Called after every block of neurons.
        keep: Whether the answer is kept as table `dimension_overlap`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, concept, language_a, language_b, n, n_neurons (d), n_shared, overlap, chance (n / d), chance_low and
        chance_high (between which at least 95 % of random draws are), p_value (of as many or more by chance). Pairs without n
        neurons of each language have no row.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no values.
        QueryError: If fewer than two languages are chosen, n is more than there are neurons, a language or concept is not in the
            corpus, or there are no values.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Wang et al. 2024, Probing the Emergence of Cross-lingual Alignment during LLM Training.

    Example:
        >>> shared = dimension_overlap(store, checkpoints=["planted-step128"], concepts=["water"], n=6)
        >>> shared.select("language_a", "language_b", "n_shared", "n_neurons", pl.col("chance").round(3)).rows()
        [('fr', 'en', 3, 208, 0.029), ('fr', 'es', 3, 208, 0.029), ('en', 'es', 3, 208, 0.029)]
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)
    told_apart = [one for one in contrasts(asked.atlas, languages, concepts) if one.concept is not None]
    if len({one.language for one in told_apart}) < 2:
        raise QueryError("an overlap is that of two languages that have texts with and without a concept; choose two or more")
    for own in measured_cubes(asked.atlas, checkpoints, sites):
        n_neurons = _n_neurons(own)
        if own and n > n_neurons:
            raise QueryError(f"n = {n}, but {own[0].checkpoint} has {n_neurons:,} neurons at these sites; ask for fewer")

    def then(frame: pl.DataFrame) -> pl.DataFrame:
        sizes = {own[0].checkpoint: _n_neurons(own) for own in measured_cubes(asked.atlas, checkpoints, sites) if own}
        rows = [row for (name,), own in frame.group_by("checkpoint") for row in _overlaps(own, n, sizes[str(name)])]
        return pl.DataFrame(rows, schema=dict(TABLES["dimension_overlap"].columns), orient="row")

    options = {"languages": languages, "concepts": concepts, "n": n, "estimate": estimate, "n_bins": n_bins}
    measure = functools.partial(_measure, estimate=estimate, n_bins=n_bins)
    return best_answer("dimension_overlap", asked, told_apart, options, "mutual_information", measure, then=then)


def _n_neurons(cubes: Sequence[Cube]) -> int:
    return sum(cube.shape[0] * cube.shape[1] for cube in cubes)


def _overlaps(best: pl.DataFrame, n: int, n_neurons: int) -> Iterator[tuple[Any, ...]]:
    """Rows of table `dimension_overlap` out of the best neurons of one checkpoint."""
    from scipy.stats import hypergeom

    chance = hypergeom(n_neurons, n, n)
    ends = [float(chance.ppf(quantile)) / n for quantile in (0.025, 0.975)]
    for (checkpoint, concept), own in best.group_by("checkpoint", "concept", maintain_order=True):
        sets = {
            str(language): set(part.select("site", "layer", "neuron").iter_rows())
            for (language,), part in own.group_by("language", maintain_order=True)
        }
        for a, b in combinations([language for language, own_set in sets.items() if len(own_set) == n], 2):
            shared = len(sets[a] & sets[b])
            about = (checkpoint, concept, a, b, n, n_neurons, shared, shared / n, n / n_neurons)
            yield (*about, *ends, float(chance.sf(shared - 1)))


def _measure(values: Values, told_apart: Sequence[Contrast], *, estimate: Estimate, n_bins: int) -> dict[str, Values]:
    told = []
    for of, bins in with_members(told_apart, lambda members: _bins(values, members, n_bins) if estimate == "bins" else None):
        n = int(of.on.sum() + of.off.sum())
        # the fit of two means and two variances gains 1 / n over that of one of each, which tells nothing
        expected = 1 / n if bins is None else (n_bins - 1) / (2 * n)
        own = gaussian_information(values, of.on, of.off) if bins is None else _of_bins(bins, of.on[of.on | of.off])
        told.append({"mutual_information": own, "expected": np.full(len(values), expected)})
    return stacked(told)


def gaussian_information(values: Values, on: Mask, off: Mask) -> Values:
    """Mutual information of a neuron's value and whether a text is on, with a normal distribution on either side, in nats.

    NaN where the values of a side are constant, which no normal distribution has.

    Args:
        values: ``"neurons texts"``.
        on: Which texts express the concept.
        off: Which do not; the others take no part.

    Example:
        >>> on = np.array([True, True, False, False])
        >>> gaussian_information(np.array([[31.0, 32.0, 1.0, 2.0], [1.0, 2.0, 1.0, 2.0]]), on, ~on).round(3).tolist()
        [0.693, 0.0]
    """
    sides = [values[:, part] for part in (on, off)]
    n = on.sum() + off.sum()
    means, deviations = (np.stack([getattr(side, what)(axis=1) for side in sides]) for what in ("mean", "std"))
    is_constant = np.stack([side.max(axis=1) == side.min(axis=1) for side in sides]).any(axis=0)
    deviations[:, is_constant] = 1.0
    shares = np.array([side.shape[1] / n for side in sides])
    told = np.zeros(len(values))
    for own, side in enumerate(sides):
        densities = [
            np.log(shares[k]) - np.log(deviations[k, :, None]) - ((side - means[k, :, None]) / deviations[k, :, None]) ** 2 / 2
            for k in (own, 1 - own)
        ]
        # log p(side | value) - log p(side), summed over the texts of the side
        told += -np.logaddexp(0, densities[1] - densities[0]).sum(axis=1) - side.shape[1] * np.log(shares[own])
    return np.where(is_constant, np.nan, np.maximum(told / n, 0.0))


def information(values: Values, on: Mask, off: Mask, n_bins: int) -> Values:
    """Mutual information of every neuron's binned value and whether a text is on, in nats; NaN where values are constant.

    Args:
        values: ``"neurons texts"``.
        on: Which texts express the concept.
        off: Which do not; the others take no part.
        n_bins: Bins of equal size.

    Example:
        >>> on = np.array([True, True, False, False])
        >>> information(np.array([[3.0, 4.0, 1.0, 2.0], [1.0, 2.0, 1.0, 2.0]]), on, ~on, 2).round(3).tolist()
        [0.693, 0.0]
    """
    members = on | off
    return _of_bins(_bins(values, members, n_bins), on[members])


@dataclass(frozen=True)
class _Bins:
    """Which texts have values up to each edge between bins, ``"neurons texts"`` for every edge, and constant neurons."""

    up_to: list[NDArray[np.bool_]]
    is_constant: Mask


def _bins(values: Values, members: Mask, n_bins: int) -> _Bins:
    both = values[:, members]
    edges = np.quantile(both, np.arange(1, n_bins) / n_bins, axis=1, method="lower")
    return _Bins([both <= edge[:, None] for edge in edges], both.max(axis=1) == both.min(axis=1))


def _of_bins(bins: _Bins, is_on: Mask) -> Values:
    """Mutual information of the bin of a value and whether a text is on; bins are what lies between edges."""
    n_neurons, n_texts = bins.up_to[0].shape
    n = np.stack([*(part.sum(axis=1) for part in bins.up_to), np.full(n_neurons, n_texts)])
    n_on = np.stack([*(part[:, is_on].sum(axis=1) for part in bins.up_to), np.full(n_neurons, is_on.sum())])
    all_in, on_in = (np.diff(counts, axis=0, prepend=0) / n_texts for counts in (n, n_on))
    told = np.zeros(n_neurons)
    for inside, share in ((on_in, is_on.mean()), (all_in - on_in, 1 - is_on.mean())):
        there = inside > 1e-12
        ratio = np.divide(inside, all_in * share, out=np.ones_like(inside), where=there)
        told += (inside * np.log(ratio)).sum(axis=0)
    return np.where(bins.is_constant, np.nan, np.maximum(told, 0.0))
