"""Solvers: the penalty is chosen as it should be, by each of them."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from actlas.query.probing.draws import Draw
from actlas.query.probing.labels import Labelled
from actlas.query.probing.settings import ProbeSettings, SolverName
from actlas.query.probing.solvers import solver_of


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
