"""Probes: how well a linear classifier reads a label off vectors, layer by layer and step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, Positive, PositiveNumber, Seed, Share, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress
from actlas.query.probing.draws import Draw
from actlas.query.probing.run import Choice, Job, LayerRows, answer
from actlas.query.probing.settings import C_GRID, ProbeSettings, SolverName, Values
from actlas.query.probing.solvers import Fitted


@checks_arguments(QueryError)
def train_probes(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Sequence[str] | None = None,
    label: str = "language",
    values: Values | None = None,
    seeds: Sequence[Seed] = (0, 1, 2),
    c: PositiveNumber | None = None,
    c_grid: Sequence[PositiveNumber] = C_GRID,
    test_share: Share = 0.2,
    max_iterations: Positive = 1000,
    max_train: Positive | None = 20_000,
    solver: SolverName = "sklearn",
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Train a multinomial logistic regression on the vectors of every layer and tell its accuracy on held-out texts.

    Vectors are standardised by the mean and spread of the training part. Training and test part have no text in
    common, nor a text and its translation: the split is drawn over `parallel_id` where there is one, once for every
    seed. `embed` counts as layer 0 of its site. Table `probe_classes` is kept along with the answer.

    Args:
        store: With sampled token vectors or cubes, or the path of such a store.
        checkpoints: None for all.
        sites: None for all that have vectors of that kind.
        label: What is read off: "language"; "concept:NAME", whether a text expresses it; "concept", which one, of texts that
            express exactly one; "parallel_id", which meaning, trained in some languages and tested in the others; or any other
            column of the sampled tokens, such as "token_id". Vectors without a label take no part.
        values: "tokens" reads sampled token vectors, "pooled" the values of a cube, one vector per text. None: tokens, if all the
            sites that are named have vectors of tokens.
        seeds: One probe each, for the split and the training.
        c: Inverse strength of the L2 penalty, as scikit-learn has it. None: each probe takes the one of `c_grid` that is best on
            a part of its training texts, which is held out as the test part is and trained on in the end.
        c_grid: What is chosen from; of equals, the smallest.
        test_share: Share of the groups of texts that is held out.
        max_iterations: Of the solver. A probe that does not converge is not refused: `n_iterations` reaches this number.
        max_train: Training vectors are thinned to this many, at random; None for no limit.
        solver: "sklearn", the reference, or "batched", which trains the probes of all seeds together and goes closer to the
            lowest loss. Where test texts are few, the two may choose different penalties.
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
    settings = ProbeSettings(
        label=label,
        seeds=tuple(seeds),
        sites=None if sites is None else tuple(sites),
        c=c,
        c_grid=tuple(sorted(set(c_grid))) if c is None else None,
        test_share=test_share,
        max_iterations=max_iterations,
        max_train=max_train,
        solver=solver,
    )
    choice = Choice(checkpoints, settings, progress, keep, replace)
    return answer(store, choice, values, ("probe", "probe_classes"), _of_layer)["probe"]


@checks_arguments(QueryError)
def probe_classes(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Sequence[str] | None = None,
    label: str = "language",
    values: Values | None = None,
    seeds: Sequence[Seed] = (0, 1, 2),
    c: PositiveNumber | None = None,
    solver: SolverName = "sklearn",
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Which labels the probes of `train_probes` take for which.

    Args:
        store: As in `train_probes`.
        checkpoints: None for all.
        sites: None for all that have vectors of that kind.
        label: As in `train_probes`.
        values: As in `train_probes`.
        seeds: One probe each.
        c: As in `train_probes`.
        solver: As in `train_probes`.
        progress: Called after every layer.
        keep: Whether the answer is kept, with table `probe`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        Columns of table `probe_classes`: checkpoint, site, layer, label, seed, truth (the label of a vector), predicted (what the
        probe said), n (vectors of the test part of which both holds; pairs without any are left out). The accuracy of each
        class is the question `probe_class_accuracy`.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no vectors.
        QueryError: If there are no vectors, or fewer than two labels.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Example:
        >>> counts = probe_classes(store, checkpoints=["planted-step64"], sites=["embed"], seeds=(0,))
        >>> counts["n"].sum(), counts["truth"].unique().sort().to_list()
        (60, ['en', 'es', 'fr'])
    """
    settings = chosen_settings(label, seeds, sites, c, solver)
    choice = Choice(checkpoints, settings, progress, keep, replace)
    return answer(store, choice, values, ("probe", "probe_classes"), _of_layer)["probe_classes"]


def chosen_settings(
    label: str, seeds: Sequence[int], sites: Sequence[str] | None, c: float | None, solver: SolverName
) -> ProbeSettings:
    """Settings of `train_probes` where nothing else is said."""
    grid = C_GRID if c is None else None
    own_sites = None if sites is None else tuple(sites)
    return ProbeSettings(label=label, seeds=tuple(seeds), sites=own_sites, c=c, c_grid=grid, solver=solver)


def _of_layer(job: Job, layer: int) -> LayerRows:
    vectors = job.vectors.read(layer)[job.labelled.rows]
    fitted = list(zip(job.draws, job.solver(vectors, job.draws), strict=True))
    return {
        "probe": [(*job.key(layer, draw.seed), *_accuracy(draw, one)) for draw, one in fitted],
        "probe_classes": [
            (*job.key(layer, draw.seed), *row) for draw, one in fitted for row in _confusion(draw, one, job.labelled.names)
        ],
    }


def _accuracy(draw: Draw, fitted: Fitted) -> tuple[Any, ...]:
    truth = draw.codes[draw.test]
    accuracy = float((fitted.predicted == truth).mean())
    return (accuracy, draw.train.size, truth.size, fitted.c, most_frequent(truth), fitted.n_iterations)


def most_frequent(codes: NDArray[np.int64]) -> float:
    """The accuracy of always saying the most frequent label."""
    return float(np.bincount(codes).max() / codes.size)


def _confusion(draw: Draw, fitted: Fitted, names: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    pairs, n = np.unique(draw.codes[draw.test] * len(names) + fitted.predicted, return_counts=True)
    for pair, count in zip(pairs.tolist(), n.tolist(), strict=True):
        yield names[pair // len(names)], names[pair % len(names)], count
