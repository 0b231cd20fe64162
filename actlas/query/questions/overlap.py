"""How many experts languages share, on the full grid of language pairs, with what chance and the data allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, Positive, Seed, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress, Steps
from actlas.query.choices import Ranking, check_k, chosen_checkpoints, chosen_labels, linear_sites
from actlas.query.experts.ranked import ranked_experts, ranking_steps
from actlas.query.experts.sets import ExpertSets
from actlas.query.keep import Keeper
from actlas.query.neurons import NeuronAxis, names_at
from actlas.query.questions.controls import rescored_experts
from actlas.query.rankable import Rankable
from actlas.query.schema import TABLES

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Intersections:
    """Sizes of the intersections of the experts of two sets of languages.

    Attributes:
        by_layer: ``"concepts layers languages_a languages_b"``.
    """

    by_layer: Counts

    @property
    def shared(self) -> Counts:
        """All layers together: ``"concepts languages_a languages_b"``."""
        return np.asarray(self.by_layer.sum(axis=1))


def intersections(a: ExpertSets, b: ExpertSets) -> Intersections:
    """Sizes of the intersections of each language's experts in `a` with each language's in `b`, concept by concept.

    Languages without experts come out as 0; the caller knows which they are.
    """
    n_layers, n_languages, n_concepts = a.axis.n_layers, len(a.languages), len(a.concepts)
    by_layer = np.zeros((n_concepts, n_layers, n_languages, n_languages), dtype=np.int64)
    neurons = a.neurons if a is b else np.concatenate([a.neurons, b.neurons])
    # in this order the experts of a layer stand together; -1 stays below every neuron
    keys = np.where(neurons < 0, -1, a.axis.layer_at(neurons) * a.axis.n_neurons + neurons)
    for concept in range(n_concepts):
        key, position = np.unique(keys[:, concept], return_inverse=True)
        is_expert = np.zeros((len(keys), key.size), dtype=np.float32)
        np.put_along_axis(is_expert, position.reshape(len(keys), -1), 1, axis=1)
        starts = np.searchsorted(key, np.arange(n_layers + 1) * a.axis.n_neurons)
        for layer, (start, stop) in enumerate(pairwise(starts.tolist())):
            part = is_expert[:, start:stop]
            by_layer[concept, layer] = np.rint(part[:n_languages] @ part[-n_languages:].T)
    return Intersections(by_layer)


@checks_arguments(QueryError)
def expert_overlap(
    store: Atlas | str | Path,
    *,
    k: Positive = 500,
    checkpoints: Names | None = None,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    by_layer: bool = False,
    halves: bool = True,
    seed: Seed = 0,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Experts shared by every pair of languages, per concept and checkpoint, and the same layer by layer.

    Every pair has a row, those that share nothing included: leaving them out would raise the mean. A pair in which a
    language has no experts for the concept has nulls. With A and B the k experts of two languages among N neurons:

    - ``overlap`` = \\|A ∩ B\\| / k, ``jaccard`` = \\|A ∩ B\\| / \\|A ∪ B\\|.
    - ``chance`` is the overlap of two random sets: k / N if every neuron can be an expert. A neuron with one value for all texts
      of a language cannot, so in general it is k n / (n_a n_b), where n_a and n_b neurons can be experts in either language and n
      (``n_rankable``) in both. What translations have in common beyond the concept is not in it: see `overlap_tests`.
    - ``ceiling``: the texts are cut in two halves, translations and repetitions of each other always in the same one, and experts
      are computed on each. The ceiling is the overlap of a language's two halves with each other, mean of both
      languages: what the amount of data allows.
    - ``cross_half``: the overlap of one language's experts on one half with the other language's on the other half,
      mean of both ways, which does not profit from texts that say the same. Both have a part that no concept explains;
      `overlap_controls` takes it off before it compares them.

    Within a layer, ``shared`` counts the experts of both languages in it and ``overlap`` = shared / k, so that
    layers add up to the whole; ``jaccard`` is over the union inside the layer (null where it is empty); ``chance`` is
    what is expected of sets that have as many neurons in the layer (n_a, n_b) at random places there: n_a n_b /
    n_neurons / k if all can be experts (mean of the hypergeometric distribution); ``ceiling`` and ``cross_half`` count the
    layer's part of theirs.

    Args:
        store: With scores, or the path of such a store.
        k: Experts per language and concept.
        checkpoints: None for all.
        languages: None for all.
        concepts: None for all.
        sites: As in `top_experts`.
        by_layer: Answer with the layers instead of the whole.
        halves: False leaves out ceiling and cross_half (null), which take a second pass over the cubes.
        seed: Of the halves.
        progress: Called while scores are ranked, or, with halves, while those are scored.
        keep: Whether an answer for all languages and concepts is kept, as tables `overlap` and `overlap_by_layer` together, and
            the experts of the halves as table `control_experts`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with another k, sites or seed, instead of beside it.

    Returns:
        Columns of table `overlap`: checkpoint, concept, language_a, language_b, k, shared, overlap, jaccard, chance, ceiling,
        cross_half, n_neurons, n_rankable; or those of `overlap_by_layer`. language_a < language_b in alphabetical order.

    Raises:
        ScoresNotFound: If a checkpoint or site was not scored.
        CheckpointNotFound: If a checkpoint is not in the store.
        QueryError: If k is more than there are neurons, or a language or concept is unknown, or if halves are wanted of states,
            or part of an answer is to be kept.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: arXiv 2506.01629 (experts shared across languages); overlap as \\|A ∩ B\\| / k.

    Example:
        >>> pairs = expert_overlap(store, k=6, halves=False, concepts=["water"], checkpoints=["planted-step64"])
        >>> pairs.select("language_a", "language_b", "shared").rows()
        [('en', 'es', 0), ('en', 'fr', 2), ('es', 'fr', 1)]
    """
    store, ranking = as_atlas(store, "a" if keep else "r"), Ranking(k, sites, languages, concepts)
    name = "overlap_by_layer" if by_layer else "overlap"
    answers = [TABLES[name].empty()]
    with Keeper(store, keep, replace) as keeper:
        keeper.only_if(ranking.is_whole)
        names = chosen_checkpoints(store, checkpoints)
        # where halves are scored too, that is what takes the time and is told
        steps = None if halves else ranking_steps(store, names, ranking, progress)
        for checkpoint in names:
            tables = overlap_tables(keeper, checkpoint, ranking, name, halves=halves, seed=seed, progress=progress, steps=steps)
            answers.append(tables[name])
    return pl.concat(answers)


