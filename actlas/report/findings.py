"""What the numbers say, in sentences made from the numbers: also what they do not show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import polars as pl

#: Two stores differ in a measure where one is at least this many times the other; below, the sentence says so.
_CLEARLY = 1.5
#: Accuracies closer than this count as equal.
_ACCURACY_MARGIN = 0.02

Measure = tuple[str, pl.DataFrame]


def overlap_findings(measures: Sequence[Measure]) -> list[str]:
    """Sentences about overlap: each store from its first to its last checkpoint, then the first store against the others.

    Args:
        measures: Label and frame of `overlap_over_training` per store.
    """
    sentences = [_overlap_course(label, frame) for label, frame in measures]
    main_label, main = measures[0]
    for label, other in measures[1:]:
        ours, theirs = _above_chance(main), _above_chance(other)
        opening = (
            f"At the last checkpoint the overlap lies {_points(ours)} above chance in {main_label} "
            f"and {_points(theirs)} in {label}"
        )
        if ours >= _CLEARLY * max(theirs, 0) and ours > 0:
            sentences.append(f"{opening}: experts are shared clearly more in {main_label}.")
        elif theirs >= _CLEARLY * max(ours, 0) and theirs > 0:
            sentences.append(f"{opening}: experts are shared clearly more in {label}.")
        else:
            sentences.append(f"{opening}: no clear difference, so what tells the two apart does not explain the sharing.")
    return sentences


def _overlap_course(label: str, frame: pl.DataFrame) -> str:
    rows = frame.rows(named=True)
    first, last = rows[0], rows[-1]
    text = (
        f"{label}: experts of one concept in two languages share {_percent(last['overlap'])} of their neurons at {_at(last)} "
        f"(chance {_percent(last['chance'])}, labels without meaning {_percent(last['null'])}, "
        f"another concept {_percent(last['other_concept'])})"
    )
    if len(rows) > 1:
        rises = [(b["overlap"] - a["overlap"], a, b) for a, b in pairwise(rows)]
        rise, before, after = max(rises, key=lambda item: item[0])
        text += f"; {_percent(first['overlap'])} at {_at(first)}"
        if rise > 0:
            text += f", with the largest rise between {_at(before)} and {after['axis']}"
    if last["corrected_ratio"] is not None:
        text += (
            f". Between disjoint halves of the texts, two languages share {_percent(last['cross_half'])}, one language with "
            f"itself {_percent(last['ceiling'])}: {_percent(last['corrected_ratio'], 0)} of the ceiling, less what labels "
            "without meaning share"
        )
    return text + "."


def ap_findings(measures: Sequence[Measure]) -> list[str]:
    """One sentence per store: does the ap of experts tell training apart from no training?

    Args:
        measures: Label and frame of `expert_ap` per store.
    """
    sentences = []
    for label, frame in measures:
        rows = frame.rows(named=True)
        if len(rows) < 2:
            continue
        first, last, lowest = rows[0], rows[-1], min(rows, key=lambda row: row["ap"])
        text = f"{label}: the mean ap of experts is {first['ap']:.2f} at {_at(first)} and {last['ap']:.2f} at {_at(last)}"
        if lowest is not first and lowest is not last:
            text += f", with a low of {lowest['ap']:.2f} at {_at(lowest)}, so it does not simply rise with training"
        elif last["ap"] <= first["ap"]:
            text += ", so it does not rise with training"
        sentences.append(f"{text}.")
    return sentences


def probe_findings(measures: Sequence[Measure]) -> list[str]:
    """Sentences about probes: the fall after a peak in each store, and whether the middle layers lie lowest.

    Args:
        measures: Label and frame of `probe_accuracy` of one probe label per store.
    """
    sentences = []
    falls = [(label, *_largest_fall(frame)) for label, frame in measures]
    for label, fall, place, peak in falls:
        if fall > _ACCURACY_MARGIN:
            sentences.append(f"{label}: accuracy falls furthest at {place}, by {_points(fall)} from its peak at {peak}.")
        else:
            sentences.append(f"{label}: accuracy falls at no layer by more than {_points(_ACCURACY_MARGIN)} after its peak.")
    (main_label, main_fall, _, _), *others = falls
    sentences += [_compared_falls(main_label, main_fall, label, fall) for label, fall, _, _ in others]
    sentences += _compared_means(measures)
    sentences += [_shape_of_layers(label, frame) for label, frame in measures]
    return [sentence for sentence in sentences if sentence]


def _compared_falls(main_label: str, main_fall: float, label: str, fall: float) -> str:
    if main_fall <= _ACCURACY_MARGIN:
        return ""
    if fall >= main_fall:
        return f"{label} falls as far or further, so the fall in {main_label} is no evidence of shared representations."
    if main_fall - fall <= _ACCURACY_MARGIN:
        return (
            f"{label} falls {_points(main_fall - fall)} less than {main_label}, which is too little to call a difference: "
            "no evidence of shared representations."
        )
    return f"Accuracy falls {_points(main_fall - fall)} further in {main_label} than in {label}."


def _compared_means(measures: Sequence[Measure]) -> list[str]:
    if len(measures) < 2:
        return []
    means = []
    for label, frame in measures:
        last = frame.filter(pl.col("position") == pl.col("position").max())
        means.append(f"{100 * last['accuracy'].to_numpy().mean():.1f}% in {label}")
    return [f"At the last checkpoint the mean over layers is {', '.join(means)}."]


def _largest_fall(frame: pl.DataFrame) -> tuple[float, str, str]:
    falls = []
    for (place,), rows in frame.sort("position").group_by("place", maintain_order=True):
        peak = rows.sort("accuracy", descending=True, maintain_order=True).row(0, named=True)
        falls.append((peak["accuracy"] - rows["accuracy"][-1], str(place), _at(peak)))
    return max(falls, key=lambda item: item[0])


def _shape_of_layers(label: str, frame: pl.DataFrame) -> str:
    last = frame.filter(pl.col("position") == pl.col("position").max()).sort("place_order")
    accuracy = last["accuracy"].to_list()
    if len(accuracy) < 3:
        return ""
    inner = min(accuracy[1:-1])
    ends = min(accuracy[0], accuracy[-1])
    checkpoint = _at(last.row(0, named=True))
    if inner < ends - _ACCURACY_MARGIN:
        return f"{label}: at {checkpoint} the middle layers lie {_points(ends - inner)} below both ends."
    return f"{label}: at {checkpoint} no layer lies clearly below both the first and the last: there is no dip in the middle."


def _above_chance(frame: pl.DataFrame) -> float:
    last: dict[str, Any] = frame.row(-1, named=True)
    return float(last["overlap"] - last["chance"])


def _at(row: dict[str, Any]) -> str:
    return f"step {row['axis']}" if str(row["axis"]).isdigit() else str(row["axis"])


def _percent(value: float | None, digits: int = 1) -> str:
    return "unknown" if value is None else f"{100 * value:.{digits}f}%"


def _points(value: float) -> str:
    return f"{100 * value:.1f} points"
