"""A long frame of scores, one row per neuron, concept and language, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import ScoreImportError
from actlas.query.imports.checks import known_stats

#: Columns that say which cell a row is about.
NAMES = ("checkpoint", "language", "concept", "site")
PLACES = ("layer", "neuron")

Grid = Mapping[str, tuple[int, int]]
#: checkpoint -> site -> statistic -> ``"languages concepts layers neurons"``.
Scores = Mapping[str, Mapping[str, Mapping[str, NDArray[Any]]]]


def check_columns(frame: pl.DataFrame) -> tuple[str, ...]:
    """The statistics of a frame.

    Raises:
        ScoreImportError: If a column is missing, has nulls or another type, or there is no statistic.
    """
    missing = [name for name in (*NAMES, *PLACES) if name not in frame.columns]
    if missing:
        raise ScoreImportError(
            f"scores need columns {', '.join((*NAMES, *PLACES))} and statistics such as ap; {', '.join(missing)} is missing from "
            f"{', '.join(frame.columns)}"
        )
    if frame.is_empty():
        raise ScoreImportError("there is no row of scores")
    stats = known_stats([name for name in frame.columns if name not in (*NAMES, *PLACES)])
    for name in (*NAMES, *PLACES):
        column = frame[name]
        is_right = column.dtype.is_integer() if name in PLACES else column.dtype in (pl.String, pl.Categorical, pl.Enum)
        if not is_right or column.null_count():
            wanted = "whole numbers" if name in PLACES else "names"
            raise ScoreImportError(f"column {name} must hold {wanted}, without nulls; it is {column.dtype}")
    for stat in stats:
        if not frame[stat].dtype.is_numeric():
            raise ScoreImportError(f"column {stat} must hold numbers; it is {frame[stat].dtype}")
    return stats


def scores_of_frame(
    frame: pl.DataFrame, stats: Sequence[str], languages: Sequence[str], concepts: Sequence[str], grid: Grid | None
) -> tuple[Scores, dict[str, tuple[int, int]]]:
    """The arrays that a frame holds, and the grid: layers and neurons of every site.

    Args:
        frame: What `check_columns` passed.
        stats: Its statistics.
        languages: Along the first axis.
        concepts: Along the second.
        grid: None to take the largest layer and neuron of each site for the last ones.

    Raises:
        ScoreImportError: If a cell is missing or there twice, or a row is about something that is not there.
    """
    for column, known in (("language", languages), ("concept", concepts)):
        others = [name for name in frame[column].unique(maintain_order=True) if name not in known]
        if others:
            raise ScoreImportError(f"{column} {others[0]!r} has scores and was not named; named are {', '.join(known)}")
    if grid is None:
        largest = frame.group_by("site").agg(pl.col(*PLACES).max()).sort("site")
        grid = {site: (layer + 1, neuron + 1) for site, layer, neuron in largest.iter_rows()}
    scores: dict[str, dict[str, dict[str, NDArray[Any]]]] = {}
    parts = frame.partition_by("checkpoint", "site", as_dict=True, maintain_order=True)
    for (checkpoint, site), rows in parts.items():
        if site not in grid:
            raise ScoreImportError(f"site {site} has scores and is not in the grid of neurons, which has {', '.join(grid)}")
        scores.setdefault(checkpoint, {})[site] = _site_arrays(
            rows, stats, languages, concepts, grid[site], f"{checkpoint} {site}"
        )
    return scores, dict(grid)


def _site_arrays(
    rows: pl.DataFrame,
    stats: Sequence[str],
    languages: Sequence[str],
    concepts: Sequence[str],
    shape: tuple[int, int],
    where: str,
) -> dict[str, NDArray[Any]]:
    axes = (len(languages), len(concepts), *shape)
    codes = [
        rows[column].cast(pl.String).replace_strict(list(names), range(len(names)), return_dtype=pl.Int64).to_numpy()
        for column, names in (("language", languages), ("concept", concepts))
    ]
    places = [rows[column].cast(pl.Int64).to_numpy() for column in PLACES]
    for name, place, size in zip(PLACES, places, shape, strict=True):
        outside = place[(place < 0) | (place >= size)]
        if outside.size:
            raise ScoreImportError(f"{where} has {size} {name}s, and scores of {name} {outside[0]}")
    cells = np.ravel_multi_index((*codes, *places), axes)
    n_rows = np.bincount(cells, minlength=int(np.prod(axes)))
    for wrong, what in ((n_rows > 1, "is there twice"), (n_rows == 0, "is missing")):
        if wrong.any():
            language, concept, layer, neuron = (int(at) for at in np.unravel_index(int(wrong.argmax()), axes))
            more = f", and {int(wrong.sum()) - 1:,} others" if wrong.sum() > 1 else ""
            cell = f"{concepts[concept]!r} in {languages[language]!r} at {where}, layer {layer}, neuron {neuron}"
            raise ScoreImportError(f"the score of {cell} {what}{more}")
    arrays = {}
    for stat in stats:
        values = np.empty(cells.size, dtype=np.float64)
        values[cells] = rows[stat].cast(pl.Float64).fill_null(np.nan).to_numpy()
        arrays[stat] = values.reshape(axes)
    return arrays
