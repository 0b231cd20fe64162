"""Probes: how well a linear classifier reads a label off token vectors, layer by layer and step by step."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, Positive, PositiveNumber, Seed, Share, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress, Steps
from actlas.query.choices import chosen_checkpoints, chosen_token_cubes, no_token_vectors
from actlas.query.keep import Keeper
from actlas.query.schema import TABLES
from actlas.query.splits import text_groups
from actlas.store.cube import TokenCube

#: Inverse strengths of the penalty that a probe chooses from where none is named.
C_GRID = (0.01, 0.1, 1.0, 10.0)


@checks_arguments(QueryError)
def train_probes(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Sequence[str] | None = None,
    label: str = "language",
    seeds: Sequence[Seed] = (0, 1, 2),
    c: PositiveNumber | None = None,
    c_grid: Sequence[PositiveNumber] = C_GRID,
    test_share: Share = 0.2,
    max_iterations: Positive = 1000,
    max_train: Positive | None = 20_000,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Train a multinomial logistic regression on the sampled token vectors of every layer and tell its accuracy on
    held-out texts.

    Vectors are standardised by the mean and spread of the training part. Training and test part have no text in
    common, nor a text and its translation: the split is drawn over `parallel_id` where there is one, once for every
    seed. `embed` counts as layer 0 of its site.

    Args:
        store: With sampled token vectors, or the path of such a store.
        checkpoints: None for all.
        sites: None for all that have vectors.
        label: What is read off: "language", or any other column of the sampled tokens such as "split".
        seeds: One probe each, for the split and the training.
        c: Inverse strength of the L2 penalty, as scikit-learn has it. None: each probe takes the one of `c_grid` that is best on
            a part of its training texts, which is held out as the test part is and trained on in the end.
        c_grid: What is chosen from; of equals, the smallest.
        test_share: Share of the groups of texts that is held out.
        max_iterations: Of the solver. A probe that does not converge is not refused: `n_iterations` reaches this number.
        max_train: Training vectors are thinned to this many, at random; None for no limit.
        progress: Called after every layer.
        keep: Whether the answer is kept as table `probe`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        Columns of table `probe`: checkpoint, site, layer, label, seed, accuracy, n_train, n_test, c (that was named
        or chosen), chance (the accuracy of always saying the most frequent label of the test part), n_iterations.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no vectors.
        QueryError: If there are no vectors, or fewer than two labels.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: arXiv 2506.01629 (language identification from random token vectors, three seeds).

    Example:
        >>> probes = train_probes(store, checkpoints=["planted-step64"], seeds=(0,))
        >>> probes.select("site", "layer", "seed", "n_train", "n_test").rows()
        [('embed', 0, 0, 228, 60), ('resid', 0, 0, 228, 60), ('resid', 1, 0, 228, 60)]
    """
    store = as_atlas(store, "a" if keep else "r")
    names = chosen_checkpoints(store, checkpoints)
    settings = ProbeSettings(
        label=label,
        seeds=tuple(seeds),
        sites=None if sites is None else tuple(sites),
        c=c,
        c_grid=tuple(sorted(set(c_grid))) if c is None else None,
        test_share=test_share,
        max_iterations=max_iterations,
        max_train=max_train,
    )
    with Keeper(store, keep, replace) as keeper:
        parts = {name: keeper.find("probe", name, settings.to_json()) for name in names}
        cubes = {name: chosen_token_cubes(store, name, sites) for name in names if parts[name] is None}
        if not any(cubes.values()) and not any(parts.values()):
            raise no_token_vectors(store)
        steps = Steps(progress, sum(cube.shape[0] for own in cubes.values() for cube in own) * len(settings.seeds))
        groups = store.corpus.texts.select("text_id", pl.Series("group", text_groups(store.corpus.texts)))
        answers = [TABLES["probe"].empty()]
        for name, part in parts.items():
            if part is not None:
                answers.append(TABLES["probe"].conform(part.scan().collect()))
                continue
            rows = [row for cube in cubes[name] for row in _probes(cube, groups, settings, steps)]
            answers.append(pl.DataFrame(rows, schema=dict(TABLES["probe"].columns), orient="row"))
            if rows:
                keeper.put(name, {"probe": answers[-1]}, settings.to_json())
    return pl.concat(answers)


