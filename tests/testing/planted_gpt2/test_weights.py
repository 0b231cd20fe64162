"""Where the weights of checkpoints differ."""

from __future__ import annotations

import numpy as np

from actlas.testing.planted_gpt2.plan import ModelPlan
from actlas.testing.planted_gpt2.weights import weights_of

PLAN = ModelPlan()


def test_checkpoints_differ_in_the_detectors_alone() -> None:
    first, *others = [weights_of(PLAN, step) for step in PLAN.steps]
    for other in others:
        differ = {name for name, values in first.items() if not np.array_equal(values, other[name])}
        assert differ == {f"transformer.h.1.mlp.{name}" for name in ("c_fc.weight", "c_fc.bias", "c_proj.weight")}
