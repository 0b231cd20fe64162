from __future__ import annotations

import pytest

from actlas.reproduce.figures import Claim
from actlas.reproduce.verdicts import Effect, interval_over_runs, judge

CLAIM = Claim("It appears.", "how much", "")
THERE, ABSENT = Effect(0.3, 0.2, 0.4, 0.01), Effect(0.05, -0.1, 0.2, 0.4)


@pytest.mark.parametrize(
    ("model", "control", "word", "words"),
    [
        ([THERE], [ABSENT], "pass", "difference 0.250 (0.070 to 0.430): more than in the control"),
        ([ABSENT], [THERE], "fail", "above its null in 0 of 1 runs (p at most 0.4): it does not appear"),
        ([THERE], [Effect(0.8, 0.7, 0.9)], "fail", "the control shows more of it"),
        ([THERE], [Effect(0.25, 0.15, 0.35)], "not shown", "no difference from the control is shown"),
        ([THERE], [], "not shown", "there is no control to hold it against"),
        ([THERE], [Effect()], "not shown", "the control has no number for it"),
        ([Effect()], [ABSENT], "not shown", "how much: no table"),
        ([Effect(0.3, None, None, 0.01)], [ABSENT], "not shown", "one run has no interval for this number"),
        ([Effect(0.3, 0.2, 0.4)], [ABSENT], "pass", "above its null in 1 of 1 runs;"),
        ([Effect(0.3, -0.2, 0.8)], [ABSENT], "fail", "above its null in 0 of 1 runs: it does not appear"),
        ([Effect(-0.3, -0.4, -0.2, 0.01)], [ABSENT], "fail", "it does not appear"),
        ([THERE, THERE, Effect(0.31, 0.2, 0.4, 0.2)], [ABSENT] * 3, "not shown", "not above its null in every run"),
        (
            [THERE, Effect(0.31, 0.2, 0.4, 0.02)],
            [ABSENT, Effect(0.06, 0, 1)],
            "pass",
            "above its null in 2 of 2 runs (p at most 0.02)",
        ),
    ],
)
def test_a_claim_is_judged_by_its_null_and_its_control(model, control, word, words):
    verdict = judge(CLAIM, model, control, "no table")
    assert (verdict.word, words in verdict.sentence) == (word, True), verdict.sentence


def test_runs_are_held_against_the_control_of_the_same_seed():
    # far apart between seeds, the same difference within each
    model, control = ([Effect(base + own, 0.01, 9) for base in (0.1, 0.5, 0.9)] for own in (0.2, 0.1))
    assert judge(CLAIM, model, control).word == "pass"
    assert "no difference" in judge(CLAIM, model, control[::-1]).sentence


def test_the_interval_over_runs_is_that_of_student():
    interval = interval_over_runs([0.2, 0.4, 0.6, 0.8])
    assert interval.mean == pytest.approx(0.5)
    assert interval.high - 0.5 == pytest.approx(3.1824 * 0.2581989 / 2, rel=1e-5)
