"""Means over layers and seeds."""

from __future__ import annotations

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from actlas.query import Atlas, probe_summary


def test_summary_agrees_with_numpy_and_with_sql(asked: Atlas) -> None:
    frame = asked.sql("FROM probe")
    summary = probe_summary(frame)
    assert summary.height == 6
    for row in summary.iter_rows(named=True):
        part = frame.filter(checkpoint=row["checkpoint"], site=row["site"])
        layers = [part.filter(layer=layer)["accuracy"].to_numpy() for layer in sorted(set(part["layer"]))]
        means = [values.mean() for values in layers]
        assert row["accuracy"] == pytest.approx(np.mean(means))
        assert row["std_layers"] == pytest.approx(np.std(means))
        assert row["std_seeds"] == pytest.approx(np.mean([values.std() for values in layers]))
        assert row["n_layers"] == len(layers)
    columns = ["checkpoint", "site", "accuracy", "std_layers", "std_seeds", "n_layers"]
    by_sql = asked.sql("FROM probe_by_checkpoint()").select(columns).sort("checkpoint", "site")
    mine = summary.select(columns).sort("checkpoint", "site")
    assert_frame_equal(by_sql, mine)