@dataclass(frozen=True)
class ProbeSettings:
    """What decides the numbers of probes: the arguments of `train_probes` of the same names; no grid where `c` is named."""

    label: str
    seeds: tuple[int, ...]
    sites: tuple[str, ...] | None
    c: float | None
    c_grid: tuple[float, ...] | None
    test_share: float
    max_iterations: int
    max_train: int | None

    def to_json(self) -> dict[str, Any]:
        """As it is kept with the table."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def _probes(cube: TokenCube, groups: pl.DataFrame, settings: ProbeSettings, steps: Steps) -> Iterator[tuple[Any, ...]]:
    """Rows of table `probe` of one checkpoint and site."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types; scikit-learn brings it

    codes, names = _codes(cube.table, settings.label)
    of_token = cube.table.select("text_id").join(groups, on="text_id", how="left", maintain_order="left")["group"]
    # texts without a token take no part in the draw
    _, token_groups = np.unique(of_token.to_numpy(), return_inverse=True)
    tasks = [_Task.of(token_groups, seed, settings) for seed in settings.seeds]
    # probes are small: one thread each and several at a time; threads of a linear algebra library would wait for each other
    with (
        threadpool_limits(1),
        warnings.catch_warnings(),
        ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="actlas-probe") as pool,
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)  # n_iterations says it
        for layer in range(cube.shape[0]):
            vectors = cube.read(layer)
            for task, (accuracy, c, n_iterations) in zip(tasks, pool.map(partial(_probe, vectors, codes), tasks), strict=True):
                n_train, n_test = task.train.size, task.test.size
                chance = np.bincount(codes[task.test], minlength=len(names)).max() / n_test
                labels = (cube.checkpoint, cube.site, layer, settings.label, task.seed)
                yield (*labels, accuracy, n_train, n_test, c, chance, n_iterations)
            steps.add(len(tasks), f"{cube.checkpoint} {cube.site} layer {layer}")


def _codes(table: pl.DataFrame, label: str) -> tuple[NDArray[np.int64], list[str]]:
    if label not in table.columns:
        raise QueryError(f"sampled tokens have no column {label!r} to probe for; they have {', '.join(table.columns)}")
    names = sorted(table[label].cast(pl.String).drop_nulls().unique().to_list())
    if len(names) < 2 or table[label].null_count():
        raise QueryError(f"a probe needs two labels or more and no token without one; {label} has {', '.join(names) or 'none'}")
    codes = table[label].cast(pl.String).replace_strict(names, range(len(names)), return_dtype=pl.Int64)
    return codes.to_numpy(), names


