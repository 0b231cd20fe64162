"""Charts as SVG text: lines over steps, heat maps, legends and scales, in the page's own ink, rules and font.

Colours that follow the page are classes of its style sheet (`html.document`); whatever has no class is drawn in the text colour.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actlas.words import printable

#: Colours of a scale from its lowest to its highest value, evenly spaced: matplotlib's viridis, which reads in grey too.
SCALE = (
    "#440154",
    "#482475",
    "#414487",
    "#355f8d",
    "#2a788e",
    "#21918c",
    "#22a884",
    "#44bf70",
    "#7ad151",
    "#bddf26",
    "#fde725",
)
FONT_SIZE = 11.0
#: Width of a letter on average, as a share of the size of the font: only legends depend on it.
_LETTER = 0.56
#: Height of a row of a legend.
_ROW = 17.0
_MOST_TICKS = 12
#: Labels below a panel where they stand upright.
_MOST_UPRIGHT = 24
_MOST_ROWS = 24
#: A heat map of more cells has no number in each of them.
_MOST_WRITTEN_CELLS = 130


@dataclass(frozen=True)
class Box:
    """Where a panel is drawn: left and top edge, width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Line:
    """One line of a chart; NaN leaves a gap.

    Attributes:
        label: Its entry in the legend; "" for none.
        positions: Places on the axis.
        values: Heights.
        colour: Any colour, or "currentColor".
        width: Stroke width.
        dashes: Lengths of strokes and gaps; "" for a solid line.
        opacity: 1 is opaque.
        is_marked: Whether a dot stands at every value.
        low: Lower ends of a band around the values; () for none.
        high: Its upper ends.
    """

    label: str
    positions: Sequence[float]
    values: Sequence[float]
    colour: str = "currentColor"
    width: float = 1.0
    dashes: str = ""
    opacity: float = 1.0
    is_marked: bool = False
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    @property
    def stroke(self) -> str:
        """The attributes of its stroke."""
        dashes = f' stroke-dasharray="{self.dashes}"' if self.dashes else ""
        opacity = f' stroke-opacity="{self.opacity:g}"' if self.opacity != 1 else ""
        return f'fill="none" stroke="{self.colour}" stroke-width="{self.width:g}"{dashes}{opacity}'


def picture(name: str, width: float, height: float, title: str, description: str, parts: Iterable[str]) -> str:
    """A whole figure.

    Args:
        name: Makes ids unique within a page.
        width: Width of the drawing in its own units; the page scales it.
        height: Height likewise.
        title: Short name, read aloud first.
        description: What the figure shows, for those who do not see it.
        parts: What is drawn, back to front.

    Returns:
        An element ``<svg>``.

    Example:
        >>> picture("empty", 10, 5, "Nothing", "No data & no lines.", [])
        '<svg viewBox="0 0 10 5" fill="currentColor" font-size="11" role="img" aria-labelledby="empty-title empty-text"><title \
id="empty-title">Nothing</title><desc id="empty-text">No data &amp; no lines.</desc></svg>'
    """
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" fill="currentColor" font-size="{FONT_SIZE:g}" role="img" '
        f'aria-labelledby="{name}-title {name}-text"><title id="{name}-title">{_escaped(title)}</title>'
        f'<desc id="{name}-text">{_escaped(description)}</desc>{"".join(parts)}</svg>'
    )


def _escaped(content: object) -> str:
    return html.escape(printable(str(content)))


def text(x: float, y: float, content: object, *, anchor: str = "start", size: float = FONT_SIZE, more: str = "") -> str:
    """Words on one base line.

    Args:
        x: Where they start, or end, or have their middle.
        y: The base line.
        content: The words.
        anchor: Which of these `x` is: "start", "end" or "middle".
        size: Size of the font.
        more: Further attributes.

    Returns:
        An element ``<text>``.
    """
    anchored = f' text-anchor="{anchor}"' if anchor != "start" else ""
    sized = f' font-size="{size:g}"' if size != FONT_SIZE else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{anchored}{sized}{more}>{_escaped(content)}</text>'


