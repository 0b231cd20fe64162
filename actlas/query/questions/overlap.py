"""How many experts languages share, on the full grid of language pairs, with what chance and the data allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress
from actlas.query.choices import Ranking, check_k, chosen_checkpoints, chosen_labels, linear_sites
from actlas.query.keep import Keeper
from actlas.query.neurons import NeuronAxis
from actlas.query.questions.controls import rescored_experts
from actlas.query.questions.experts import ExpertSets, expert_sets
from actlas.query.schema import TABLES

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Intersections:
    """Intersections of the experts of two sets of languages for one concept: all layers, and each.

    Attributes:
        shared: ``"languages_a languages_b"``.
        by_layer: ``"layers languages_a languages_b"``.
    """

    shared: Counts
    by_layer: Counts


def intersections(a: ExpertSets, b: ExpertSets, concept: int) -> Intersections:
    """Sizes of the intersections of each language's experts in `a` with each language's in `b`, for one concept.

    Languages without experts come out as 0; the caller knows which they are.
    """
    n_layers, n_languages = a.axis.n_layers, len(a.languages)
    present = [sets.neurons[:, concept] for sets in (a, b)]
    index = np.unique(np.concatenate(present))
    index = index[index >= 0]
    order = np.argsort(a.axis.layer_at(index), kind="stable")
    place = np.empty(index.size, dtype=np.int64)
    place[order] = np.arange(index.size)
    is_expert = []
    for neurons in present:
        matrix = np.zeros((n_languages, index.size), dtype=np.float32)
        for language, row in enumerate(neurons):
            if row[0] >= 0:
                matrix[language, place[np.searchsorted(index, row)]] = 1
        is_expert.append(matrix)
    ends = np.cumsum(np.bincount(a.axis.layer_at(index), minlength=n_layers))
    by_layer = np.zeros((n_layers, n_languages, n_languages), dtype=np.int64)
    for layer in range(n_layers):
        part = slice(ends[layer - 1] if layer else 0, ends[layer])
        by_layer[layer] = np.rint(is_expert[0][:, part] @ is_expert[1][:, part].T)
    return Intersections(by_layer.sum(axis=0), by_layer)


def expert_overlap(
    store: Atlas | str | Path,
    *,
    k: int = 500,
    checkpoints: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    by_layer: bool = False,
    halves: bool = True,
    seed: int = 0,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Experts shared by every pair of languages, per concept and checkpoint, and the same layer by layer.

    Every pair is there, those that share nothing included: leaving them out would raise the mean. A pair in which a
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
        variants = rescored_experts(keeper, checkpoint, ranking, seed=seed, progress=progress)
        parts = (variants["half_0"], variants["half_1"])
    total, layered = overlap_of_sets(sets, parts)
    tables = {"overlap": total, "overlap_by_layer": layered}
    keeper.put(checkpoint, tables, settings)
    return tables


def overlap_of_sets(sets: ExpertSets, halves: tuple[ExpertSets, ExpertSets] | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Tables `overlap` and `overlap_by_layer` of one checkpoint."""
    order = sorted(range(len(sets.languages)), key=lambda at: sets.languages[at])
    pairs = list(combinations(order, 2))
    a, b = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    totals, layers = [], []
    for concept in range(len(sets.concepts)):
        grid = intersections(sets, sets, concept)
        is_there = sets.is_there[a, concept] & sets.is_there[b, concept]
        ceiling, cross = _half_counts(halves, concept, a, b, sets.axis.n_layers)
        totals.append(_total_rows(sets, concept, (a, b), grid.shared[a, b], is_there, ceiling.sum(axis=0), cross.sum(axis=0)))
        layers.append(_layer_rows(sets, concept, (a, b), grid.by_layer, is_there, ceiling, cross))
    return pl.concat(totals), pl.concat(layers)


