"""Tables of what the server of `actlas explore` takes, made from its result file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.markdown import markdown

_FIRST = ("page", "description", "first table")


def _middle(rounds: Sequence[Mapping[str, float]], what: str) -> float:
    return median(one[what] for one in rounds)


def _first(result: Mapping[str, Any]) -> str:
    rows = [
        (
            row["store"],
            f"{row['n_scores']:,}",
            *(f"{_middle(row['first'], what):.2f}" for what in _FIRST),
            f"{_middle(row['first'], 'processor'):.2f}",
            f"{median(row['first_concept']):.2f}",
        )
        for row in result["rows"]
    ]
    head = (
        "store",
        "scores",
        "first page, s",
        "with its description",
        "with its first table",
        "processor time until then",
        "concept: page and description",
    )
    return markdown(head, rows)


def _views(result: Mapping[str, Any]) -> str:
    stores = result["rows"]
    head = ["view"]
    for row in stores:
        head += [f"{row['store']}: description, ms", "all tables", "slowest table"]
    rows = [
        [view, *(f"{_middle(row['views'][view], what):.0f}" for row in stores for what in ("description", "tables", "slowest"))]
        for view in stores[0]["views"]
    ]
    return markdown(head, rows)


def _load(result: Mapping[str, Any]) -> str:
    rows = []
    for row in result["rows"]:
        load, after = row["load"], row["memory_after"]
        rows.append(
            (
                row["store"],
                load["clients"],
                f"{load['requests']:,}",
                load["failed"],
                f"{load['per_second']:.0f}",
                *(f"{load['ms'][name]:.0f}" for name in ("p50", "p95", "max")),
                f"{row['memory_warm']['pss']:.0f}",
                f"{after['pss']:.0f}",
                f"{after['rss']:.0f}",
            )
        )
    head = ("store", "clients", "requests", "failed", "per second", "median, ms", "95 %", "longest")
    return markdown((*head, "memory before, MB", "after", "after, shared pages counted in each process"), rows)


EXPLORE_TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "explore": _first,
    "explore-views": _views,
    "explore-load": _load,
}
