"""The figures of the report, drawn from the frames of `measures`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.report.svg import Box, Line, colour_bar, heat_map, legend, legend_height, line_chart, picture, text

#: Line colours of the stores, in the order in which they were given; all keep their contrast on white and on black.
STORE_COLOURS = ("#2f7fd8", "#d9772b", "#2f9e63", "#b458b8", "#8a8f98")
#: Strokes of the two nulls, labels moved with translations together and in each language by itself, and of a twin.
_TOGETHER, _ALONE, _TWIN = "5 3", "1 2", "9 3 2 3"
_WIDTH = 690.0
#: More rows of a heat map than this share the height of this many.
_MOST_ROWS = 24

Measures = Sequence[tuple[str, pl.DataFrame]]


def overlap_figure(measures: Measures, twins: Measures, description: str) -> str:
    """Overlap with its interval and its nulls on the left, on the right what is left of the ceiling's share without chance.

    Args:
        measures: Label and frame of `overlap_over_training` per store.
        twins: Label and frame of `overlap_of_twins` per store: drawn across, for they have no step.
        description: Alternative text.

    Returns:
        The figure as SVG.
    """
    left, right, named = [], [], []
    steps = max((frame["axis"].to_list() for _, frame in measures), key=len)
    ends = (0, max(len(steps) - 1, 1))
    for (label, frame), (_, rows), colour in zip(measures, twins, cycle(STORE_COLOURS), strict=False):
        left += [
            _line(frame, "null", "", colour, dashes=_TOGETHER),
            _line(frame, "null_independent", "", colour, dashes=_ALONE),
            _line(frame, "overlap", label, colour, width=2, is_marked=True, has_band=True),
        ]
        right.append(_line(frame, "corrected_ratio", label, colour, width=2, is_marked=True))
        named.append(left[-1])
        for row in rows.iter_rows(named=True):
            across = pl.DataFrame([row] * 2).with_columns(pl.Series("position", ends))
            left.append(_line(across, "overlap", "", colour, dashes=_TWIN, has_band=True))
            right.append(_line(across, "corrected_ratio", "", colour, dashes=_TWIN))
        if not rows.is_empty():
            named.append(Line(f"{label}: random-weights twin", (), (), colour, dashes=_TWIN))
    _, first = measures[0]
    left.append(_line(first, "chance", "chance", opacity=0.5))
    named += [
        Line("labels moved, translations together", (), (), dashes=_TOGETHER),
        Line("labels moved in each language by itself", (), (), dashes=_ALONE),
        left[-1],
    ]
    panels = [
        ("Overlap of expert sets, mean over language pairs", Box(34, 30, 290, 170), left),
        ("Disjoint halves: share of the ceiling, less the null", Box(388, 30, 290, 170), right),
    ]
    parts = [part for title, box, lines in panels for part in line_chart(box, title, lines, steps)]
    parts += legend(34, 252, _WIDTH - 34, named)
    height = 262 + legend_height(_WIDTH - 34, named)
    return picture("overlap", _WIDTH, height, "Overlap of experts over training", description, parts)


def _line(
    frame: pl.DataFrame,
    column: str,
    label: str,
    colour: str = "currentColor",
    *,
    width: float = 1,
    dashes: str = "",
    opacity: float = 1,
    is_marked: bool = False,
    has_band: bool = False,
) -> Line:
    """A column over positions; the axis begins at 0, so what lies below is drawn there."""
    names = (column, *(("low", "high") if has_band else ()))
    values, *band = (frame[name].cast(pl.Float64).clip(0).fill_null(float("nan")).to_list() for name in names)
    return Line(label, frame["position"].to_list(), values, colour, width, dashes, opacity, is_marked, *band)


def probe_figure(measures: Measures, description: str) -> str:
    """Heat maps of probing accuracy, layer by step, one per store, on one scale.

    Args:
        measures: Label and frame of `probe_accuracy`, one label of the probe only, per store.
        description: Alternative text.

    Returns:
        The figure as SVG.
    """
    lowest = min(float(frame[column].to_numpy().min()) for _, frame in measures for column in ("accuracy", "chance"))
    rows = max(frame["place"].n_unique() for _, frame in measures)
    height = 24.0 * min(rows, _MOST_ROWS)
    margin, bar = 58.0, 74.0
    pitch = (_WIDTH - bar) / len(measures)
    parts = []
    for number, (label, frame) in enumerate(measures):
        grid = frame.pivot("position", index=["place_order", "place"], values="accuracy").sort("place_order")
        box = Box(number * pitch + margin, 28, pitch - margin - 8, height)
        steps = frame.select("position", "axis").unique().sort("position")["axis"].to_list()
        parts += heat_map(box, label, _values(grid.drop("place_order", "place")), (lowest, 1.0), grid["place"].to_list(), steps)
    parts += colour_bar("probe", Box(_WIDTH - bar + 8, 28, 12, height), (lowest, 1.0), "accuracy")
    return picture("probe", _WIDTH, height + 64, "Probing accuracy by layer and step", description, parts)


def places_figure(measures: Measures, description: str) -> str:
    """Heat maps of where experts sit, layer by step, one panel per site and one row of panels per store.

    Args:
        measures: Label and frame of `expert_places` per store.
        description: Alternative text.

    Returns:
        The figure as SVG.
    """
    sites = sorted({site for _, frame in measures for site in frame["site"].unique()})
    highest = max(float(frame["share"].to_numpy().max()) for _, frame in measures)
    layers = max(int(frame["layer"].to_numpy().max()) + 1 for _, frame in measures)
    height = 18.0 * min(layers, _MOST_ROWS)
    margin, bar, pitch_down = 44.0, 74.0, height + 78
    pitch = (_WIDTH - bar - margin) / len(sites)
    parts = []
    for row, (label, frame) in enumerate(measures):
        top = row * pitch_down + 26
        middle = top + height / 2
        parts.append(text(12, middle, "layer", anchor="middle", more=f' transform="rotate(-90 12 {middle:.1f})"'))
        for column, site in enumerate(sites):
            cells = frame.filter(pl.col("site") == site)
            if cells.is_empty():
                continue
            grid = cells.pivot("position", index="layer", values="share").sort("layer")
            steps = cells.select("position", "axis").unique().sort("position")["axis"].to_list()
            box = Box(margin + column * pitch, top, pitch - 24, height)
            names = grid["layer"].to_list()
            title, limits = f"{label}: {site}", (0.0, highest)
            parts += heat_map(box, title, _values(grid.drop("layer")), limits, names, steps, is_written=False, is_dense=True)
    total = len(measures) * pitch_down
    parts += colour_bar("places", Box(_WIDTH - bar + 8, 26, 12, total - 78), (0.0, highest), "share of experts")
    return picture("places", _WIDTH, total, "Where the experts sit", description, parts)


def _values(grid: pl.DataFrame) -> NDArray[np.float64]:
    """``"rows steps"`` of a pivoted frame, whose columns are positions; NaN where there is nothing."""
    columns = sorted(grid.columns, key=int)
    return grid.select(pl.col(columns).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
