"""Settings that no run can have are refused, and neither module that holds them loads torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from actlas.errors import OptionError
from actlas.intervene import Forcing, Sampling
from actlas.intervene.generation.settings import TextPlan


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_k": -1}, {"max_new_tokens": 0}]
)
def test_draws_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Sampling(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"k": 0}, {"on_value": "mode"}, {"skip": -1}, {"how": "put"}, {"position": "first"}, {"strength": float("inf")}]
)
def test_forcing_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Forcing(**wrong)


def test_more_draws_begin_with_the_fewer() -> None:
    plan = TextPlan("a", 3)
    assert plan.draws(9)[:5].tolist() == plan.draws(5).tolist()
    assert plan.draws(5).tolist() != TextPlan(None, 3).draws(5).tolist()


def test_torch_is_loaded_by_what_runs_a_model_alone() -> None:
    code = "import sys, actlas.intervene.generation; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
