"""Long frames: every cell once, or one line that names the first that is not."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from actlas.errors import ScoreImportError
from actlas.query.imports.frames import check_columns, scores_of_frame

FRAME = pl.DataFrame(
    {
        "checkpoint": "m",
        "language": "en",
        "concept": "salt",
        "site": "mlp_pre",
        "layer": 0,
        "neuron": [0, 1, 2],
        "ap": [0.1, 0.2, 0.3],
    }
)


def read(frame: pl.DataFrame, **others: Any) -> Any:
    about = {"languages": ["en"], "concepts": ["salt"], "grid": None, **others}
    return scores_of_frame(frame, check_columns(frame), **about)


def test_rows_may_come_in_any_order() -> None:
    scores, grid = read(FRAME.reverse())
    assert grid == {"mlp_pre": (1, 3)}
    assert scores["m"]["mlp_pre"]["ap"].tolist() == [[[[0.1, 0.2, 0.3]]]]


@pytest.mark.parametrize(
    ("frame", "others", "message"),
    [
        (FRAME.drop("layer"), {}, "layer is missing"),
        (FRAME.drop("ap"), {}, "no statistic"),
        (FRAME.clear(), {}, "no row"),
        (FRAME.with_columns(note=pl.lit("x")), {}, "'note' is not known"),
        (FRAME.with_columns(pl.col("neuron").cast(pl.Float64)), {}, "column neuron must hold whole numbers"),
        (FRAME.with_columns(pl.lit(None, pl.String).alias("site")), {}, "column site must hold names"),
        (FRAME.with_columns(pl.lit("x").alias("ap")), {}, "column ap must hold numbers"),
        (FRAME[[0, 2]], {}, "layer 0, neuron 1 is missing"),
        (FRAME[[0, 1, 1, 2]], {}, "layer 0, neuron 1 is there twice"),
        (FRAME, {"grid": {"mlp_pre": (1, 2)}}, "has 2 neurons, and scores of neuron 2"),
        (FRAME, {"grid": {"mlp_pre": (2, 3)}}, "layer 1, neuron 0 is missing, and 2 others"),
        (FRAME, {"grid": {"mlp_out": (1, 3)}}, "site mlp_pre has scores and is not in the grid"),
        (FRAME, {"languages": ["fr"]}, "language 'en' has scores and was not named"),
    ],
)
def test_what_is_wrong_is_named(frame: pl.DataFrame, others: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoreImportError, match=message):
        read(frame, **others)
