"""Solvers: the penalty is chosen as it should be, by each of them."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from actlas.query.probing.draws import Draw
from actlas.query.probing.labels import Labelled
from actlas.query.probing.settings import ProbeSettings, SolverName
from actlas.query.probing.solvers import BatchedSolver, SklearnSolver, solver_of


@pytest.mark.parametrize("solver", get_args(SolverName))
@pytest.mark.parametrize("best", [10.0, 0.01])
def test_a_penalty_that_is_known_to_be_better_is_chosen(best: float, solver: SolverName) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 600)
    sign, vectors = 2 * codes - 1, rng.standard_normal((600, 100)).astype(np.float32)
    if best > 1:
        # classes that differ a little across a direction of much spread take large weights
        vectors = vectors[:, [0, 0]]
        vectors[:, 1] += 0.02 * sign
    else:
        # one channel that says something, among many that do not, takes small ones
        vectors[:, 0] += sign
    settings = ProbeSettings(c_grid=(0.01, 10.0), test_share=0.5, solver=solver)
    rows = np.arange(600)
    of = Labelled(rows, codes, ("a", "b"), rows, np.full(600, "en"))
    draw = Draw.of(of, 0, settings)
    (chosen,) = solver_of(settings)(vectors, [draw])
    assert chosen.c == best
    each = [replace(draw, grid=(one,)) for one in (0.01, 10.0)]
    named = [(one.predicted == codes[draw.test]).mean() for one in solver_of(settings)(vectors, each)]
    accuracy = (chosen.predicted == codes[draw.test]).mean()
    assert accuracy == max(named)
    assert accuracy > min(named) + 0.02


def layer(n: int, d: int, n_labels: int, strength: float, seed: int) -> tuple[np.ndarray, Labelled]:
    """Correlated vectors of unequal spread that say a label more or less, four of each text."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_labels, n)
    vectors = (rng.standard_normal((n, d)) + strength * rng.standard_normal((n_labels, d))[codes]) / np.sqrt(np.arange(1, d + 1))
    vectors = vectors @ np.linalg.qr(rng.standard_normal((d, d)))[0] * np.exp(rng.standard_normal(d)) + 50
    rows = np.arange(n)
    return vectors.astype(np.float32), Labelled(rows, codes, tuple(map(str, range(n_labels))), rows // 4, np.full(n, "en"))


@pytest.mark.parametrize("c", [0.01, 1.0, 10.0])
@pytest.mark.parametrize(
    ("n", "d", "n_labels", "strength"), [(2500, 24, 6, 0.5), (2500, 40, 2, 0.2), (600, 80, 3, 0.3), (400, 500, 4, 0.1)]
)
def test_solvers_agree_in_every_cell(n: int, d: int, n_labels: int, strength: float, c: float) -> None:
    vectors, of = layer(n, d, n_labels, strength, seed=3)
    draws = [Draw.of(of, seed, ProbeSettings(c=c)) for seed in (0, 1)]
    converged, found = SklearnSolver(20_000, tolerance=1e-6)(vectors, draws), BatchedSolver(1000)(vectors, draws)
    for draw, one, other in zip(draws, converged, found, strict=True):
        truth = of.codes[draw.test]
        n_apart = abs(int((one.predicted == truth).sum()) - int((other.predicted == truth).sum()))
        assert n_apart <= max(1, 0.002 * truth.size)
        assert (one.predicted == other.predicted).mean() > 0.985
        assert other.n_iterations < 200
        assert 1.2 / n_labels < (other.predicted == truth).mean() < 0.99


def test_draws_that_share_no_vectors_are_each_answered() -> None:
    vectors, of = layer(800, 10, 3, 0.8, seed=1)
    draw = Draw.of(of, 0, ProbeSettings(c=1.0))
    halves = [draw.within(of.rows % 2 == half) for half in (0, 1)]
    together = BatchedSolver(1000)(vectors, halves)
    for half, one in zip(halves, together, strict=True):
        (alone,) = BatchedSolver(1000)(vectors, [half])
        assert (alone.predicted == one.predicted).all()
        (plain,) = SklearnSolver(5000, tolerance=1e-6)(vectors, [half])
        assert (plain.predicted == one.predicted).mean() > 0.98
