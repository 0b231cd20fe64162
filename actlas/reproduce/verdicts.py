"""Pass, fail or not shown: one criterion for every finding, and the sentence that says how it came out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from actlas.report.measures import LEVEL
from actlas.reproduce.figures import T_QUANTILES, Claim

Word = Literal["pass", "fail", "not shown"]

#: How findings are judged, for the page.
CRITERION = (
    "pass: in every run the effect lies above its null (p at most 0.05 against labels without meaning, or, where there is no "
    "such null, a 95% interval above 0), and the 95% interval of its difference from the control lies above 0. "
    "fail: in no run does the effect lie above its null, or the interval of the difference lies below 0, so the control shows "
    "more of it. not shown: everything else, so also where there is no control. With several runs intervals are Student's t over "
    "runs, each run beside the control of the same seed; with one run they are those within it."
)


@dataclass(frozen=True)
class Effect:
    """The number of a claim in one store.

    Attributes:
        effect: None where the store has no answer.
        low: Lower end of its 95 % interval within the store.
        high: Upper end.
        p_value: Against labels without meaning.
    """

    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None

    @property
    def is_there(self) -> bool:
        """Whether it lies above its null."""
        if self.effect is None or self.effect <= 0:
            return False
        if self.p_value is not None:
            return self.p_value <= LEVEL
        return self.low is not None and self.low > 0


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        claim: The claim.
        word: pass, fail or not shown.
        sentence: Why, out of the numbers.
    """

    claim: Claim
    word: Word
    sentence: str


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its 95 % interval; NaN where one run alone does not know them."""

    mean: float
    low: float
    high: float


def judge(claim: Claim, model: Sequence[Effect], control: Sequence[Effect], why_not: str = "") -> Verdict:
    """Hold a claim against its null and its control.

    Args:
        claim: What the paper finds.
        model: The effect in each run.
        control: The effect in each run's control, in the same order; none where there is no control.
        why_not: What is missing, where an effect is.

    Example:
        >>> claim = Claim("Experts are shared.", "overlap above its null", "")
        >>> verdict = judge(claim, [Effect(0.3, 0.2, 0.4, 0.01)], [Effect(0.05, 0.0, 0.1, 0.3)])
        >>> verdict.word, verdict.sentence[:67]
        ('pass', 'overlap above its null: 0.300 (0.200 to 0.400), above its null in 1')
    """
    if not model or any(one.effect is None for one in model):
        return Verdict(claim, "not shown", f"{claim.measure}: {why_not or 'the store has no number for it'}.")
    n_there = sum(one.is_there for one in model)
    sentence = f"{claim.measure}: {_said(_over_runs(model))}, above its null in {n_there} of {len(model)} runs{_p_values(model)}"
    has_control = len(control) == len(model) and all(one.effect is not None for one in control)
    if n_there == 0:
        beside = f"; control {_said(_over_runs(control))}" if has_control else ""
        return Verdict(claim, "fail", f"{sentence}: it does not appear{beside}.")
    if not has_control:
        lacking = "the control has no number for it" if control else "there is no control to hold it against"
        return Verdict(claim, "not shown", f"{sentence}; {lacking}.")
    difference = _difference(model, control)
    sentence += f"; control {_said(_over_runs(control))}, difference {_said(difference)}"
    if math.isnan(difference.low):
        return Verdict(claim, "not shown", f"{sentence}: one run has no interval for this number.")
    if difference.high < 0:
        return Verdict(claim, "fail", f"{sentence}: the control shows more of it.")
    if difference.low > 0 and n_there == len(model):
        return Verdict(claim, "pass", f"{sentence}: more than in the control.")
    if difference.low > 0:
        return Verdict(claim, "not shown", f"{sentence}: more than in the control, but not above its null in every run.")
    return Verdict(claim, "not shown", f"{sentence}: no difference from the control is shown.")


def interval_over_runs(values: Sequence[float]) -> Interval:
    """Mean of runs with its 95 % interval, of two runs or more.

    Example:
        >>> interval_over_runs([1.0, 2.0, 3.0])
        Interval(mean=2.0, low=-0.484..., high=4.484...)
    """
    n = len(values)
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else math.nan
    half = T_QUANTILES[min(n - 1, len(T_QUANTILES)) - 1] * spread / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def _over_runs(effects: Sequence[Effect]) -> Interval:
    if len(effects) == 1:
        (one,) = effects
        return Interval(*(math.nan if value is None else value for value in (one.effect, one.low, one.high)))
    return interval_over_runs([one.effect for one in effects if one.effect is not None])


def _difference(model: Sequence[Effect], control: Sequence[Effect]) -> Interval:
    """Over runs beside their controls; of one run, from the two intervals, which are independent (Zou and Donner 2008)."""
    if len(model) > 1:
        return interval_over_runs([a.effect - b.effect for a, b in zip(model, control, strict=True)])  # type: ignore[operator]
    ours, theirs = _over_runs(model), _over_runs(control)
    mean = ours.mean - theirs.mean
    down = math.hypot(ours.mean - ours.low, theirs.high - theirs.mean)
    up = math.hypot(ours.high - ours.mean, theirs.mean - theirs.low)
    return Interval(mean, mean - down, mean + up)


def _p_values(effects: Sequence[Effect]) -> str:
    known = [one.p_value for one in effects if one.p_value is not None]
    return f" (p at most {max(known):.2g})" if known else ""


def _said(interval: Interval) -> str:
    if math.isnan(interval.low):
        return f"{_number(interval.mean)} (no interval)"
    return f"{_number(interval.mean)} ({_number(interval.low)} to {_number(interval.high)})"


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"
