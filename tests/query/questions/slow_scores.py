"""Scoring in a process of its own, with a pause before and after every commit, so that there are moments to be killed in."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection
from typing import Any

from actlas.query import score_neurons
from actlas.store import ScoreWriter

STATS = ("ap", "mean", "median")


def score_slowly(reports: Connection, store: str) -> None:
    """The loop of a real run; every layer is told."""
    write_layer = ScoreWriter.write_layer

    def slowly(self: ScoreWriter, layer: int, values: Any) -> None:
        reports.send("layer")
        time.sleep(0.02)
        write_layer(self, layer, values)
        time.sleep(0.02)

    ScoreWriter.write_layer = slowly  # type: ignore[method-assign]
    score_neurons(store, stats=STATS)
