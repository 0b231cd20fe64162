"""What becomes of a checkpoint that is not wanted."""

from __future__ import annotations

import pytest

from actlas.errors import (
    ExtractionError,
)
from actlas.store.store import Store
from tests.extract.runs import extract, scaled


def test_broken_checkpoints_can_be_left_out_before_they_are_extracted(tiny_models, small_corpus, tmp_path):
    scaled(tiny_models("qwen2"), tmp_path / "run" / "step1", "lm_head.weight", 30.0)
    scaled(tiny_models("qwen2"), tmp_path / "run" / "step2", "model.layers.1.mlp.gate_proj.weight", float("nan"))
    scaled(tiny_models("qwen2"), tmp_path / "run" / "step3", "lm_head.weight", 0.01)
    with pytest.raises(ExtractionError, match="run-step1 does worse than guessing: .*; broken = skip leaves it out"):
        extract(tmp_path / "run", small_corpus, tmp_path / "s", broken="refuse")
    assert not (tmp_path / "s").exists()
    for fidelity_texts, name in ((4, "s"), (0, "unchecked")):
        summary = extract(tmp_path / "run", small_corpus, tmp_path / name, broken="skip", fidelity_texts=fidelity_texts)
        assert [result.status for result in summary.checkpoints] == ["skipped", "skipped", "extracted"]
        assert "run-step2 is broken: " in summary.warnings[1]
        assert summary.warnings[1].endswith("it is left out")
        assert Store(tmp_path / name).checkpoints == ["run-step3"]
        assert Store(tmp_path / name).unfinished == {}
