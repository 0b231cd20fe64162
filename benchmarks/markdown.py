"""Cells and tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def spread(ratio: Mapping[str, float], digits: int = 2) -> str:
    """Median of the rounds' ratios with their extremes."""
    return f"{ratio['median']:,.{digits}f} ({ratio['lowest']:,.{digits}f} to {ratio['highest']:,.{digits}f})"
