"""How many experts languages share, on the full grid of language pairs, with what chance and the data allow."""

from __future__ import annotations

import math
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
from actlas.query.blocks import StepProgress
from actlas.query.choices import Ranking, check_k, chosen_checkpoints, chosen_labels, linear_sites
from actlas.query.keep import Keeper
from actlas.query.neurons import NeuronAxis, names_at
from actlas.query.questions.controls import rescored_experts
from actlas.query.questions.experts import ExpertSets, expert_sets
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

    - ``overlap`` = \\|A ∩ B\\| / k, ``jaccard`` = \\|A ∩ B\\| / \\|A ∪ B\\|, ``chance`` = k / N, the overlap of two
      random sets.
    - ``ceiling``: the texts are cut in two halves, translations of each other always in the same one, and experts
      are computed on each. The ceiling is the overlap of a language's two halves with each other, mean of both
      languages: what the amount of data allows.
    - ``cross_half``: the overlap of one language's experts on one half with the other language's on the other half,
      mean of both ways. Held against the ceiling it does not profit from texts that say the same: ``cross_half /
      ceiling`` is the share of what could be shared.

    Within a layer, ``shared`` counts the experts of both languages in it and ``overlap`` = shared / k, so that
    layers add up to the whole; ``jaccard`` is over the union inside the layer (null where it is empty); ``chance`` =
    n_a n_b / n_neurons / k, what is expected of sets that have as many neurons in the layer (n_a, n_b) at random
    places there (mean of the hypergeometric distribution); ``ceiling`` and ``cross_half`` count the layer's part of theirs.

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
        progress: Called while the halves are scored.
        keep: Whether an answer for all languages and concepts is kept, as tables `overlap` and `overlap_by_layer` together, and
            the experts of the halves as table `control_experts`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with another k, sites or seed, instead of beside it.

    Returns:
        Columns of table `overlap`: checkpoint, concept, language_a, language_b, k, shared, overlap, jaccard, chance, ceiling,
        cross_half, n_neurons; or those of `overlap_by_layer`. language_a < language_b in alphabetical order.

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
        for checkpoint in chosen_checkpoints(store, checkpoints):
            tables = _overlap_tables(keeper, checkpoint, ranking, name, halves=halves, seed=seed, progress=progress)
            answers.append(tables[name])
    return pl.concat(answers)


