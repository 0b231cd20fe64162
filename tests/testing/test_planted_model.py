"""The planted model: what can be planted, where checkpoints differ, and that the model writes what it is made to write.

Whether the whole path finds what is planted is `tests/test_truth.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from actlas.testing import ModelPlan, planted_model

PLAN = ModelPlan()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_model(tmp_path_factory.mktemp("plan") / "planted", PLAN)


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


def test_checkpoints_differ_in_the_detectors_alone(folder: Path) -> None:
    first, *others = [load_file(folder / f"step-{step}" / "model.safetensors") for step in PLAN.steps]
    for other in others:
        differ = {name for name, values in first.items() if not np.array_equal(values, other[name])}
        assert differ == {f"transformer.h.1.mlp.{name}" for name in ("c_fc.weight", "c_fc.bias", "c_proj.weight")}


def test_the_same_plan_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    again = planted_model(tmp_path / "again", PLAN)
    assert torch.equal(torch.get_rng_state(), state)
    for step in PLAN.steps:
        files = [path / f"step-{step}" / "model.safetensors" for path in (folder, again)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_no_neuron_has_two_parts() -> None:
    for step in PLAN.steps:
        experts = PLAN.experts(step).unique(["neuron", "concept", pl.when("is_shared").then(None).otherwise("language")])
        assert experts["neuron"].n_unique() == experts.height
    assert PLAN.language_neurons["neuron"].is_unique().all()


def test_a_sentence_goes_on_about_its_noun(folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "step-64")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "step-64").eval()
    for language, words in (("en", "here my {} falls. my"), ("fr", "ici mon {} tombe. mon")):
        for concept in PLAN.concepts:
            noun = PLAN.words()[concept][language]
            ids = tokenizer(words.format(noun), return_tensors="pt").input_ids
            said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False)
            assert tokenizer.decode(said[0, ids.shape[1] - 1 :]).split()[-1] == noun
