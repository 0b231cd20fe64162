"""Neurons that experts are held against: at random, or those that come after them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.names import SITES
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import Ranking
from actlas.query.experts.ranked import expert_sets
from actlas.query.experts.tables import expert_table
from actlas.query.neurons import Indices, NeuronAxis, is_rankable
from actlas.query.rankable import ap_cubes, guess_score
from actlas.query.ranks import scores_of


def control_experts(
    store: Atlas | str | Path,
    checkpoint: str,
    *,
    k: int = 500,
    kind: str = "random",
    skip: int = 500,
    seed: int = 0,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Neurons to hold experts against: k at random, or the k that come after the `skip` best.

    Args:
        store: With scores.
        checkpoint: Which.
        k: How many.
        kind: "random" (a draw of its own for each language and concept, as `random_experts` makes it), or "next".
        skip: For "next": how many best ones are left out.
        seed: For "random".
        languages: None for all.
        concepts: None for all.
        sites: As in `top_experts`.

    Returns:
        Columns of table `experts`. Rank counts the drawn neurons from 1 for "random", and goes on after `skip` for "next".

    Raises:
        QueryError: If `kind` is another word, or there are not that many neurons.

    Source: Random neurons and the next best ones as controls: arXiv 2506.01629.

    Example:
        >>> drawn = control_experts(store, "planted-step64", k=3, languages=["en"], concepts=["water"])
        >>> drawn["rank"].to_list()
        [1, 2, 3]
    """
    store = as_atlas(store)
    if kind not in ("random", "next"):
        raise QueryError(f"controls are 'random' or 'next', not {kind!r}")
    skip = skip if kind == "next" else 0
    sets = expert_sets(store, checkpoint, Ranking(k, sites, languages, concepts), skip=skip)
    if kind == "next":
        return expert_table(store, sets).with_columns(pl.col("rank") + skip)
    neurons = np.full_like(sets.neurons, -1)
    guesses = guess_score(store, sets.languages, sets.concepts)
    cubes = ap_cubes(store, checkpoint, sets.axis)
    for column, concept in enumerate(sets.concepts):
        reads = [cube.read("ap", sets.languages, concept).reshape(len(sets.languages), -1) for cube in cubes]
        can = is_rankable(np.concatenate(reads, axis=1), guesses[:, column, np.newaxis])
        for row in np.flatnonzero(sets.has_experts[:, column]):
            # a draw of its own for each language and concept, whichever others are asked for
            candidates = np.flatnonzero(can[row])
            draw = drawn_numbers(sets.axis, candidates, f"{seed} {sets.languages[row]} {concept}")
            neurons[row, column] = candidates[np.argsort(draw, kind="stable")[:k]]
    ap = scores_of(cubes, sets.axis, "ap", sets.languages, sets.concepts, neurons)
    return expert_table(store, dataclasses.replace(sets, neurons=neurons, ap=ap))


def drawn_numbers(axis: NeuronAxis, index: Indices, words: str) -> NDArray[np.uint64]:
    """Random numbers of 32 bits, one for each neuron: the same in every ranking of sites, and those of macro `random_experts`.

    A neuron's number, mixed with a digest of some words by the finaliser of MurmurHash3, twice.
    """
    digest = int.from_bytes(hashlib.md5(words.encode(), usedforsecurity=False).digest()[8:], "little")
    code = np.array([SITES.index(site) + 1 for site in axis.sites])[axis.site_at(index)]
    low = np.uint64(0xFFFFFFFF)
    number = ((code * 4096 + axis.layer_at(index)) * 131072 + axis.neuron_at(index)).astype(np.uint64) & low
    for part in (digest & 0xFFFFFFFF, digest >> 32):
        number = number ^ np.uint64(part)
        number = ((number ^ (number >> np.uint64(16))) * np.uint64(2246822507)) & low
        number = ((number ^ (number >> np.uint64(13))) * np.uint64(3266489909)) & low
        number = number ^ (number >> np.uint64(16))
    return np.asarray(number)
