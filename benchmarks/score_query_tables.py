"""Markdown tables of the benchmark of questions to scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.markdown import markdown, spread

#: ms that a warm answer may take.
TARGET = 100


def is_ours(arm: str) -> bool:
    """Whether an arm is a way through a store."""
    return arm.startswith("actlas")


def _part(result: Mapping[str, Any], part: str) -> list[dict[str, Any]]:
    return [row for row in result["rows"] if row["part"] == part]


def _size(result: Mapping[str, Any]) -> str:
    size = result["settings"]
    names = ("neurons", "concepts", "languages", "checkpoints")
    counts = ", ".join(f"{size['n_neurons' if name == 'neurons' else name]:,} {name}" for name in names)
    stored = f"bytes per score: {size['bytes_per_score']:.2f}; experts: {size['k']} best; rounds: {size['rounds']}"
    return f"{size['n_scores']:,} scores: {counts}; {stored}"


def fastest(ms: Mapping[str, Sequence[float]], arms: Iterable[str]) -> str | None:
    """Of some arms the one with the lowest median; None where there is none."""
    return min(arms, key=lambda arm: median(ms[arm]), default=None)


def _ratio(ms: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    ratios = sorted(a / b for a, b in zip(ms, other, strict=True))
    return {"median": median(ratios), "lowest": ratios[0], "highest": ratios[-1]}


def query_warm(result: Mapping[str, Any]) -> str:
    """Every question: ms by each way through the store, and the time of the fastest over that of the fastest peer."""
    rows = []
    for row in _part(result, "warm"):
        ms = row["ms"]
        ours = [arm for arm in ms if is_ours(arm)]
        peer = fastest(ms, [arm for arm in ms if not is_ours(arm)])
        best = fastest(ms, ours)
        shown = ", ".join(f"{arm.removeprefix('actlas ')} {median(ms[arm]):,.1f}" for arm in ours)
        beside = ", ".join(f"{arm} {median(ms[arm]):,.1f}" for arm in ms if not is_ours(arm))
        ratio = "" if peer is None or best is None else f"{spread(_ratio(ms[best], ms[peer]))} of {peer}"
        rows.append((row["number"], row["question"], f"{row['n_rows']:,}", shown, beside, ratio))
    head = ("", "question", "rows", "ms through the store", "ms of peers", "fastest / fastest peer")
    slow = [row["number"] for row in _part(result, "warm") if median(row["ms"][_plain(row["ms"])]) >= TARGET]
    verdict = f"Above {TARGET} ms: {', '.join(f'row {number}' for number in slow) or 'none'} (by the first way)."
    return f"{_size(result)}\n\n{markdown(head, rows)}\n\n{verdict}"


def _plain(ms: Mapping[str, Any]) -> str:
    return next(arm for arm in ms if is_ours(arm))


def query_brief(result: Mapping[str, Any]) -> str:
    """Every question: ms of SQL, of the fastest way, and of the fastest peer."""
    rows = []
    for row in _part(result, "warm"):
        ms = row["ms"]
        best, peer = (fastest(ms, [arm for arm in ms if is_ours(arm) is own]) for own in (True, False))
        shown = "" if best is None else f"{median(ms[best]):,.1f} ({best.removeprefix('actlas ')})"
        sql = f"{median(ms['actlas SQL']):,.1f}" if "actlas SQL" in ms else ""
        rows.append((row["question"], sql, shown, "" if peer is None else f"{median(ms[peer]):,.1f} ({peer})"))
    return markdown(("question", "SQL, ms", "fastest way, ms", "fastest peer, ms"), rows)


def query_cold(result: Mapping[str, Any]) -> str:
    """Seconds of a fresh process."""
    rows = [(row["number"], row["question"], row["arm"], f"{median(row['seconds']):.2f}") for row in _part(result, "cold")]
    return markdown(("", "question", "process", "seconds"), rows)


def query_making(result: Mapping[str, Any]) -> str:
    """What making the kept answers takes, and one pass over all scores."""
    rows = []
    for row in (*_part(result, "making"), *_part(result, "whole")):
        what = row.get("what", f"scores above {result['settings']['bar']}, counted by checkpoint and concept")
        rows.append((what, row["arm"], f"{row['seconds']:.1f}", f"{row['peak_bytes'] / 2**20:,.0f} MiB"))
    return markdown(("what", "by", "seconds", "peak memory of the process"), rows)


SCORE_QUERY_TABLES = {"query": query_warm, "query_brief": query_brief, "query-cold": query_cold, "query-making": query_making}
