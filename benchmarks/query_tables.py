"""Tables of what queries cost, made from the result files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.markdown import markdown, spread

_WAYS = {"sql": "`store.sql`", "scan": "`store.scan`", "process": "`actlas sql`, a fresh process"}


def _small(result: Mapping[str, Any]) -> str:
    rows = [
        (
            row["what"],
            _WAYS[row["way"]],
            f"{row['ms']:.1f}",
            "" if row["read_ms"] is None else f"{row['read_ms']:.1f}",
            "" if row["beyond_ms"] is None else spread(row["beyond_ms"], 1),
        )
        for row in result["rows"]
    ]
    head = ("answer", "way", "ms", "the same read from the array, ms", "ms beyond 1.5 times the read")
    return markdown(head, rows)


def _bytes(result: Mapping[str, Any]) -> str:
    rows = [(f"`{row['query']}`", f"{row['bytes']:,}", f"{row['needed']:,}", f"{row['explained']:,}") for row in result["rows"]]
    return markdown(
        ("query, or condition beside checkpoint, site and layer", "bytes read", "bytes needed", "bytes foretold"), rows
    )


def _memory(result: Mapping[str, Any]) -> str:
    rows = [(row["query"], row["reads"], f"+{row['megabytes']:.0f}", f"{row['seconds']:.1f}") for row in result["rows"]]
    return markdown(("query", "reads", "peak memory, MB", "seconds"), rows)


def _peers(result: Mapping[str, Any]) -> str:
    rows = [(row["what"], row["peer"], f"{row['ms']:.0f}", spread(row["peer_time_over_ours"], 1)) for row in result["rows"]]
    return markdown(("question", "peer", "ours, ms", "peer's time / ours"), rows)


def _texts(result: Mapping[str, Any]) -> str:
    rows = [
        (
            row["neurons"],
            f"{row['chunks']:,}",
            f"{row['bytes'] / 1e6:.0f}",
            f"{row['decode_ms']:.1f}",
            f"{row['ms']['first']:.0f}",
            f"{row['ms']['again']:.1f}",
            f"{row['ms']['nearest']:.1f}",
        )
        for row in result["rows"]
    ]
    decoding = "decoding alone, both cores, ms"
    head = ("neurons", "chunks", "MB", decoding, "first question, ms", "again, ms", "nearest to another text, ms")
    return markdown(head, rows)


def _chunk_reads(result: Mapping[str, Any]) -> str:
    rows = [
        (
            row["of"],
            row["what"],
            f"{row['chunks']:,}",
            f"{row['us']['chunk by chunk']:.0f}",
            f"{row['us']['in loops']:.0f}",
            spread(row["ratio"]),
        )
        for row in result["rows"]
    ]
    return markdown(
        ("chunks of", "what is read", "chunks", "chunk by chunk, µs each", "in loops, µs each", "loops / chunk by chunk"), rows
    )


QUERY_TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "activation_small": _small,
    "activation_bytes": _bytes,
    "activation_memory": _memory,
    "activation_peers": _peers,
    "texts": _texts,
    "chunk_reads": _chunk_reads,
}
