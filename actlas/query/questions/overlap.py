"""How many experts languages share, on the full grid of language pairs, with what chance and the data allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.names import VERSION
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress
from actlas.query.choices import chosen_checkpoints
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
        store: With scores. Open with mode "a", and nothing left out, the answers are also kept as tables `overlap`,
            `overlap_by_layer`.
        k: Experts per language and concept.
        checkpoints: None for all.
        languages: None for all.
        concepts: None for all.
        sites: As in `top_experts`.
        by_layer: Answer with the layers instead of the whole.
        halves: False leaves out ceiling and cross_half (null), which take a second pass over the cubes.
        seed: Of the halves.
        progress: Told while the halves are scored.

    Returns:
        The columns of table `overlap`, or of `overlap_by_layer`. language_a < language_b in alphabetical order.

    Raises:
        ScoresNotFound: If a checkpoint or site was not scored.
        QueryError: If k is more than there are neurons, or a language or concept is unknown, or if halves are wanted of states.
    """
    store = as_atlas(store)
    totals, layers = [TABLES["overlap"].empty()], [TABLES["overlap_by_layer"].empty()]
    for checkpoint in chosen_checkpoints(store, checkpoints):
        sets = expert_sets(store, checkpoint, k=k, sites=sites, languages=languages, concepts=concepts)
        parts = None
        if halves:
            variants = rescored_experts(
                store, checkpoint, k=k, sites=sites, languages=languages, concepts=concepts, seed=seed, progress=progress
            )
            parts = (variants["half_0"], variants["half_1"])
        total, layered = overlap_of_sets(sets, parts)
        totals.append(total)
        layers.append(layered)
        if store.mode == "a" and languages is None and concepts is None:
            settings = {
                "k": k,
                "sites": list(sets.axis.sites),
                "n_neurons": sets.axis.n_neurons,
                "halves": halves,
                "seed": seed,
                "actlas": VERSION,
            }
            store.publish_table("overlap", checkpoint, total, settings)
            store.publish_table("overlap_by_layer", checkpoint, layered, settings)
    return pl.concat(layers if by_layer else totals)


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
) -> pl.DataFrame:
    """Mean overlap of every checkpoint beside what it has to be held against.

    Means are over all pairs of languages and all concepts; pairs without experts are left out of them.

    Args:
        store: With scores. Open with mode "a", and nothing left out, the answer is also kept as table `overlap_controls`.
        k: Experts per language and concept.
        checkpoints: None for all.
        languages: None for all.
        concepts: None for all.
        sites: As in `top_experts`.
        seed: Of the halves and of the shuffling.
        progress: Told while halves and shuffled labels are scored.

    Returns:
        Columns checkpoint, step, k, then: ``overlap``; ``other_concept`` (experts of one concept in one language
        against those of every other concept in the other language); ``shuffled`` (experts for labels dealt anew
        among each language's texts); ``chance``; ``ceiling`` and ``cross_half`` as in `expert_overlap`; ``ratio`` =
        cross_half / ceiling; ``n_pairs`` the mean is over.

    Raises:
        ScoresNotFound: If a checkpoint or site was not scored.
        QueryError: If k is more than there are neurons, or a language or concept is unknown.
    """
    store = as_atlas(store)
    rows = []
    for checkpoint in chosen_checkpoints(store, checkpoints):
        wanted = {"k": k, "sites": sites, "languages": languages, "concepts": concepts}
        sets = expert_sets(store, checkpoint, **wanted)  # type: ignore[arg-type]
        variants = rescored_experts(store, checkpoint, **wanted, seed=seed, progress=progress)  # type: ignore[arg-type]
        total, _ = overlap_of_sets(sets, (variants["half_0"], variants["half_1"]))
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
        if store.mode == "a" and languages is None and concepts is None:
            settings = {"k": k, "sites": list(sets.axis.sites), "seed": seed, "actlas": VERSION}
            store.publish_table("overlap_controls", checkpoint, frame, settings)
        rows.append(frame)
    return pl.concat(rows) if rows else TABLES["overlap_controls"].empty()


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
