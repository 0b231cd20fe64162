"""Tables of what `real_steering` found, for docs/results/real-models.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.markdown import markdown

Result = Mapping[str, Any]
#: What the arms of a steering run are called, in the order of a table.
_ARMS = {
    "experts": "its experts",
    "none": "nothing",
    "random": "random neurons, of the same sites and layers",
    "next": "the next best neurons",
    "other": "experts of another concept",
}
#: Characters that mean something in a cell -> what stands for them.
_PLAIN = {ord(character): f"\\{character}" for character in "|<>*_`[]#\\$"}


def _of_arms(rows: Sequence[Mapping[str, Any]], arm: str) -> list[Mapping[str, Any]]:
    """Rows by concept and language, arms of each in the order of `_ARMS`."""
    order = list(_ARMS)
    return sorted(rows, key=lambda row: (row["concept"], row["language"], order.index(row[arm])))


def _difference(row: Mapping[str, Any], name: str) -> str:
    return "" if row[name] is None else f"{row[name]:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"


def _steering(result: Result) -> str:
    """How often texts are about a concept, arm by arm."""
    chosen, (row,) = result["settings"], result["rows"]
    head = ("concept", "language of the experts", "forced", "texts with a word of the concept", "its experts less this")
    rows = [
        (each["concept"], each["language"], _ARMS[each["arm"]], f"{each['rate']:.2f}", _difference(each, "difference"))
        for each in _of_arms(row["rates"], "arm")
    ]
    about = (
        f"{row['checkpoint']}, {chosen['k']} neurons set to their median over positives, {chosen['seeds']} texts of each arm "
        f"from the start token on, {chosen['max_new_tokens']} tokens at most, temperature {chosen['temperature']}; "
        f"{row['n_tokens']:,} tokens of {row['n_texts']:,} texts in {row['seconds']:.0f} s. Differences are paired by seed, with "
        "95 % intervals."
    )
    return f"{about}\n\n{markdown(head, rows)}"


def _steering_languages(result: Result) -> str:
    """How often texts are in the language whose experts are forced, against every control."""
    (row,) = result["rows"]
    head = ("concept", "language of the experts", "control", "in that language, experts", "control", "shift")
    rows = [
        (
            each["concept"],
            each["language"],
            _ARMS[each["control"]],
            f"{each['share']:.2f}",
            f"{each['control_share']:.2f}",
            _difference(each, "shift"),
        )
        for each in _of_arms(row["shifts"], "control")
    ]
    return markdown(head, rows)


def _steering_texts(result: Result) -> str:
    """The first text of every arm, whatever it says."""
    (row,) = result["rows"]
    head = ("concept", "language of the experts", "forced", "text of the first seed")
    rows = [
        (each["concept"], each["language"], _ARMS[each["arm"]], " ".join(each["text"].split()).translate(_PLAIN))
        for each in _of_arms(row["texts"], "arm")
    ]
    return markdown(head, rows)


STEERING_TABLES: dict[str, Callable[[Result], str]] = {
    "real_steering": _steering,
    "real_steering-languages": _steering_languages,
    "real_steering-texts": _steering_texts,
}