def overlap_tables(
    keeper: Keeper,
    checkpoint: str,
    ranking: Ranking,
    name: str,
    *,
    halves: bool,
    seed: int,
    progress: StepProgress | None,
    variants: Mapping[str, ExpertSets] | None = None,
    steps: Steps | None = None,
) -> dict[str, pl.DataFrame]:
    """Table `name` of one checkpoint where it is kept, otherwise both tables, computed."""
    store = keeper.store
    axis = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, ranking.sites))
    check_k(ranking.k, axis)
    languages, concepts = chosen_labels(store, ranking.languages, ranking.concepts)
    sites = list(axis.sites)
    settings = {"k": ranking.k, "sites": sites, "n_neurons": axis.n_neurons, "halves": halves, "seed": seed}
    part = keeper.find(name, checkpoint, settings, along=("overlap", "overlap_by_layer"))
    if part is not None:
        rows = part.scan().filter(
            pl.col("concept").is_in(concepts), pl.col("language_a").is_in(languages), pl.col("language_b").is_in(languages)
        )
        if not halves:
            rows = rows.with_columns(pl.lit(None).alias("ceiling"), pl.lit(None).alias("cross_half"))
        return {name: TABLES[name].conform(rows.collect())}
    (sets, rankable), parts = ranked_experts(keeper, checkpoint, ranking, steps), None
    if halves:
        variants = variants or rescored_experts(keeper, checkpoint, ranking, seed=seed, progress=progress)
        parts = (variants["half_0"], variants["half_1"])
    total, layered = overlap_of_sets(sets, rankable, parts)
    tables = {"overlap": total, "overlap_by_layer": layered}
    keeper.put(checkpoint, tables, settings)
    return tables


def language_pairs(languages: Sequence[str]) -> Counts:
    """Positions of the two languages of every pair, each in alphabetical order: ``"2 pairs"``.

    Example:
        >>> language_pairs(["fr", "en", "es"]).tolist()
        [[1, 1, 2], [2, 0, 0]]
    """
    order = sorted(range(len(languages)), key=lambda position: languages[position])
    return np.array(list(combinations(order, 2)), dtype=np.int64).reshape(-1, 2).T


