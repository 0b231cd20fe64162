"""Correlations of probes with sharing, against plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from actlas.query import Atlas, probe_by_checkpoint, probe_intervals
from actlas.query.schema import TABLES
from actlas.query.sql.macro import asked_over


def _checkpoints(rows: list[dict[str, Any]]) -> pl.DataFrame:
    numbered = [{"checkpoint": f"c{number}", "position": number, "step": number, **row} for number, row in enumerate(rows)]
    return pl.DataFrame(numbered, schema=dict(TABLES["checkpoints"].columns))


def test_correlations_of_probes_with_sharing() -> None:
    rng, names, n_layers = np.random.default_rng(0), ("c0", "c1", "c2", "c3"), 5
    accuracy, share = rng.random((4, n_layers)).round(1), rng.integers(1, 9, (4, n_layers))
    probes = [
        {"checkpoint": name, "site": "resid", "layer": layer, "label": "language", "seed": seed}
        | {"accuracy": accuracy[i, layer] + (seed - 0.5) / 50}
        for i, name in enumerate(names)
        for layer in range(n_layers)
        for seed in (0, 1)
    ]
    masks = [
        {"checkpoint": name, "concept": "x", "site": "mlp_pre", "layer": layer, "neuron": neuron, "word": 0}
        | {"n_languages": 2 if neuron < share[i, layer] else 1}
        for i, name in enumerate(names)
        for layer in range(n_layers)
        for neuron in range(10)
    ]
    tables = {
        "probe": pl.DataFrame(probes, schema=dict(TABLES["probe"].columns)),
        "expert_mask": pl.DataFrame(masks, schema=dict(TABLES["expert_mask"].columns)),
        # the last is a control
        "checkpoints": _checkpoints([{}, {}, {}, {"control": "random weights"}]),
    }
    frame = asked_over("probe_sharing", {}, tables)

    def spearman(a: Any, b: Any) -> float:
        return float(np.corrcoef(pl.Series(a).rank(), pl.Series(b).rank())[0, 1])

    over_layers, over_checkpoints = frame.filter(over="layers"), frame.filter(over="checkpoints")
    assert (over_layers.height, over_checkpoints.height) == (4, n_layers)
    for i in range(4):
        assert over_layers["pearson"][i] == pytest.approx(np.corrcoef(accuracy[i], share[i])[0, 1])
        assert over_layers["spearman"][i] == pytest.approx(spearman(accuracy[i], share[i]))
    for layer in range(n_layers):
        own = (accuracy[:3, layer], share[:3, layer])
        if min(np.ptp(own[0]), np.ptp(own[1])) > 0:
            assert over_checkpoints["pearson"][layer] == pytest.approx(np.corrcoef(*own)[0, 1])


def test_probes_by_layer_average_to_those_by_checkpoint(asked: Atlas) -> None:
    layers = probe_intervals(asked).group_by("checkpoint", "site", maintain_order=True).agg(pl.col("accuracy").mean())
    assert layers["accuracy"].to_list() == pytest.approx(probe_by_checkpoint(asked)["accuracy"].to_list())
