import re

import pytest

from actlas.errors import ModelNotLoaded
from actlas.extract.checkpoints.step_names import SCHEMES, find_step


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_every_published_scheme_gives_its_step(scheme):
    assert re.search(scheme.pattern, scheme.example, re.IGNORECASE)
    assert find_step(scheme.example).step == scheme.step


@pytest.mark.parametrize(
    ("name", "step", "base"),
    [
        ("global_step1000", 1000, ""),
        ("global-step-20", 20, ""),
        ("xglm-564M-checkpoint-500", 500, "xglm-564M"),
        ("TinyLlama-1.1B-step-50K-105b", 50_000, "TinyLlama-1.1B"),
        ("TinyLlama-1.1B-intermediate-step-1431k-3T", 1_431_000, "TinyLlama-1.1B-intermediate"),
        ("step1000-tokens4B", 1000, ""),
        ("stage2-ingredient1-step5000-tokens11B", 5000, ""),
        ("olmo-stage1-step1000-tokens4B", 1000, "olmo"),
        ("pythia-70m-step-512", 512, "pythia-70m"),
        ("step64-float16", 64, "step64-float16"),
        ("1.5k", 1500, ""),
        ("runs/checkpoint-5/step64", 64, ""),
        ("STEP=7", 7, ""),
        ("step0", 0, ""),
    ],
)
def test_what_else_a_name_says_is_its_base(name, step, base):
    found = find_step(name)
    assert (found.step, found.base) == (step, base)


@pytest.mark.parametrize(
    "name",
    ["main", "bloom-560m", "7b1", "footstep3", "step", "v1.0", "step1.2", "float16", "2024", "epoch3", "stage1", "tokens4B"],
)
def test_a_number_that_is_no_step_is_none(name):
    assert find_step(name) is None


@pytest.mark.parametrize("name", ["step1000-checkpoint-3", "step10-20k-steps", "iter_5_step6"])
def test_a_name_that_could_mean_several_steps_is_refused(name):
    with pytest.raises(ModelNotLoaded, match="more than one number that could be its training step .* option steps"):
        find_step(name)