def overlap_of_sets(
    sets: ExpertSets, rankable: Rankable, halves: tuple[ExpertSets, ExpertSets] | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Tables `overlap` and `overlap_by_layer` of one checkpoint."""
    pairs = language_pairs(sets.languages)
    counts = _PairCounts.of(sets, pairs, rankable, halves)
    return _total_rows(sets, pairs, counts), _layer_rows(sets, pairs, counts)


@dataclass(frozen=True)
class _PairCounts:
    """What the rows of both tables are made of.

    Attributes:
        by_layer: Sizes of intersections, ``"concepts layers languages_a languages_b"``.
        rankable: Neurons that can be experts in both, same shape.
        ceiling: Intersections of the halves, ``"concepts layers pairs"``.
        cross_half: Intersections across the halves, same shape.
    """

    by_layer: Counts
    rankable: Rankable
    ceiling: NDArray[np.float64]
    cross_half: NDArray[np.float64]

    @classmethod
    def of(cls, sets: ExpertSets, pairs: Counts, rankable: Rankable, halves: tuple[ExpertSets, ExpertSets] | None) -> _PairCounts:
        by_layer = intersections(sets, sets).by_layer
        return cls(by_layer, rankable, *half_counts(halves, pairs, by_layer.shape[:2]))


def half_counts(
    halves: tuple[ExpertSets, ExpertSets] | None, pairs: Counts, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean sizes ``"concepts layers pairs"`` of same-language and cross-language intersections between the halves; NaN where
    a half has no experts.

    Args:
        halves: Experts on each half; None leaves everything NaN.
        pairs: Positions of the two languages of each pair, ``"2 pairs"``.
        shape: Number of concepts, number of layers.
    """
    a, b = pairs
    if halves is None:
        nothing = np.full((*shape, a.size), np.nan)
        return nothing, nothing
    first, second = halves
    counts = intersections(first, second).by_layer.astype(np.float64)
    same = np.einsum("clii->cli", counts)
    ceiling = (same[:, :, a] + same[:, :, b]) / 2
    cross_half = (counts[:, :, a, b] + counts[:, :, b, a]) / 2
    is_missing = ~has_experts(pairs, first, second)[:, np.newaxis].repeat(shape[1], axis=1)
    ceiling[is_missing] = cross_half[is_missing] = np.nan
    return ceiling, cross_half


def has_experts(pairs: Counts, *sets: ExpertSets) -> NDArray[np.bool_]:
    """Whether both languages of a pair have experts, in all of the sets: ``"concepts pairs"``."""
    have = np.logical_and.reduce([one.has_experts for one in sets])
    return np.asarray((have[pairs[0]] & have[pairs[1]]).T)


def pair_labels(sets: ExpertSets, pairs: Counts, n_layers: int = 1) -> dict[str, pl.Series]:
    """Columns that say what a row is about: concept by concept, in it layer by layer, in it pair by pair."""
    n_concepts, n_pairs = len(sets.concepts), pairs.shape[1]
    n_rows = n_concepts * n_layers * n_pairs
    return {
        "checkpoint": pl.repeat(sets.checkpoint, n_rows, dtype=pl.String, eager=True),
        "concept": names_at(sets.concepts, np.repeat(np.arange(n_concepts), n_layers * n_pairs)),
        "language_a": names_at(sets.languages, np.tile(pairs[0], n_concepts * n_layers)),
        "language_b": names_at(sets.languages, np.tile(pairs[1], n_concepts * n_layers)),
        "k": pl.repeat(sets.k, n_rows, dtype=pl.Int32, eager=True),
    }


def with_nulls(columns: dict[str, NDArray[np.float64]]) -> dict[str, pl.Series]:
    return {name: pl.Series(name, values.reshape(-1)).fill_nan(None) for name, values in columns.items()}


def _total_rows(sets: ExpertSets, pairs: Counts, counts: _PairCounts) -> pl.DataFrame:
    """Table `overlap`."""
    k, (a, b) = sets.k, pairs
    there = has_experts(pairs, sets)
    shared = np.where(there, counts.by_layer.sum(axis=1)[:, a, b], np.nan)
    can = counts.rankable.total
    own = np.einsum("cii->ci", can).astype(np.float64)
    numbers = {
        "shared": shared,
        "overlap": shared / k,
        "jaccard": shared / (2 * k - shared),
        "chance": np.where(there, k * can[:, a, b] / np.maximum(own[:, a] * own[:, b], 1), np.nan),
        "ceiling": counts.ceiling.sum(axis=1) / k,
        "cross_half": counts.cross_half.sum(axis=1) / k,
    }
    n_rankable = pl.Series("n_rankable", can[:, a, b].reshape(-1))
    frame = pl.DataFrame({**pair_labels(sets, pairs), **with_nulls(numbers), "n_rankable": n_rankable})
    return TABLES["overlap"].conform(frame.with_columns(pl.lit(sets.axis.n_neurons).alias("n_neurons")))


def _layer_rows(sets: ExpertSets, pairs: Counts, counts: _PairCounts) -> pl.DataFrame:
    """Table `overlap_by_layer`."""
    k, (a, b), sizes = sets.k, pairs, sets.axis.layer_sizes()
    there = has_experts(pairs, sets)[:, np.newaxis]
    own = np.einsum("clii->cli", counts.by_layer)
    n_a, n_b = (np.where(there, own[:, :, side], np.nan) for side in pairs)
    shared = np.where(there, counts.by_layer[:, :, a, b], np.nan)
    union = n_a + n_b - shared
    can = counts.rankable.by_layer
    can_own = np.einsum("clii->cli", can).astype(np.float64)
    numbers = {
        "shared": shared,
        "overlap": shared / k,
        "jaccard": np.divide(shared, union, out=np.full_like(shared, np.nan), where=union > 0),
        "chance": n_a * n_b * can[:, :, a, b] / np.maximum(can_own[:, :, a] * can_own[:, :, b], 1) / k,
        "ceiling": counts.ceiling / k,
        "cross_half": counts.cross_half / k,
        "n_a": n_a,
        "n_b": n_b,
    }
    n_concepts, n_layers, n_pairs = shared.shape
    places = {
        "layer": pl.Series(np.tile(np.repeat(np.arange(n_layers), n_pairs), n_concepts)),
        "n_neurons": pl.Series(np.tile(np.repeat(sizes, n_pairs), n_concepts)),
        "n_rankable": pl.Series(can[:, :, a, b].reshape(-1)),
    }
    frame = pl.DataFrame({**pair_labels(sets, pairs, n_layers), **places, **with_nulls(numbers)})
    return TABLES["overlap_by_layer"].conform(frame)
