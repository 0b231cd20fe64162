"""Figures as inline SVG that takes the page's text colour, font and background, so that it reads in light and dark.

matplotlib writes colours as numbers. Colours that must follow the page are drawn as placeholders and replaced in the
SVG text afterwards; text stays text, so that it can be searched, scaled and read aloud.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import BackendUnavailable

try:
    import matplotlib
    from matplotlib.figure import Figure
except ImportError as error:  # pragma: no cover - the development environment has it
    raise BackendUnavailable("the report's figures need matplotlib: pip install 'actlas[report]'") from error

#: Line colours of the stores, in the order in which they were given; all keep their contrast on white and on black.
STORE_COLOURS = ("#2f7fd8", "#d9772b", "#2f9e63", "#b458b8", "#8a8f98")
_INK, _RULE, _PAGE = "#010203", "#040506", "#070809"
_FOLLOWS_PAGE = {_INK: "currentColor", _RULE: "var(--rule)", _PAGE: "var(--page)"}
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 11,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "text.color": _INK,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
}
_MOST_TICKS = 12
_MOST_ROWS = 24
_MOST_WRITTEN_CELLS = 130


def _to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    buffer = io.StringIO()
    # the salt makes ids reproducible, and different between the figures of one page
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", body)
    body = re.sub(r"font: (?:\S+ )?([\d.]+px) inherit", r"font-size: \1", body)
    for placeholder, colour in _FOLLOWS_PAGE.items():
        body = body.replace(placeholder, colour)
    size = re.search(r'viewBox="([^"]+)"', body)
    assert size is not None, "matplotlib gives every figure a viewBox"
    inside = body[body.index(">") + 1 :]
    return (
        f'<svg viewBox="{size[1]}" role="img" aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-text">{html.escape(description)}</desc>{inside}'
    )


def _steps(axes: Any, labels: Sequence[str]) -> None:
    every = max(1, -(-len(labels) // _MOST_TICKS))
    ticks = list(range(0, len(labels), every))
    axes.set_xticks(ticks, [labels[tick] for tick in ticks])
    axes.set_xlabel("step")


def _rows(axes: Any, labels: Sequence[Any]) -> None:
    every = -(-len(labels) // _MOST_ROWS)
    ticks = list(range(0, len(labels), max(1, every)))
    axes.set_yticks(ticks, [str(labels[tick]) for tick in ticks])


def overlap_figure(measures: Sequence[tuple[str, pl.DataFrame]], description: str) -> str:
    """Overlap with its controls on the left, overlap of disjoint halves against the ceiling on the right.

    Args:
        measures: Label and frame of `overlap_over_training` per store.
        description: Alternative text.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 3.7), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (label, frame), colour in zip(measures, cycle(STORE_COLOURS), strict=False):
            at = frame["position"]
            left.plot(at, frame["overlap"], color=colour, marker="o", markersize=4, linewidth=2, label=label)
            left.plot(at, frame["other_concept"], color=colour, linewidth=1, linestyle=(0, (1, 2)))
            right.plot(at, frame["ratio"], color=colour, marker="o", markersize=4, linewidth=2, label=label)
        _, first = measures[0]
        left.plot(first["position"], first["chance"], color=_INK, linewidth=1, linestyle="--", label="chance")
        left.plot(first["position"], first["shuffled"], color=_INK, linewidth=1, alpha=0.5, label="shuffled labels")
        left.plot([], [], color=_INK, linewidth=1, linestyle=(0, (1, 2)), label="another concept")
        left.set_title("Overlap of expert sets, mean over language pairs")
        right.set_title("Disjoint halves: across languages / same language")
        for axes in (left, right):
            axes.set_ylim(bottom=0)
            axes.grid(axis="y")
            axes.set_axisbelow(True)
            axes.legend(loc="upper left", fontsize=9)
            _steps(axes, max((frame["axis"].to_list() for _, frame in measures), key=len))
        return _to_svg(figure, "overlap", "Overlap of experts over training", description)


