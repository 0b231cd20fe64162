"""How many directions token vectors use: spectra of their covariance, by layer, language and step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Count, Names, Seed, checks_arguments
from actlas.errors import QueryError
from actlas.kernels import spectra
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress, Steps, finite
from actlas.query.choices import chosen_token_cubes, no_token_vectors
from actlas.query.measures.asked import Asked
from actlas.query.schema import TABLES
from actlas.query.splits import text_groups
from actlas.store.cube import TokenCube

#: Of a normal distribution, 95 % lies as many standard deviations around the mean.
_NORMAL_95 = 1.96


@checks_arguments(QueryError)
def effective_rank(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    n_vectors: Count | None = None,
    n_splits: Count = 10,
    seed: Seed = 0,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Tell how many directions the sampled token vectors of every layer use, of each language and of all together.

    Rank grows with the number of vectors that it is told from, so each language, and all together (language null), is told
    from as many: all together has an equal part of each language. The same vectors are drawn for all layers.

    Args:
        store: With sampled token vectors, or the path of such a store.
        checkpoints: None for all.
        sites: None for all that have vectors.
        n_vectors: Of each language, drawn at random. None: as many as the language with the fewest has.
        n_splits: Of the texts into halves, for the interval; translations of each other share a half. 0: no interval.
        seed: Of the draws.
        progress: Called after every layer.
        keep: Whether the answer is kept as table `effective_rank`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        Columns of table `effective_rank`: checkpoint, step, site, layer, language, n_vectors, n_channels, effective_rank (exp of
        the entropy of the eigenvalues of the covariance over their sum), low and high (its 95 % interval, from how much halves
        of the texts differ), participation_ratio, is_bounded (no more vectors than channels: their number bounds the rank).
        Ranks are null where all vectors are the same.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no vectors.
        QueryError: If there are no vectors, or too few of a language.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Roy and Vetterli 2007 (effective rank).

    Example:
        >>> ranks = effective_rank(store, checkpoints=["planted-step64"], sites=["resid"])
        >>> ranks.select("layer", "language", "n_vectors", pl.col("effective_rank").round(1)).rows()[:4]
        [(0, 'en', 96, 5.8), (0, 'es', 96, 5.7), (0, 'fr', 96, 5.8), (0, None, 96, 4.5)]
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)

    def take(store: Atlas, names: list[str], progress: StepProgress | None) -> pl.DataFrame | None:
        cubes = [cube for name in names for cube in chosen_token_cubes(store, name, sites)]
        if not cubes:
            return None
        steps = Steps(progress, sum(cube.shape[0] for cube in cubes))
        groups = store.corpus.texts.select("text_id", pl.Series("group", text_groups(store.corpus.texts)))
        rows = [
            {"checkpoint": cube.checkpoint, "step": store.checkpoint(cube.checkpoint)["step"], "site": cube.site, **row}
            for cube in cubes
            for row in _ranks(cube, groups, n_vectors, n_splits, seed, steps)
        ]
        return pl.DataFrame(rows, schema=dict(TABLES["effective_rank"].columns))

    options = {"n_vectors": n_vectors, "n_splits": n_splits, "seed": seed}
    return asked.answer("effective_rank", options, take, nothing=no_token_vectors)


def _ranks(
    cube: TokenCube, groups: pl.DataFrame, n_vectors: int | None, n_splits: int, seed: int, steps: Steps
) -> Iterator[dict[str, Any]]:
    """Rows of table `effective_rank` of one checkpoint and site, without what names them."""
    own = cube.table.select("text_id").join(groups, on="text_id", how="left", maintain_order="left")["group"].to_numpy()
    drawn = drawn_vectors(cube.table["language"], n_vectors, seed)
    for layer in range(cube.shape[0]):
        vectors = finite(cube.read(layer), cube, layer)
        for language, rows in drawn.items():
            told = rank_of(vectors[rows], own[rows], n_splits, seed)
            yield {"layer": layer, "language": language, **told}
        steps.add(1, f"{cube.checkpoint} {cube.site} layer {layer}")


def drawn_vectors(languages: pl.Series, n_vectors: int | None, seed: int) -> dict[str | None, NDArray[np.int64]]:
    """Rows to tell ranks from: as many of each language, and with None as many of all together, an equal part of each.

    Args:
        languages: Of every row.
        n_vectors: Of each language; None for as many as the one with the fewest has.
        seed: Of the draw.

    Raises:
        QueryError: If a language has fewer than that, or fewer than two.

    Example:
        >>> {name: rows.size for name, rows in drawn_vectors(pl.Series(["en"] * 7 + ["es"] * 4), None, 0).items()}
        {'en': 4, 'es': 4, None: 4}
    """
    names = sorted(languages.drop_nulls().unique().to_list())
    rng = np.random.default_rng(seed)
    shuffled = {name: rng.permutation(np.flatnonzero((languages == name).fill_null(False).to_numpy())) for name in names}
    fewest = min(shuffled, key=lambda name: shuffled[name].size)
    n = shuffled[fewest].size if n_vectors is None else n_vectors
    if n < 2 or n > shuffled[fewest].size:
        raise QueryError(
            f"a rank is told from two vectors or more of each language, {n} were asked for and {fewest} has "
            f"{shuffled[fewest].size}; take fewer, or extract more tokens per text"
        )
    drawn: dict[str | None, NDArray[np.int64]] = {name: np.sort(rows[:n]) for name, rows in shuffled.items()}
    # first rows of all languages, then second ones: of none more than one above another's
    drawn[None] = np.sort(np.stack([rows[:n] for rows in shuffled.values()], axis=1).ravel()[:n])
    return drawn


def rank_of(vectors: NDArray[np.float32], groups: NDArray[np.int64], n_splits: int, seed: int) -> dict[str, Any]:
    """Ranks of vectors, with an interval around the effective rank.

    A half of the texts has a lower rank than all, but both halves are lower by the same: half their difference has the spread
    that all texts together have. A bootstrap would not do, since repeated vectors add no direction.

    Args:
        vectors: ``"tokens channels"``.
        groups: Of texts, per vector; a half has whole groups.
        n_splits: How many times texts are halved.
        seed: Of the halves.

    Example:
        >>> told = rank_of(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], np.float32), np.arange(4), 0, 0)
        >>> told["effective_rank"], told["participation_ratio"], told["is_bounded"]
        (2.0, 2.0, False)
    """
    powers = _powers(vectors)
    rank = spectra.effective_rank(powers)
    n, n_channels = vectors.shape
    spread = _spread(vectors, groups, n_splits, seed) if np.isfinite(rank) else None
    most = min(n - 1, n_channels)
    return {
        "n_vectors": n,
        "n_channels": n_channels,
        "effective_rank": _or_none(rank),
        "low": None if spread is None else max(1.0, rank - _NORMAL_95 * spread),
        "high": None if spread is None else max(rank, min(most, rank + _NORMAL_95 * spread)),
        "participation_ratio": _or_none(spectra.participation_ratio(powers)),
        "is_bounded": n <= n_channels,
    }


def _spread(vectors: NDArray[np.float32], groups: NDArray[np.int64], n_splits: int, seed: int) -> float | None:
    """Standard deviation of an effective rank, from halves of the texts; None where there are no two halves with a rank."""
    names, places = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(n_splits):
        is_second = np.zeros(names.size, dtype=bool)
        is_second[rng.permutation(names.size)[: names.size // 2]] = True
        second = is_second[places]
        halves = [vectors[~second], vectors[second]]
        if min(len(half) for half in halves) < 2:
            continue
        first, other = (spectra.effective_rank(_powers(half)) for half in halves)
        if np.isfinite(first) and np.isfinite(other):
            differences.append(first - other)
    return float(np.sqrt(np.mean(np.square(differences))) / 2) if differences else None


def _powers(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Eigenvalues of the covariance, up to a factor."""
    numbers = vectors.astype(np.float64)
    return spectra.squared_singular_values(numbers - numbers.mean(axis=0))


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
