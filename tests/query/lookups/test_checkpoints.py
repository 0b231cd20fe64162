"""Flags of checkpoints: weights that are there twice, and losses that cannot be."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from actlas.query.schema import TABLES
from actlas.query.sql.macro import asked_over


def _checkpoints(rows: list[dict[str, Any]]) -> pl.DataFrame:
    numbered = [{"checkpoint": f"c{number}", "position": number, "step": number, **row} for number, row in enumerate(rows)]
    return pl.DataFrame(numbered, schema=dict(TABLES["checkpoints"].columns))


def test_duplicates_and_broken_checkpoints_are_flagged() -> None:
    rows: list[dict[str, Any]] = [
        {"weight_hash": "a", "sanity_loss": 9.0},
        {"weight_hash": "b", "sanity_loss": 4.0},
        {"weight_hash": "c", "sanity_loss": 4.9},
        {"weight_hash": "b", "sanity_loss": 4.0},
        {"weight_hash": "d", "sanity_loss": math.nan},
        {"weight_hash": "e", "sanity_loss": 12.7},
        {"weight_hash": "f", "sanity_loss": None},
        {"weight_hash": "b", "sanity_loss": 99.0, "control": "random weights"},
    ]
    flags = asked_over("checkpoint_flags", {}, {"checkpoints": _checkpoints(rows)})
    assert flags["is_broken"].to_list() == [False, False, False, False, True, True, None]
    assert flags["same_as"].to_list() == [[], ["c3"], [], ["c1"], [], [], []]
    assert flags["is_duplicate"].to_list() == [False, True, False, True, False, False, False]
    assert flags["loss_rise"].round(1).to_list()[:4] == [None, -5.0, 0.9, 0.0]
    closer = asked_over("checkpoint_flags", {"rise": 0.5}, {"checkpoints": _checkpoints(rows)})
    assert closer["is_broken"].to_list()[2]
