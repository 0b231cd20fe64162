"""The planted checkpoints: one plan, one set of files; and the model writes what it is made to write.

Whether the whole path finds what is planted is `tests/test_truth.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from actlas.testing import ModelPlan, planted_model

PLAN = ModelPlan()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_model(tmp_path_factory.mktemp("plan") / "planted", PLAN)


def test_the_same_plan_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    again = planted_model(tmp_path / "again", PLAN)
    assert torch.equal(torch.get_rng_state(), state)
    for step in PLAN.steps:
        files = [path / f"step-{step}" / "model.safetensors" for path in (folder, again)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_sentence_goes_on_about_its_noun(folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "step-64")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "step-64").eval()
    for language, words in (("en", "here my {} falls. my"), ("fr", "ici mon {} tombe. mon")):
        for concept in PLAN.concepts:
            noun = PLAN.words()[concept][language]
            ids = tokenizer(words.format(noun), return_tensors="pt").input_ids
            said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False)
            assert tokenizer.decode(said[0, ids.shape[1] - 1 :]).split()[-1] == noun
