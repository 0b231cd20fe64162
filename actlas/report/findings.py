"""What the numbers say, in sentences made from the numbers: also what they do not show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from actlas.report.measures import LEVEL

#: Accuracies closer than this count as equal.
_ACCURACY_MARGIN = 0.02

Measure = tuple[str, pl.DataFrame]
Row = dict[str, Any]


def overlap_findings(measures: Sequence[Measure], twins: Sequence[Measure] = ()) -> list[str]:
    """Sentences about overlap: each store from its first to its last checkpoint, then the first store against the others.

    Two are told apart where their 95 % intervals do not meet and the larger one lies above its null.

    Args:
        measures: Label and frame of `overlap_over_training` per store.
        twins: Label and frame of `overlap_of_twins` per store.
    """
    sentences = [_overlap_course(label, frame) for label, frame in measures]
    main_label, main = measures[0]
    others = [(label, frame.row(-1, named=True)) for label, frame in measures[1:]]
    for label, rows in twins:
        if label == main_label:
            others += [(f"its {row['control']}", row) for row in rows.iter_rows(named=True)]
    ours = main.row(-1, named=True)
    return sentences + [_compared(main_label, ours, label, theirs) for label, theirs in others]


def _compared(main_label: str, ours: Row, label: str, theirs: Row) -> str:
    """Sentence on how far two overlaps lie above their nulls."""
    if None in (ours["overlap"], ours["null"], theirs["overlap"], theirs["null"]):
        return f"{main_label} and {label} cannot be compared: for one of them there is no overlap, or no null."
    excess, low, high = _excess(ours)
    other, other_low, other_high = _excess(theirs)
    text = (
        f"At the last checkpoint the overlap lies {_points(excess)} above its null in {main_label} (95% interval {_number(low)} "
        f"to {_number(high)}) and {_points(other)} in {label} ({_number(other_low)} to {_number(other_high)}): "
    )
    if low > other_high and ours["p_value"] <= LEVEL:
        return f"{text}the intervals are apart, and experts are shared more in {main_label}."
    if other_low > high and theirs["p_value"] <= LEVEL:
        return f"{text}the intervals are apart, and experts are shared more in {label}."
    return f"{text}no difference is shown, so what tells the two apart does not explain the sharing."


def _excess(row: Row) -> tuple[float, float, float]:
    """Overlap above its null, with the ends of its interval."""
    return (row["overlap"] - row["null"], row["low"] - row["null"], row["high"] - row["null"])


def _overlap_course(label: str, frame: pl.DataFrame) -> str:
    rows = frame.rows(named=True)
    last = rows[-1]
    text = (
        f"{label}: experts of one concept in two languages share {_percent(last['overlap'])} of their neurons at {_at(last)} "
        f"({_interval(last)}). Labels without meaning give {_percent(last['null'])} where translations keep theirs together and "
        f"{_percent(last['null_independent'])} where each language has its own; another concept gives "
        f"{_percent(last['other_concept'])}, chance {_percent(last['chance'])}. {_against_null(last)}"
    )
    if len(rows) > 1:
        text += f" {_change(rows)}"
    if last["corrected_ratio"] is None:
        return f"{text} What a language shares with itself between disjoint halves is not clear of its null: there is no ratio."
    return (
        f"{text} Between disjoint halves of the texts, two languages share {_percent(last['cross_half'])}, one language with "
        f"itself {_percent(last['ceiling'])}; less what labels without meaning give, that is "
        f"{_percent(last['corrected_ratio'], 0)} of this ceiling."
    )


def _change(rows: Sequence[Row]) -> str:
    """Sentence on the way from the first checkpoint to the last."""
    first, last = rows[0], rows[-1]
    began = f"At {_at(first)} it is {_percent(first['overlap'])} ({_interval(first)})"
    if None not in (first["overlap"], first["null"]):
        began += f", {_above(first['overlap'] - first['null'])} that null of {_percent(first['null'])}"
    if None in (first["low"], last["low"]):
        return f"{began}."
    if last["low"] > first["high"]:
        _, before, after = max(((b["overlap"] - a["overlap"], a, b) for a, b in pairwise(rows)), key=lambda item: item[0])
        return f"{began}; the largest rise is between {_at(before)} and {after['step']}."
    if last["high"] < first["low"]:
        return f"{began}: it falls."
    return f"{began}: no change is shown, for the intervals meet."


def _against_null(row: Row) -> str:
    """Sentence on where an overlap stands to the null that keeps translations together."""
    if None in (row["overlap"], row["null"]):
        return "There is no null to hold it against."
    excess = row["overlap"] - row["null"]
    text = f"It lies {_above(excess)} the first of these (p = {row['p_value']:.2g} of {row['n_repeats']} permutations)"
    if excess > 0 and row["p_value"] > LEVEL:
        return f"{text}, as labels without meaning may."
    return f"{text}."


def _above(difference: float) -> str:
    return f"{_points(abs(difference))} {'above' if difference > 0 else 'below'}"


def _interval(row: Row) -> str:
    return f"95% interval {_percent(row['low'])} to {_percent(row['high'])}"


def concept_findings(measures: Sequence[Measure]) -> list[str]:
    """One sentence per store: how many concepts are shared more than labels without meaning give.

    Args:
        measures: Label and frame of `concept_tests` per store.
    """
    return [
        f"{label}: at {_at(last)}, {last['n_found']} of {last['n_tests']} concepts are shared more than labels without meaning "
        f"give, at a false discovery rate of {100 * LEVEL:.0f}%."
        for label, frame in measures
        for last in frame.tail(1).iter_rows(named=True)
    ]


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


def _at(row: dict[str, Any]) -> str:
    return f"step {row['step']}" if str(row["step"]).isdigit() else str(row["step"])


def _percent(value: float | None, digits: int = 1) -> str:
    return "unknown" if value is None else f"{100 * value:.{digits}f}%"


def _points(value: float) -> str:
    return f"{_number(value)} points"


def _number(value: float) -> str:
    """Of points."""
    return f"{round(100 * value, 1) + 0.0:.1f}"  # no minus before a zero