def probe_figure(measures: Sequence[tuple[str, pl.DataFrame]], description: str) -> str:
    """Heat maps of probing accuracy, layer by step, one per store, on one scale.

    Args:
        measures: Label and frame of `probe_accuracy`, one label of the probe only, per store.
        description: Alternative text.
    """
    lowest = min(float(frame[column].to_numpy().min()) for _, frame in measures for column in ("accuracy", "chance"))
    rows = max(frame["place"].n_unique() for _, frame in measures)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 1.5 + 0.34 * min(rows, _MOST_ROWS)), layout="constrained")
        panels = figure.subplots(1, len(measures), squeeze=False)[0]
        for axes, (label, frame) in zip(panels, measures, strict=True):
            grid = frame.pivot("position", index=["place_order", "place"], values="accuracy").sort("place_order")
            image = _heat_map(axes, grid.drop("place_order", "place").to_numpy(), lowest, 1.0)
            _rows(axes, grid["place"].to_list())
            axes.set_title(label)
            _steps(axes, frame.select("position", "axis").unique().sort("position")["axis"].to_list())
        figure.colorbar(image, ax=list(panels), label="accuracy", shrink=0.9)
        return _to_svg(figure, "probe", "Probing accuracy by layer and step", description)


def places_figure(measures: Sequence[tuple[str, pl.DataFrame]], description: str) -> str:
    """Heat maps of where experts sit, layer by step, one panel per site and one row of panels per store.

    Args:
        measures: Label and frame of `expert_places` per store.
        description: Alternative text.
    """
    sites = sorted({site for _, frame in measures for site in frame["site"].unique()})
    highest = max(float(frame["share"].to_numpy().max()) for _, frame in measures)
    layers = max(int(frame["layer"].to_numpy().max()) + 1 for _, frame in measures)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, len(measures) * (1.15 + 0.26 * min(layers, _MOST_ROWS))), layout="constrained")
        panels = figure.subplots(len(measures), len(sites), squeeze=False, sharey=True)
        for row, (label, frame) in zip(panels, measures, strict=True):
            for axes, site in zip(row, sites, strict=True):
                here = frame.filter(pl.col("site") == site)
                if here.is_empty():
                    axes.set_axis_off()
                    continue
                grid = here.pivot("position", index="layer", values="share").sort("layer")
                image = _heat_map(axes, grid.drop("layer").to_numpy(), 0.0, highest, written=False)
                _rows(axes, grid["layer"].to_list())
                axes.set_title(f"{label}: {site}", fontsize=10)
                _steps(axes, here.select("position", "axis").unique().sort("position")["axis"].to_list())
                axes.tick_params(axis="x", labelrotation=90, labelsize=8)
            row[0].set_ylabel("layer")
        figure.colorbar(image, ax=panels.ravel().tolist(), label="share of experts", shrink=0.9)
        return _to_svg(figure, "places", "Where the experts sit", description)


def _heat_map(axes: Any, values: NDArray[Any], low: float, high: float, *, written: bool = True) -> Any:
    rows, columns = values.shape
    edges = np.arange(max(rows, columns) + 1) - 0.5
    image = axes.pcolormesh(
        edges[: columns + 1],
        edges[: rows + 1],
        values,
        vmin=low,
        vmax=high,
        cmap="viridis",
        edgecolor=_PAGE,
        linewidth=0.8,
    )
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    if written and values.size <= _MOST_WRITTEN_CELLS:
        for (row, column), value in np.ndenumerate(values):
            if np.isnan(value):
                continue
            # viridis is dark below its middle
            colour = "#ffffff" if (value - low) / max(high - low, 1e-9) < 0.6 else "#1a1a1a"
            axes.text(column, row, f"{value:.2f}".lstrip("0"), ha="center", va="center", color=colour, fontsize=8)
    return image
