"""What steered texts show: how often they are about the concept, under its experts and the controls, in numbers and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from actlas.errors import TableNotFound
from actlas.report.measures import Labelled
from actlas.report.parts import STEERING

Measure = tuple[str, pl.DataFrame]
Row = dict[str, Any]
#: Arms that experts are held against, in words.
CONTROLS = {
    "none": "with nothing forced",
    "random": "with random neurons of the same layers",
    "next": "with the next best neurons",
    "other": "with experts of another concept",
}


def steering_rates(source: Labelled) -> pl.DataFrame:
    """How often texts have a word of their concept and are in the language of the experts, all concepts together.

    Returns:
        step, language (of the experts), k, arm, n_texts; rate (share of texts with a word of the concept), difference (experts
        less this arm), low and high (its 95 % interval); the same of texts in other languages (rate_elsewhere and so on); and
        in_language (share of texts in the language), shift, shift_low, shift_high. Of the last checkpoint that was steered, by
        language and arm.

    Raises:
        TableNotFound: If nothing was steered.
    """
    frame = source.ask(STEERING)
    if frame.is_empty():
        raise TableNotFound(f"of no checkpoint that is on the axis there are texts: actlas steer {source.store.path}")
    return frame


def steering_findings(measures: Sequence[Measure]) -> list[str]:
    """Sentences per store and language of experts: the concept in all texts, in those of other languages, and the language.

    Args:
        measures: Label and frame of `steering_rates` per store.
    """
    sentences = []
    for label, frame in measures:
        for (language,), own in frame.group_by("language", maintain_order=True):
            arms = {row["arm"]: row for row in own.iter_rows(named=True)}
            if "experts" in arms:
                sentences += _of_experts(label, str(language), arms)
    return sentences


def _of_experts(label: str, language: str, arms: dict[str, Row]) -> list[str]:
    steered = arms["experts"]
    controls = [(CONTROLS[arm], row) for arm, row in arms.items() if arm in CONTROLS]
    at = f"step {steered['step']}" if steered["step"].isdigit() else steered["step"]
    begun = f"{label}: at {at}, with the {steered['k']} best neurons for a concept in {language} forced"
    if steered["rate"] is None:
        return [f"{begun}, the concept was looked for in no text: no words of it were given."]
    sentences = [
        f"{begun}, {_percent(steered['rate'])} of the texts have a word of the concept; {_listed(controls, 'rate')}. "
        f"{_told(controls, 'difference', 'low', 'high')}"
    ]
    if steered["rate_elsewhere"] is not None:
        sentences.append(
            f"{label}: of its texts in other languages than {language}, {_percent(steered['rate_elsewhere'])} have a word of the "
            f"concept; {_listed(controls, 'rate_elsewhere')}. "
            f"{_told(controls, 'difference_elsewhere', 'low_elsewhere', 'high_elsewhere')}"
        )
    sentences.append(
        f"{label}: {_percent(steered['in_language'])} of the texts are in {language}; {_listed(controls, 'in_language')}. "
        f"{_told(controls, 'shift', 'shift_low', 'shift_high')}"
    )
    return sentences


def _listed(controls: Sequence[tuple[str, Row]], column: str) -> str:
    return ", ".join(f"{_percent(row[column])} {words}" for words, row in controls) or "there is no control"


def _told(controls: Sequence[tuple[str, Row]], difference: str, low: str, high: str) -> str:
    """Sentence on which controls the experts are told apart from, by the intervals of paired differences."""
    known = [(words, row) for words, row in controls if row[difference] is not None]
    if not known:
        return "Nothing is told apart without controls."
    above = [words for words, row in known if row[low] > 0]
    below = [words for words, row in known if row[high] < 0]
    words, nearest = min(known, key=lambda one: one[1][low])
    interval = f"{_points(nearest[difference])} (95% interval {_points(nearest[low])} to {_points(nearest[high])})"
    if len(above) == len(known):
        return f"That is more than under any control, the least {words}: by {interval}."
    if below:
        return f"That is less than {' and '.join(below)}."
    same = [words for words, row in known if row[low] <= 0]
    return f"No difference is shown to texts {' or '.join(same)}; the widest: {interval}."


def _percent(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.1f}%"


def _points(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:.1f} points"  # no minus before a zero