def _half_counts(
    halves: tuple[ExpertSets, ExpertSets] | None, concept: int, a: Counts, b: Counts, n_layers: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean sizes ``"layers pairs"`` of same-language and cross-language intersections between the halves; NaN where
    a half has no experts."""
    if halves is None:
        nothing = np.full((n_layers, a.size), np.nan)
        return nothing, nothing
    first, second = halves
    grid = intersections(first, second, concept).by_layer.astype(np.float64)
    same = np.einsum("lii->li", grid)
    ceiling = (same[:, a] + same[:, b]) / 2
    cross = (grid[:, a, b] + grid[:, b, a]) / 2
    is_there = first.is_there[:, concept] & second.is_there[:, concept]
    missing = ~(is_there[a] & is_there[b])
    ceiling[:, missing] = cross[:, missing] = np.nan
    return ceiling, cross


def _labels(sets: ExpertSets, concept: int, pairs: tuple[Counts, Counts], repeat: int = 1) -> dict[str, pl.Series]:
    names = pl.Series(sets.languages, dtype=pl.String)
    a, b = (names.gather(np.tile(side, repeat).astype(np.uint32)) for side in pairs)
    n_rows = len(a)
    return {
        "checkpoint": pl.repeat(sets.checkpoint, n_rows, dtype=pl.String, eager=True),
        "concept": pl.repeat(sets.concepts[concept], n_rows, dtype=pl.String, eager=True),
        "language_a": a,
        "language_b": b,
        "k": pl.repeat(sets.k, n_rows, dtype=pl.Int32, eager=True),
    }


def _nulled(name: str, columns: dict[str, NDArray[np.float64]]) -> pl.DataFrame:
    return pl.DataFrame(columns).fill_nan(None).cast({column: TABLES[name].columns[column] for column in columns})


def _total_rows(
    sets: ExpertSets,
    concept: int,
    pairs: tuple[Counts, Counts],
    shared: Counts,
    is_there: NDArray[np.bool_],
    ceiling: NDArray[np.float64],
    cross: NDArray[np.float64],
) -> pl.DataFrame:
    k, n_neurons = sets.k, sets.axis.n_neurons
    known = np.where(is_there, shared, np.nan)
    numbers = {
        "shared": known,
        "overlap": known / k,
        "jaccard": known / (2 * k - known),
        "chance": np.full(known.size, k / n_neurons),
        "ceiling": ceiling / k,
        "cross_half": cross / k,
    }
    frame = pl.DataFrame(_labels(sets, concept, pairs)).hstack(_nulled("overlap", numbers))
    return TABLES["overlap"].conform(frame.with_columns(pl.lit(n_neurons).alias("n_neurons")))


def _layer_rows(
    sets: ExpertSets,
    concept: int,
    pairs: tuple[Counts, Counts],
    by_layer: Counts,
    is_there: NDArray[np.bool_],
    ceiling: NDArray[np.float64],
    cross: NDArray[np.float64],
) -> pl.DataFrame:
    k, sizes = sets.k, sets.axis.layer_sizes()[:, np.newaxis]
    own = np.einsum("lii->li", by_layer)
    n_a, n_b = (np.where(is_there, own[:, side], np.nan) for side in pairs)
    shared = np.where(is_there, by_layer[:, pairs[0], pairs[1]], np.nan)
    union = n_a + n_b - shared
    numbers = {
        "shared": shared,
        "overlap": shared / k,
        "jaccard": np.divide(shared, union, out=np.full_like(shared, np.nan), where=union > 0),
        "chance": n_a * n_b / np.maximum(sizes, 1) / k,
        "ceiling": ceiling / k,
        "cross_half": cross / k,
        "n_a": n_a,
        "n_b": n_b,
    }
    n_layers, n_pairs = shared.shape
    frame = pl.DataFrame(_labels(sets, concept, pairs, repeat=n_layers)).hstack(
        _nulled("overlap_by_layer", {name: values.reshape(-1) for name, values in numbers.items()})
    )
    return TABLES["overlap_by_layer"].conform(
        frame.with_columns(
            pl.Series("layer", np.repeat(np.arange(n_layers), n_pairs)),
            pl.Series("n_neurons", np.repeat(sizes[:, 0], n_pairs)),
        )
    )


def overlap_controls(
    store: Atlas | str | Path,
    *,
    k: int = 500,
    checkpoints: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    seed: int = 0,
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
    total = _overlap_tables(keeper, checkpoint, ranking, "overlap", halves=True, seed=seed, progress=progress)["overlap"]
    shuffled, _ = overlap_of_sets(variants["shuffled"], None)
    ceiling, cross = total["ceiling"].mean(), total["cross_half"].mean()
    row = {
        "checkpoint": checkpoint,
        "step": store.checkpoint(checkpoint)["step"],
        "k": k,
        "overlap": total["overlap"].mean(),
        "other_concept": other_concept_overlap(sets),
        "shuffled": shuffled["overlap"].mean(),
        "chance": k / sets.axis.n_neurons,
        "ceiling": ceiling,
        "cross_half": cross,
        "ratio": cross / ceiling if ceiling and cross is not None else None,  # type: ignore[operator]
        "n_pairs": total["overlap"].count(),
    }
    frame = pl.DataFrame([row], schema=dict(TABLES["overlap_controls"].columns))
    keeper.put(checkpoint, {"overlap_controls": frame}, settings)
    return frame


def other_concept_overlap(sets: ExpertSets) -> float | None:
    """Mean overlap of one concept's experts in one language with another concept's in another language, over all
    such combinations.

    Counted neuron by neuron: a neuron that is an expert for m concepts in one language and n in another is shared by
    m n pairs of concepts.
    """
    n_languages, n_concepts, _ = sets.neurons.shape
    kinds = np.zeros((n_languages, sets.axis.n_neurons), dtype=np.int32)
    for language in range(n_languages):
        there = sets.neurons[language][sets.is_there[language]]
        kinds[language] = np.bincount(there.reshape(-1), minlength=sets.axis.n_neurons)
    same = sum(
        (intersections(sets, sets, concept).shared for concept in range(n_concepts)), np.zeros((n_languages,) * 2, np.int64)
    )
    shared = n_pairs = 0
    for a, b in combinations(range(n_languages), 2):
        both = sets.is_there[a] & sets.is_there[b]
        n_pairs += int(sets.is_there[a].sum()) * int(sets.is_there[b].sum()) - int(both.sum())
        shared += int(kinds[a].astype(np.int64) @ kinds[b]) - int(same[a, b])
    return shared / (n_pairs * sets.k) if n_pairs else None