def _split(
    groups: NDArray[np.int64], seed: int, test_share: float, max_train: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to test on; no group of texts is in both."""
    rng = np.random.default_rng(seed)
    n_groups = int(groups.max()) + 1
    n_test = round(test_share * n_groups)
    if not 0 < n_test < n_groups:
        raise QueryError(
            f"test_share {test_share} leaves {n_test} of {n_groups} groups of texts to test on; both parts need some"
        )
    is_test = np.zeros(n_groups, dtype=bool)
    is_test[rng.permutation(n_groups)[:n_test]] = True
    train, test = np.flatnonzero(~is_test[groups]), np.flatnonzero(is_test[groups])
    if max_train is not None and train.size > max_train:
        train = np.sort(rng.choice(train, size=max_train, replace=False))
    return train, test


def _validation(
    groups: NDArray[np.int64], train: NDArray[np.int64], seed: int, share: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the training part to try penalties on, and rows to judge them by; no group of texts is in both."""
    _, own = np.unique(groups[train], return_inverse=True)
    fit, judge = _split(own, seed, share, None)
    return train[fit], train[judge]


@dataclass(frozen=True)
class _Task:
    """One probe: what is drawn for its seed.

    Attributes:
        seed: Of the draws.
        grid: Penalties to choose from; one where it was named.
        max_iterations: Of the solver.
        train: Rows to train on.
        test: Rows to test on.
        fit: Part of `train` that penalties are tried on; empty where there is no choice.
        judge: The rest of `train`, which decides among them.
    """

    seed: int
    grid: tuple[float, ...]
    max_iterations: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    fit: NDArray[np.int64]
    judge: NDArray[np.int64]

    @classmethod
    def of(cls, groups: NDArray[np.int64], seed: int, settings: ProbeSettings) -> _Task:
        """Draw the parts for a seed."""
        train, test = _split(groups, seed, settings.test_share, settings.max_train)
        grid = settings.c_grid if settings.c is None else (settings.c,)
        assert grid, "without a penalty there is a grid"
        none = train[:0]
        fit, judge = (none, none) if len(grid) == 1 else _validation(groups, train, seed, settings.test_share)
        return cls(seed, grid, settings.max_iterations, train, test, fit, judge)


def _probe(vectors: NDArray[np.float32], codes: NDArray[np.int64], task: _Task) -> tuple[float, float, int]:
    """Accuracy on the test part, the penalty, and iterations of the solver."""
    c = task.grid[0]
    if len(task.grid) > 1:
        scaled = _standardised(vectors, task.fit)
        model = _classifier(task, warm_start=True)
        right = []
        # from the strongest penalty on, each begins where the one before ended
        for each in task.grid:
            model.set_params(C=each).fit(scaled[task.fit], codes[task.fit])
            right.append(int((model.predict(scaled[task.judge]) == codes[task.judge]).sum()))
        c = task.grid[int(np.argmax(right))]
    scaled = _standardised(vectors, task.train)
    model = _classifier(task, C=c).fit(scaled[task.train], codes[task.train])
    return float(model.score(scaled[task.test], codes[task.test])), c, int(np.max(model.n_iter_))


def _classifier(task: _Task, **settings: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=task.max_iterations, random_state=task.seed, **settings)


def _standardised(vectors: NDArray[np.float32], train: NDArray[np.int64]) -> NDArray[np.float32]:
    """Vectors by the mean and spread of those that are trained on."""
    mean, std = vectors[train].mean(axis=0), vectors[train].std(axis=0)
    return np.asarray((vectors - mean) / np.where(std > 0, std, 1))


def probe_summary(probes: pl.DataFrame) -> pl.DataFrame:
    """Accuracy of every checkpoint and site over its layers.

    Args:
        probes: What `train_probes` gave.

    Returns:
        Columns checkpoint, site, label, accuracy (mean over layers of the mean over seeds), std_layers (spread of
        the layers' means), std_seeds (mean spread of a layer's seeds), n_layers, chance. Spreads divide by the
        number of values, not by one less.

    Example:
        >>> probe_summary(train_probes(store, checkpoints=["planted-step64"], seeds=(0,))).select("site", "n_layers").rows()
        [('embed', 1), ('resid', 2)]
    """
    by = pl.col
    layers = probes.group_by("checkpoint", "site", "label", "layer", maintain_order=True).agg(
        by("accuracy").mean(), by("accuracy").std(ddof=0).alias("std_seeds"), by("chance").mean()
    )
    return layers.group_by("checkpoint", "site", "label", maintain_order=True).agg(
        by("accuracy").mean(),
        by("accuracy").std(ddof=0).alias("std_layers"),
        by("std_seeds").mean(),
        pl.len().cast(pl.Int64).alias("n_layers"),
        by("chance").mean(),
    )