def _overlap_tables(
    keeper: Keeper,
    checkpoint: str,
    ranking: Ranking,
    name: str,
    *,
    halves: bool,
    seed: int,
    progress: StepProgress | None,
    variants: Mapping[str, ExpertSets] | None = None,
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
    sets, parts = expert_sets(store, checkpoint, ranking), None
    if halves:
        variants = variants or rescored_experts(keeper, checkpoint, ranking, seed=seed, progress=progress)
        parts = (variants["half_0"], variants["half_1"])
    total, layered = overlap_of_sets(sets, parts)
    tables = {"overlap": total, "overlap_by_layer": layered}
    keeper.put(checkpoint, tables, settings)
    return tables


def overlap_of_sets(sets: ExpertSets, halves: tuple[ExpertSets, ExpertSets] | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Tables `overlap` and `overlap_by_layer` of one checkpoint."""
    order = sorted(range(len(sets.languages)), key=lambda position: sets.languages[position])
    pairs = np.array(list(combinations(order, 2)), dtype=np.int64).reshape(-1, 2).T
    by_layer = intersections(sets, sets).by_layer
    ceiling, cross_half = _half_counts(halves, pairs, by_layer.shape[:2])
    return _total_rows(sets, pairs, by_layer, ceiling, cross_half), _layer_rows(sets, pairs, by_layer, ceiling, cross_half)


def _half_counts(
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
    is_missing = ~_has_experts(pairs, first, second)[:, np.newaxis].repeat(shape[1], axis=1)
    ceiling[is_missing] = cross_half[is_missing] = np.nan
    return ceiling, cross_half


def _has_experts(pairs: Counts, *sets: ExpertSets) -> NDArray[np.bool_]:
    """Whether both languages of a pair have experts, in all of the sets: ``"concepts pairs"``."""
    has_experts = np.logical_and.reduce([one.has_experts for one in sets])
    return np.asarray((has_experts[pairs[0]] & has_experts[pairs[1]]).T)


def _labels(sets: ExpertSets, pairs: Counts, n_layers: int = 1) -> dict[str, pl.Series]:
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


def _with_nulls(columns: dict[str, NDArray[np.float64]]) -> dict[str, pl.Series]:
    return {name: pl.Series(name, values.reshape(-1)).fill_nan(None) for name, values in columns.items()}


def _total_rows(
    sets: ExpertSets, pairs: Counts, by_layer: Counts, ceiling: NDArray[np.float64], cross_half: NDArray[np.float64]
) -> pl.DataFrame:
    """Table `overlap`; counts are ``"concepts layers pairs"``, those of `by_layer` over all languages."""
    k, n_neurons = sets.k, sets.axis.n_neurons
    shared = np.where(_has_experts(pairs, sets), by_layer.sum(axis=1)[:, pairs[0], pairs[1]], np.nan)
    numbers = {
        "shared": shared,
        "overlap": shared / k,
        "jaccard": shared / (2 * k - shared),
        "chance": np.full(shared.shape, k / n_neurons),
        "ceiling": ceiling.sum(axis=1) / k,
        "cross_half": cross_half.sum(axis=1) / k,
    }
    frame = pl.DataFrame({**_labels(sets, pairs), **_with_nulls(numbers)})
    return TABLES["overlap"].conform(frame.with_columns(pl.lit(n_neurons).alias("n_neurons")))


def _layer_rows(
    sets: ExpertSets, pairs: Counts, by_layer: Counts, ceiling: NDArray[np.float64], cross_half: NDArray[np.float64]
) -> pl.DataFrame:
    """Table `overlap_by_layer`; counts as in `_total_rows`."""
    k, sizes = sets.k, sets.axis.layer_sizes()[:, np.newaxis]
    has_experts = _has_experts(pairs, sets)[:, np.newaxis]
    own = np.einsum("clii->cli", by_layer)
    n_a, n_b = (np.where(has_experts, own[:, :, side], np.nan) for side in pairs)
    shared = np.where(has_experts, by_layer[:, :, pairs[0], pairs[1]], np.nan)
    union = n_a + n_b - shared
    numbers = {
        "shared": shared,
        "overlap": shared / k,
        "jaccard": np.divide(shared, union, out=np.full_like(shared, np.nan), where=union > 0),
        "chance": n_a * n_b / np.maximum(sizes, 1) / k,
        "ceiling": ceiling / k,
        "cross_half": cross_half / k,
        "n_a": n_a,
        "n_b": n_b,
    }
    n_concepts, n_layers, n_pairs = shared.shape
    places = {
        "layer": pl.Series(np.tile(np.repeat(np.arange(n_layers), n_pairs), n_concepts)),
        "n_neurons": pl.Series(np.tile(np.repeat(sizes[:, 0], n_pairs), n_concepts)),
    }
    frame = pl.DataFrame({**_labels(sets, pairs, n_layers), **places, **_with_nulls(numbers)})
    return TABLES["overlap_by_layer"].conform(frame)


@checks_arguments(QueryError)
def overlap_controls(
    store: Atlas | str | Path,
    *,
    k: Positive = 500,
    checkpoints: Names | None = None,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    seed: Seed = 0,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Mean overlap of every checkpoint beside what it has to be held against.

    Means are over all pairs of languages and all concepts; pairs without experts are left out of them.

    Args:
        store: With scores, or the path of such a store.
        k: Experts per language and concept.
        checkpoints: None for all.
        languages: None for all.
        concepts: None for all.
        sites: As in `top_experts`.
        seed: Of the halves and of the shuffling.
        progress: Called while halves and shuffled labels are scored.
        keep: Whether an answer for all languages and concepts is kept, as table `overlap_controls`, with the overlap that it is
            the mean of, as tables `overlap` and `overlap_by_layer`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with another k, sites or seed, instead of beside it.

    Returns:
        Columns checkpoint, step, k, then: ``overlap``; ``other_concept`` (experts of one concept in one language
        against those of every other concept in the other language); ``shuffled`` (experts for labels that are shuffled
        among each language's texts); ``chance``; ``ceiling`` and ``cross_half`` as in `expert_overlap`; ``ratio`` =
        cross_half / ceiling; ``n_pairs`` the mean is over.

    Raises:
        ScoresNotFound: If a checkpoint or site was not scored.
        CheckpointNotFound: If a checkpoint is not in the store.
        QueryError: If k is more than there are neurons, or a language or concept is unknown, or part of an answer is to be kept.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Suau et al. 2022 (experts); the controls are permutations of labels, as in any permutation test.

    Example:
        >>> overlap_controls(store, k=6, checkpoints=["planted-step64"]).select("step", "k", "n_pairs").rows()
        [(64, 6, 10)]
    """
    store, ranking = as_atlas(store, "a" if keep else "r"), Ranking(k, sites, languages, concepts)
    answers = [TABLES["overlap_controls"].empty()]
    with Keeper(store, keep, replace) as keeper:
        keeper.only_if(ranking.is_whole)
        answers += [
            _control_row(keeper, checkpoint, ranking, seed, progress) for checkpoint in chosen_checkpoints(store, checkpoints)
        ]
    return pl.concat(answers)


def _control_row(keeper: Keeper, checkpoint: str, ranking: Ranking, seed: int, progress: StepProgress | None) -> pl.DataFrame:
    """Table `overlap_controls` of one checkpoint: one row."""
    store, k = keeper.store, ranking.k
    settings = {"k": k, "sites": list(linear_sites(store, checkpoint, ranking.sites)), "seed": seed}
    part = keeper.find("overlap_controls", checkpoint, settings) if ranking.is_whole else None
    if part is not None:
        return TABLES["overlap_controls"].conform(part.scan().collect())
    sets = expert_sets(store, checkpoint, ranking)
    variants = rescored_experts(keeper, checkpoint, ranking, seed=seed, progress=progress)
    total = _overlap_tables(keeper, checkpoint, ranking, "overlap", halves=True, seed=seed, progress=progress, variants=variants)[
        "overlap"
    ]
    shuffled, _ = overlap_of_sets(variants["shuffled"], None)
    ceiling, cross = _mean(total["ceiling"]), _mean(total["cross_half"])
    row = {
        "checkpoint": checkpoint,
        "step": store.checkpoint(checkpoint)["step"],
        "k": k,
        "overlap": _mean(total["overlap"]),
        "other_concept": other_concept_overlap(sets),
        "shuffled": _mean(shuffled["overlap"]),
        "chance": k / sets.axis.n_neurons,
        "ceiling": ceiling,
        "cross_half": cross,
        "ratio": cross / ceiling if ceiling and cross is not None else None,
        "n_pairs": total["overlap"].count(),
    }
    frame = pl.DataFrame([row], schema=dict(TABLES["overlap_controls"].columns))
    keeper.put(checkpoint, {"overlap_controls": frame}, settings)
    return frame


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
