"""What can be planted."""

from __future__ import annotations

import polars as pl
import pytest

from actlas.testing import ModelPlan

PLAN = ModelPlan()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"shared_from": {"sun": 0}}, "concepts are water, horse"),
        ({"shares": {"en": 1.0}}, "languages, all of which need a share"),
        ({"shared_from": dict.fromkeys(("water", "horse", "cheese", "tree", "boat"), 0)}, "book alone"),
    ],
)
def test_a_plan_that_cannot_be_planted_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ModelPlan(**wrong)


def test_no_neuron_has_two_parts() -> None:
    for step in PLAN.steps:
        experts = PLAN.experts(step).unique(["neuron", "concept", pl.when("is_shared").then(None).otherwise("language")])
        assert experts["neuron"].n_unique() == experts.height
    assert PLAN.language_neurons["neuron"].is_unique().all()
