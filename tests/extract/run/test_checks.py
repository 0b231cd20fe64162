"""What is found of a checkpoint before anything of it is written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actlas.errors import (
    ExtractionError,
    FidelityError,
    NotFiniteValues,
)
from actlas.extract.backends import agreement
from actlas.extract.pooling import stage
from actlas.names import TokenSample
from actlas.store.store import Store
from tests.extract.runs import extract, scaled


@pytest.mark.parametrize("options", [{}, {"fidelity_texts": 0}, {"sites": ["mlp_hidden"], "stats_only": True}])
def test_a_broken_checkpoint_is_reported_before_it_is_extracted(options, tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models("qwen2"), tmp_path / "m", "lm_head.weight", 30.0)
    seen = []
    summary = extract(folder, small_corpus, tmp_path / "s", progress=seen.append, **options)
    (line,) = summary.warnings
    assert line.startswith("m does worse than guessing: ")
    said = [report.stage for report in seen if report.warning]
    assert said == ["check"]


def test_a_model_that_batches_change_is_refused(tiny_models, small_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "_ROUNDOFF", {"float32": 2.0**-60})
    with pytest.raises(
        FidelityError, match="8 texts run together differ from the same texts run alone, in float32, by .* not be batched"
    ):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_values_beyond_the_stored_dtype_are_refused_by_name(tiny_models, small_corpus, tmp_path):
    name = "model.layers.1.mlp.gate_proj.weight"
    folder = scaled(tiny_models("llama"), tmp_path / "big", name, 1e6)
    with pytest.raises(NotFiniteValues, match=r"too large for float16 .*: text \d+, site mlp_pre, layer 1, neuron \d+"):
        extract(folder, small_corpus, tmp_path / "s", dtype="float16")
    assert not (tmp_path / "s").exists()
    sample = TokenSample(sites=("resid",))
    folder = scaled(tiny_models("llama"), tmp_path / "resid", "model.layers.1.mlp.down_proj.weight", 1e7)
    with pytest.raises(NotFiniteValues, match="too large for float16"):
        extract(folder, small_corpus, tmp_path / "t", dtype="float16", sites=["mlp_pre"], token_sample=sample)


def test_nan_out_of_a_model_is_refused_by_name(tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models("llama"), tmp_path / "nan", "model.layers.1.mlp.gate_proj.weight", float("nan"))
    with pytest.raises(NotFiniteValues, match=r"NaN or infinity: text \d+, site mlp_pre, layer 1, neuron 0"):
        extract(folder, small_corpus, tmp_path / "s")


@pytest.mark.parametrize(
    ("family", "tensor"),
    [
        ("llama", "model.norm.weight"),
        ("llama", "model.layers.1.mlp.down_proj.weight"),
        ("qwen2", "lm_head.weight"),
        ("bert", "bert.encoder.layer.1.output.dense.weight"),
        ("xlm_roberta", "roberta.encoder.layer.1.output.LayerNorm.bias"),
    ],
)
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_what_is_no_number_behind_the_sites_is_broken(family, tensor, value, tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models(family), tmp_path / "m", tensor, float(value))
    options = {"sites": ["mlp_pre"], "token_sample": TokenSample(per_text=0)}
    with pytest.raises(ExtractionError, match="m (has a loss of|gives NaN or infinity).*; broken = skip leaves it out"):
        extract(folder, small_corpus, tmp_path / "s", broken="refuse", loss_texts=0, **options)
    assert not (tmp_path / "s").exists()
    summary = extract(folder, small_corpus, tmp_path / "s", **options)
    assert any("the checkpoint may be broken" in line for line in summary.warnings)
    (result,) = summary.checkpoints
    assert result.sanity_loss is None
    assert Store(tmp_path / "s").checkpoint("m")["no_loss"] is not None


def test_a_loss_that_is_no_number_in_a_later_block_is_refused(tiny_models, small_corpus, tmp_path, monkeypatch):
    folder = scaled(tiny_models("qwen2"), tmp_path / "m", "lm_head.weight", 0.01)
    collect = stage.BlockStage.collect

    def broken_later(self):
        values = collect(self)
        return values if self.is_check else replace(values, loss_sum=float("inf"))

    monkeypatch.setattr(stage.BlockStage, "collect", broken_later)
    with pytest.raises(ExtractionError, match="m has a loss of inf nats per token"):
        extract(folder, small_corpus, tmp_path / "s", broken="refuse")
    assert Store(tmp_path / "s").checkpoints == []
    summary = extract(folder, small_corpus, tmp_path / "s", broken="skip")
    assert [result.status for result in summary.checkpoints] == ["skipped"]
