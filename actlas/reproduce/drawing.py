"""A figure's points as lines over steps: a row of panels per part of it, the model on the left, the control on the right."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import polars as pl

from actlas.report.figures import STORE_COLOURS
from actlas.report.svg import Box, Line, legend, legend_height, line_chart, picture
from actlas.reproduce.gather import Answer

_WIDTH = 690.0
_LEFT, _GAP, _HEIGHT = 40.0, 56.0, 150.0
#: Series that something is held against are thin.
_NULLS = ("null", "chance", "another concept", "none", "random", "next", "other", "unpatched")
#: The same of one language: "es, nothing forced".
_NULLS_OF = (", nothing forced", ", random neurons")
_DASHES = ("", "5 3", "1 2", "9 3 2 3")
#: What stands alone has no page whose colours it could follow.
_STYLE = (
    "<style>svg { color: #1d2126; font-family: system-ui, sans-serif } .rule { stroke: #d9dde3; stroke-width: .6; fill: none } "
    "@media (prefers-color-scheme: dark) { svg { color: #e4e7eb } .rule { stroke: #3a414a } }</style>"
)


def draw(answer: Answer, description: str) -> str:
    """The figure as SVG.

    Args:
        answer: With at least one side.
        description: Alternative text.
    """
    sides = answer.sides
    frames = pl.concat([frame.with_columns(pl.lit(side).alias("side")) for side, frame in sides.items()])
    panels = frames["panel"].unique(maintain_order=True).to_list()
    series = frames["series"].unique(maintain_order=True).to_list()
    looks = _looks(series)
    width = (_WIDTH - _LEFT - 8 - _GAP * (len(sides) - 1)) / max(len(sides), 2 if len(sides) > 1 else 1)
    pitch = _HEIGHT + 72
    parts: list[str] = []
    for row, panel in enumerate(panels):
        own = frames.filter(pl.col("panel") == panel)
        highest = float(own.select(pl.max_horizontal("value", "high").max()).item() or 0.0)
        for column, (side, frame) in enumerate(sides.items()):
            box = Box(_LEFT + column * (width + _GAP), 30 + row * pitch, width, _HEIGHT)
            title = f"{side}: {panel or answer.figure.measure}"
            steps = _steps(frame)
            parts += line_chart(box, title, _lines(frame.filter(pl.col("panel") == panel), looks, steps), steps, highest)
    named = [Line(name, (), (), *looks[name]) for name in series]
    top = 30 + len(panels) * pitch - 8
    parts += legend(_LEFT, top, _WIDTH - _LEFT, named)
    height = top + 10 + legend_height(_WIDTH - _LEFT, named)
    return picture(answer.figure.name, _WIDTH, height, answer.figure.title, description, parts)


def standalone(svg: str) -> str:
    """A figure as a file of its own, with the page's ink and rules."""
    start, end = svg.index(">") + 1, svg.rindex("</svg>")
    return f'<svg xmlns="http://www.w3.org/2000/svg" {svg[5:start]}{_STYLE}{svg[start:end]}</svg>\n'


def _looks(series: list[str]) -> Mapping[str, tuple[str, float, str]]:
    """Colour, width and dashes of each line."""
    against = [name for name in series if name.startswith(_NULLS) or name.endswith(_NULLS_OF)]
    found = [name for name in series if name not in against]
    looks = {name: (colour, 1.8, dashes) for name, (dashes, colour) in zip(found, product(_DASHES, STORE_COLOURS), strict=False)}
    return looks | {
        name: (colour, 1.0, dashes)
        for name, (dashes, colour) in zip(
            against, product(_DASHES[::-1], ("currentColor", "#8a8f98", *STORE_COLOURS[:4])), strict=False
        )
    }


def _steps(frame: pl.DataFrame) -> list[str]:
    return frame.select("position", "step").unique().sort("position")["step"].to_list()


def _lines(frame: pl.DataFrame, looks: Mapping[str, tuple[str, float, str]], steps: list[str]) -> list[Line]:
    """Lines over the places of steps on the axis, which has no place for a checkpoint of which nothing is known."""
    lines = []
    for (name,), rows in frame.group_by("series", maintain_order=True):
        colour, width, dashes = looks[str(name)]
        value, low, high = (
            rows[column].clip(lower_bound=0).fill_null(float("nan")).to_list() for column in ("value", "low", "high")
        )
        has_band = rows["low"].count() > 0 and width > 1
        band = (low, high) if has_band else ((), ())
        lines.append(
            Line(str(name), [steps.index(step) for step in rows["step"]], value, colour, width, dashes, 1, width > 1, *band)
        )
    # what is held against lies behind
    return sorted(lines, key=lambda line: line.width)
