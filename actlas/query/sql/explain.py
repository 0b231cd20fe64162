"""What a query will read, told by DuckDB's plan of it before anything is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import polars as pl

from actlas.query.sql.grids import Grid, Region, slabs_in
from actlas.query.sql.scan import whole
from actlas.query.sql.stream import GridSource
from actlas.store.files.shard_reader import counting

#: Columns of an explanation.
SCHEMA = pl.Schema(
    {
        "table": pl.String(),
        "alias": pl.String(),
        "checkpoints": pl.String(),
        "sites": pl.String(),
        "layers": pl.String(),
        "neurons": pl.Int64(),
        "texts": pl.Int64(),
        "languages": pl.Int64(),
        "concepts": pl.Int64(),
        "rows": pl.Int64(),
        "of_rows": pl.Int64(),
        "chunks": pl.Int64(),
        "of_chunks": pl.Int64(),
        "bytes": pl.Int64(),
        "of_bytes": pl.Int64(),
        "ends_early": pl.Boolean(),
    }
)
#: Operators that pass rows on one by one, so that a LIMIT above them ends what is below them.
_PASSING = frozenset({"PROJECTION", "FILTER", "STREAMING_LIMIT", "LIMIT"})


@dataclass(frozen=True)
class Scan:
    """One place of a plan at which a grid is read.

    Attributes:
        columns: What is asked for.
        filters: What rows have to pass, as DuckDB writes it.
        n_rows: Rows that the table says it has.
        ends_early: Whether reading ends when there are enough rows.
    """

    columns: tuple[str, ...]
    filters: tuple[str, ...]
    n_rows: int
    ends_early: bool


def scans(plan: str) -> Iterator[Scan]:
    """The grids that a plan reads, from its JSON."""
    stack: list[tuple[Mapping[str, Any], bool]] = [(node, False) for node in json.loads(plan)]
    while stack:
        node, is_limited = stack.pop()
        name, about = node["name"], node["extra_info"]
        if name == "PYTHON_ARROW_SCAN":
            columns, filters = _several(about.get("Projections")), _several(about.get("Filters"))
            yield Scan(columns, filters, int(about.get("Estimated Cardinality", 0)), is_limited)
        ends = name in _PASSING and (is_limited or "LIMIT" in name)
        stack += [(child, ends) for child in reversed(node["children"])]


def explained(sources: Sequence[tuple[str, str, GridSource]], plan: str) -> list[dict[str, Any]]:
    """One row for every grid that a plan reads.

    Args:
        sources: (table, alias, what DuckDB reads it from), those of single places first.
        plan: DuckDB's plan as JSON.
    """
    rows, left = [], list(sources)
    for scan in scans(plan):
        source = next((one for one in [*left, *sources] if _fits(scan, one[2])), None)
        if source is None:
            # a frame that was given with the query
            continue
        if source in left:
            left.remove(source)
        rows.append(_row(*source, scan))
    return rows


def _several(said: object) -> tuple[str, ...]:
    """What a plan writes as one string where there is one, and as a list where there are several."""
    if isinstance(said, list):
        return tuple(map(str, said))
    return (str(said),) if said else ()


def _fits(scan: Scan, source: GridSource) -> bool:
    """Whether it is this source that is scanned: of two that look alike, either is read in the same way."""
    is_known = source.accepted.keys() >= set(scan.filters) and {*scan.columns} <= {*source.grid.schema}
    return is_known and scan.n_rows == source.rows()


def _row(table: str, alias: str, source: GridSource, scan: Scan) -> dict[str, Any]:
    grid = source.grid
    region, keep = source.part(scan.columns, scan.filters)
    asked = {*scan.columns, *(keep.columns if keep is not None else ())} - source.labels
    values = [column for column in grid.schema if column in asked]
    slabs = list(slabs_in(grid.cubes, region))
    everything = Region(whole(grid))
    n_chunks, n_bytes = _reads(grid, region, values)
    of_chunks, of_bytes = _reads(grid, everything, values)
    box = {axis: where.size for axis, where in region.box.items()}
    places: dict[tuple[str, int], int] = {}
    for _, site, layers, neurons in slabs:
        for layer in layers.tolist():
            places[site, layer] = max(neurons.size, places.get((site, layer), 0))
    return {
        "table": table,
        "alias": alias,
        "checkpoints": _names(checkpoint for checkpoint, *_ in slabs),
        "sites": _names(site for _, site, *_ in slabs),
        "layers": _ranges({layer for _, layer in places}),
        "neurons": sum(places.values()),
        "texts": box.get("text"),
        "languages": box.get("language"),
        "concepts": box.get("concept"),
        "rows": grid.n_rows(region),
        "of_rows": grid.n_rows(everything),
        "chunks": n_chunks,
        "of_chunks": of_chunks,
        "bytes": n_bytes,
        "of_bytes": of_bytes,
        "ends_early": scan.ends_early,
    }


def _reads(grid: Grid, region: Region, values: Sequence[str]) -> tuple[int, int]:
    """Chunks and bytes of a region."""
    if not values:
        return 0, 0
    with counting() as reads:
        for _ in grid.batches(region, values):
            pass
    return reads.n_chunks, reads.n_bytes


def _names(names: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _ranges(numbers: set[int]) -> str:
    """Numbers as "0-3, 7"."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(sorted(numbers)), key=lambda one: one[1] - one[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