def line_chart(box: Box, title: str, lines: Sequence[Line], steps: Sequence[str], highest: float | None = None) -> list[str]:
    """Lines over steps, on an axis that begins at 0.

    Args:
        box: The area between the axes; title, labels and ticks stand around it.
        title: Stands above it.
        lines: What is drawn, back to front.
        steps: Label of each place on the axis of steps.
        highest: What the axis reaches to; None for the largest value that is drawn.

    Returns:
        Elements of an SVG.
    """
    drawn = (value for line in lines for value in (*line.values, *line.high) if value == value)
    ticks = even_ticks(max(drawn, default=1.0) if highest is None else highest)
    last = max(len(steps) - 1, 1)

    def x(position: float) -> float:
        return box.left + 6 + (box.width - 12) * position / last

    def y(value: float) -> float:
        return box.top + box.height * (1 - value / ticks[-1])

    parts = [text(box.left, box.top - 10, title)]
    for tick in ticks:
        parts.append(f'<path class="rule" d="M{box.left:.1f} {y(tick):.1f}h{box.width:.1f}"/>')
        parts.append(text(box.left - 6, y(tick) + 4, f"{tick:g}", anchor="end", size=10))
    parts += _step_axis(box, steps, [x(position) for position in range(len(steps))])
    for line in lines:
        if line.low:
            lower, upper = (
                [(x(position), y(end)) for position, end in zip(line.positions, ends, strict=True) if end == end]
                for ends in (line.low, line.high)
            )
            parts.append(f'<path fill="{line.colour}" fill-opacity="0.15" d="{_path([*lower, *reversed(upper)])}Z"/>')
        points = [
            (x(position), y(value)) if value == value else None
            for position, value in zip(line.positions, line.values, strict=True)
        ]
        parts.append(f'<path {line.stroke} d="{_path(points)}"/>')
        if line.is_marked:
            parts += [
                f'<circle fill="{line.colour}" cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="2.4"/>' for point in points if point
            ]
    return parts


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Straight strokes from point to point; None lifts the pen."""
    moves, is_down = [], False
    for point in points:
        if point is not None:
            moves.append(f"{'L' if is_down else 'M'}{point[0]:.1f} {point[1]:.1f}")
        is_down = point is not None
    return "".join(moves)


def legend(left: float, top: float, width: float, lines: Sequence[Line]) -> list[str]:
    """The labels of lines with a piece of each, in as many rows as they need.

    Args:
        left: Left edge.
        top: Base line of the first row.
        width: A row is not longer.
        lines: Those with a label are listed.

    Returns:
        Elements of an SVG.
    """
    parts = []
    for line, x, row in _entries(width, lines):
        y = top + _ROW * row
        parts.append(f'<path {line.stroke} d="M{left + x:.1f} {y - 4:.1f}h24"/>')
        parts.append(text(left + x + 30, y, line.label))
    return parts


def legend_height(width: float, lines: Sequence[Line]) -> float:
    """How far the rows of a legend reach below the base line of its first one.

    Args:
        width: As in `legend`.
        lines: As in `legend`.

    Returns:
        The height; 0 for a single row.

    Example:
        >>> legend_height(100, [Line("one", (), ()), Line("another one", (), ()), Line("a third one", (), ())])
        34.0
    """
    return _ROW * max((row for _, _, row in _entries(width, lines)), default=0)


def _entries(width: float, lines: Sequence[Line]) -> Iterator[tuple[Line, float, int]]:
    """Lines with a label, each with its place from the left and its row."""
    x, row = 0.0, 0
    for line in lines:
        if line.label:
            needed = 46 + _LETTER * FONT_SIZE * len(line.label)
            if x > 0 and x + needed > width:
                x, row = 0.0, row + 1
            yield line, x, row
            x += needed


def heat_map(
    box: Box,
    title: str,
    values: NDArray[np.float64],
    limits: tuple[float, float],
    rows: Sequence[object],
    steps: Sequence[str],
    *,
    is_dense: bool = False,
    x_label: str = "step",
) -> list[str]:
    """A cell per row and step, coloured by its value, which stands in it where cells are few; the first row lies at the bottom.

    Args:
        box: The area of the cells.
        title: Stands above it.
        values: ``"rows steps"``; NaN leaves a cell empty.
        limits: Values of the two ends of the scale.
        rows: Label of each row.
        steps: Label of each column.
        is_dense: Whether labels of steps are small and upright.
        x_label: What the columns are.

    Returns:
        Elements of an SVG.
    """
    n_rows, n_steps = values.shape
    width, height = box.width / n_steps, box.height / n_rows
    parts = [text(box.left, box.top - 8, title)]
    is_written = values.size <= _MOST_WRITTEN_CELLS
    for (row, step), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        share = (float(value) - limits[0]) / max(limits[1] - limits[0], 1e-9)
        x, y = box.left + step * width, box.top + box.height - (row + 1) * height
        parts.append(
            f'<rect x="{x + 0.4:.2f}" y="{y + 0.4:.2f}" width="{width - 0.8:.2f}" height="{height - 0.8:.2f}" '
            f'fill="{colour_of(share)}"/>'
        )
        if is_written:
            # the scale is dark below its middle
            ink = "#ffffff" if share < 0.6 else "#1a1a1a"
            number = f"{float(value):.2f}".lstrip("0")
            parts.append(text(x + width / 2, y + height / 2 + 3, number, anchor="middle", size=8, more=f' fill="{ink}"'))
    every = -(-n_rows // _MOST_ROWS)
    for row in range(0, n_rows, every):
        y = box.top + box.height - (row + 0.5) * height + 4
        parts.append(text(box.left - 5, y, rows[row], anchor="end", size=10))
    centres = [box.left + (step + 0.5) * width for step in range(n_steps)]
    return parts + _step_axis(box, steps, centres, x_label, is_dense=is_dense)


def bar_chart(
    box: Box,
    title: str,
    bars: Sequence[tuple[str, Sequence[float]]],
    places: Sequence[str],
    *,
    is_dense: bool = False,
) -> list[str]:
    """Bars that stand on 0, or hang from it, side by side at every place.

    Args:
        box: The area between the axes; title, labels and ticks stand around it.
        title: Stands above it.
        bars: Colour of each series, and its height at every place; NaN leaves a gap.
        places: Label of each place.
        is_dense: Whether these labels are small and upright.

    Returns:
        Elements of an SVG.
    """
    drawn = [value for _, heights in bars for value in heights if value == value]
    above = even_ticks(max([*drawn, 0.0]) or max((abs(value) for value in drawn), default=1.0))
    below = math.ceil(round(-min([*drawn, 0.0]) / above[1], 9))
    ticks = [*(-number * above[1] for number in range(below, 0, -1)), *above]

    def y(value: float) -> float:
        return box.top + box.height * (ticks[-1] - value) / (ticks[-1] - ticks[0])

    parts = [text(box.left, box.top - 10, title)]
    for tick in ticks:
        parts.append(f'<path class="rule" d="M{box.left:.1f} {y(tick):.1f}h{box.width:.1f}"/>')
        parts.append(text(box.left - 6, y(tick) + 4, f"{tick:g}", anchor="end", size=10))
    pitch = box.width / max(len(places), 1)
    width = 0.8 * pitch / max(len(bars), 1)
    for number, (colour, heights) in enumerate(bars):
        for place, value in enumerate(heights):
            if value == value:
                x = box.left + (place + 0.1) * pitch + number * width
                top, height = min(y(value), y(0)), abs(y(value) - y(0))
                parts.append(f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>')
    return parts + _step_axis(box, places, [box.left + (at + 0.5) * pitch for at in range(len(places))], "", is_dense=is_dense)


def colour_bar(name: str, box: Box, limits: tuple[float, float], label: str) -> list[str]:
    """The scale of a heat map, lowest value at the bottom.

    Args:
        name: Name of the figure: its gradient needs an id of its own in the page.
        box: The area of the bar.
        limits: Values of its two ends.
        label: What is measured.

    Returns:
        Elements of an SVG.
    """
    stops = "".join(f'<stop offset="{place / (len(SCALE) - 1):g}" stop-color="{colour}"/>' for place, colour in enumerate(SCALE))
    parts = [
        f'<defs><linearGradient id="{name}-scale" x1="0" y1="1" x2="0" y2="0">{stops}</linearGradient></defs>',
        f'<rect x="{box.left:.1f}" y="{box.top:.1f}" width="{box.width:g}" height="{box.height:g}" fill="url(#{name}-scale)"/>',
    ]
    low, high = limits
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = box.top + box.height * (1 - share) + 4
        parts.append(text(box.left + box.width + 4, y, f"{low + share * (high - low):.2f}", size=9))
    x, y = box.left + box.width + 40, box.top + box.height / 2
    parts.append(text(x, y, label, anchor="middle", more=f' transform="rotate(-90 {x:.1f} {y:.1f})"'))
    return parts


def _step_axis(
    box: Box, steps: Sequence[str], places: Sequence[float], label: str = "step", *, is_dense: bool = False
) -> list[str]:
    """Labels below a panel: every one of few steps, some of many."""
    every = max(1, -(-len(steps) // (_MOST_UPRIGHT if is_dense else _MOST_TICKS)))
    bottom = box.top + box.height
    parts = []
    for step in range(0, len(steps), every):
        x = places[step]
        if is_dense:
            upright = f' transform="rotate(-90 {x + 3:.1f} {bottom + 6:.1f})"'
            parts.append(text(x + 3, bottom + 6, steps[step], anchor="end", size=8, more=upright))
        else:
            parts.append(text(x, bottom + 15, steps[step], anchor="middle", size=10))
    below = 44 if is_dense else 30
    return [*parts, text(box.left + box.width / 2, bottom + below, label, anchor="middle")] if label else parts


def even_ticks(highest: float) -> list[float]:
    """Round numbers from 0 to the first one at or above `highest`, at most seven of them.

    Args:
        highest: The largest value that is drawn.

    Returns:
        The ticks, evenly spaced.

    Example:
        >>> even_ticks(0.31), even_ticks(1)
        ([0.0, 0.1, 0.2, 0.3, 0.4], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    """
    if not highest > 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest / 5))
    spacing = next(power * factor for factor in (1, 2, 2.5, 5, 10, 20) if highest <= 6 * power * factor)
    return [round(number * spacing, 12) for number in range(math.ceil(round(highest / spacing, 9)) + 1)]


def colour_of(share: float) -> str:
    """Colour at a place on the scale, between its two neighbours in `SCALE`.

    Args:
        share: 0 for the lowest value, 1 for the highest; beyond them, the ends.

    Returns:
        The colour as ``#rrggbb``.

    Example:
        >>> colour_of(0), colour_of(0.05), colour_of(2)
        ('#440154', '#461264', '#fde725')
    """
    place = min(max(share, 0.0), 1.0) * (len(SCALE) - 1)
    first = min(int(place), len(SCALE) - 2)
    low, high = ([int(colour[channel : channel + 2], 16) for channel in (1, 3, 5)] for colour in (SCALE[first], SCALE[first + 1]))
    mixed = [round(a + (b - a) * (place - first)) for a, b in zip(low, high, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)
