"""The benchmark of probes refuses an answer that is not equal, and tells ratios that fit its seconds."""

from __future__ import annotations

import numpy as np
import pytest

from actlas.query.probing.solvers import BatchedSolver
from benchmarks import bench_probe


def test_a_row_tells_what_was_measured() -> None:
    row = bench_probe.measured(bench_probe.synthetic(1200, 24, 4), 1.0, 1)
    assert (row["n_train"], row["channels"], row["labels"]) == (960, 24, 4)
    assert row["accuracy"] > 35
    seconds = row["seconds_per_probe"]
    assert row["loop_over_batched"]["median"] == pytest.approx(seconds["loop"] / seconds["batched"])


def test_an_answer_that_is_not_equal_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = BatchedSolver.__call__

    def wrong(self, vectors, draws):
        return [type(one)(np.zeros_like(one.predicted), one.c, one.n_iterations) for one in original(self, vectors, draws)]

    monkeypatch.setattr(BatchedSolver, "__call__", wrong)
    with pytest.raises(AssertionError, match="points apart"):
        bench_probe.measured(bench_probe.synthetic(1200, 24, 4), 1.0, 1)
