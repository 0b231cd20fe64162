"""What a run says of values that were kept otherwise than they were, or that say nothing; and what the store keeps of it."""

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

import actlas
from actlas.errors import TableNotFound
from actlas.extract.run.health import is_same_trouble
from actlas.names import TokenSample
from actlas.query.atlas import open_store
from actlas.store.integrity import verify
from actlas.store.layout import HEALTH_FILE
from actlas.store.store import Store
from tests.extract.runs import extract, scaled

NO_VECTORS = {"token_sample": TokenSample(per_text=0)}


def health_lines(summary):
    return [line for line in summary.warnings if "guess" not in line]


def with_a_sink(folder, target):
    """A copy of a checkpoint whose first token outshines all others in some neurons."""
    scaled(folder, target, "model.norm.weight", 1.0)
    tensors = load_file(target / "model.safetensors")
    towards = torch.randn(24, generator=torch.Generator().manual_seed(5))
    tensors["model.embed_tokens.weight"][1] = 30 * towards
    for layer in range(2):
        tensors[f"model.layers.{layer}.mlp.gate_proj.weight"][:25] += 3 * towards / towards.norm()
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("kinds", [False, ("moments",)], ids=["cube", "states"])
def test_constant_neurons_are_counted_and_the_way_out_is_named(dtype, kinds, tiny_models, small_corpus, tmp_path):
    folder = with_a_sink(tiny_models("qwen2"), tmp_path / "m")
    shares = {}
    for special in ("pool", "run"):
        options = {"sites": ["mlp_pre"], "special_tokens": special, "dtype": dtype, **NO_VECTORS}
        if kinds:
            options |= {"stats_only": kinds, "token_sample": None}
        summary = extract(folder, small_corpus, tmp_path / special, **options)
        shares[special] = float(open_store(tmp_path / special).sql("SELECT avg(is_constant::INT) FROM neuron_health").item())
        said = [line for line in health_lines(summary) if "one value for all texts" in line]
        assert bool(said) == (shares[special] >= 0.01)
    assert shares["pool"] > 0.2 > 0.01 > shares["run"]
    extract(folder, small_corpus, tmp_path / "cube", sites=["mlp_pre"], dtype=dtype)
    values = np.stack([np.asarray(actlas.open_store(tmp_path / "cube").cube("m", "mlp_pre").read(i), float) for i in (0, 1)])
    assert np.isclose(shares["pool"], (np.ptp(values, -1) <= 1e-5 * abs(values).max(-1)).mean())


def test_the_warning_names_the_share_and_the_option(tiny_models, small_corpus, tmp_path):
    folder = with_a_sink(tiny_models("qwen2"), tmp_path / "m")
    (line,) = health_lines(extract(folder, small_corpus, tmp_path / "s", sites=["mlp_pre"], **NO_VECTORS))
    assert line.startswith("m: neurons with one value for all texts, which rank nothing: ")
    assert "% of mlp_pre (see table neuron_health); a token that the tokenizer adds gives " in line
    assert line.endswith("special_tokens run leaves such tokens out, in a new store")


def test_texts_decided_by_a_special_token_are_those_of_a_run_without_them(tiny_models, small_corpus, tmp_path):
    for special in ("pool", "run"):
        extract(tiny_models("llama"), small_corpus, tmp_path / special, dtype="float32", special_tokens=special)
    values = {name: np.asarray(Store(tmp_path / name).cube("llama", "mlp_pre").read()) for name in ("pool", "run")}
    frame = open_store(tmp_path / "pool").sql("SELECT * FROM neuron_health WHERE site = 'mlp_pre' ORDER BY layer, neuron")
    decided = (values["pool"] > values["run"] + 1e-6 * abs(values["run"])).mean(-1)
    assert 0.01 < decided.mean() < 0.9
    np.testing.assert_allclose(frame["share_special"].to_numpy().reshape(decided.shape), decided, atol=1 / 44 + 1e-6)
    np.testing.assert_array_equal(frame["high"].to_numpy().reshape(decided.shape), values["pool"].max(-1))
    np.testing.assert_array_equal(frame["low"].to_numpy().reshape(decided.shape), values["pool"].min(-1))
    assert (open_store(tmp_path / "run").sql("SELECT max(share_special) FROM neuron_health").item()) == 0
    extract(tiny_models("llama"), small_corpus, tmp_path / "mean", pooling="mean")
    assert open_store(tmp_path / "mean").sql("SELECT count(share_special) FROM neuron_health").item() == 0


def test_values_too_small_for_their_dtype_are_told_before_and_kept_in_the_record(tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models("qwen2"), tmp_path / "m", "model.layers.1.self_attn.o_proj.weight", 1e-9)
    seen, options = [], {"sites": ["attn_out", "resid"], **NO_VECTORS}
    summary = extract(folder, small_corpus, tmp_path / "s", dtype="float16", progress=seen.append, **options)
    (line,) = [line for line in summary.warnings if "so small" in line]
    assert line.startswith("m: values of attn_out are so small that float16 keeps many as 0 or with fewer bits")
    assert line.endswith("in layer 1); dtype float32 or bfloat16 keeps them, in a new store")
    assert [report.stage for report in seen if report.warning == line] == ["check"]
    lost = Store(tmp_path / "s").snapshot().checkpoints["m"].health["attn_out"].lost_by_layer
    assert lost[0] < 0.01 < 0.99 < lost[1] <= 1
    shares = open_store(tmp_path / "s").sql("SELECT layer, avg(share_lost) FROM neuron_health WHERE site = 'attn_out' GROUP BY 1")
    assert dict(shares.rows()) == pytest.approx(dict(enumerate(lost)), abs=1e-6)
    quiet = extract(folder, small_corpus, tmp_path / "q", dtype="float16", lost_share=1, **options)
    assert not [line for line in quiet.warnings if "small" in line]
    for dtype in ("float32", "bfloat16", "auto"):
        summary = extract(folder, small_corpus, tmp_path / dtype, dtype=dtype, **options)
        assert not [line for line in summary.warnings if "so small" in line]


def test_numbers_of_token_vectors_are_watched_too(tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models("qwen2"), tmp_path / "m", "model.embed_tokens.weight", 1e-9)
    options = {"sites": ["mlp_pre"], "token_sample": TokenSample(per_text=2, sites=("embed",))}
    summary = extract(folder, small_corpus, tmp_path / "s", dtype="float16", **options)
    assert any(line.startswith("m: token vectors of embed are so small that float16 keeps") for line in summary.warnings)
    (share,) = Store(tmp_path / "s").snapshot().checkpoints["m"].health["embed"].lost_vectors_by_layer
    assert share == pytest.approx(1)
    for dtype in ("float32", "auto"):
        summary = extract(folder, small_corpus, tmp_path / dtype, dtype=dtype, **options)
        assert not any("token vectors" in line for line in summary.warnings)


def test_sums_in_fixed_steps_lose_what_float32_holds(tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models("qwen2"), tmp_path / "m", "model.layers.1.self_attn.o_proj.weight", 1e-9)
    options = {"sites": ["attn_out"], "dtype": "float32"}
    summary = extract(folder, small_corpus, tmp_path / "s", stats_only=("moments",), **options)
    (line,) = [line for line in summary.warnings if "so small" in line]
    assert "are so small that sums in steps of 2^-24 keep many as 0" in line
    assert line.endswith("keep a cube in float32")
    summary = extract(folder, small_corpus, tmp_path / "codes", stats_only=("histogram",), **options)
    assert not [line for line in summary.warnings if "so small" in line]


def test_an_outlier_that_uses_up_the_codes_is_told_with_what_it_costs(tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models("qwen2"), tmp_path / "m", "model.norm.weight", 1.0)
    tensors = load_file(folder / "model.safetensors")
    plain = extract(folder, small_corpus, tmp_path / "plain", sites=["resid"], stats_only=("histogram",), fidelity_texts=0)
    assert not any("256 codes" in line for line in plain.warnings)
    ids = pl.read_parquet(tmp_path / "plain" / "corpus" / "tokens.parquet")["token_ids"]
    # the token that fewest texts have is made far larger than any other
    rare = int(ids.explode().value_counts().sort("count", "token_ids")["token_ids"][0])
    tensors["model.embed_tokens.weight"][rare] *= 3000 * torch.sign(tensors["model.embed_tokens.weight"][rare])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    summary = extract(folder, small_corpus, tmp_path / "s", sites=["resid"], stats_only=("histogram",), fidelity_texts=0)
    (line,) = [line for line in summary.warnings if "256 codes" in line]
    assert "of the neurons of resid have more than half of their texts in one of 256 codes" in line
    short = Store(tmp_path / "s").snapshot().checkpoints["m"].health["resid"]
    frame = open_store(tmp_path / "s").sql("SELECT * FROM neuron_health")
    assert frame["n_codes"].max() < 256
    assert short.ap_slack[0] == pytest.approx(frame["ap_slack"].max())
    assert short.ap_slack[1] > 0.05 > Store(tmp_path / "plain").snapshot().checkpoints["m"].health["resid"].ap_slack[1]


def test_a_run_in_parts_notes_the_same(tiny_models, small_corpus, tmp_path):
    extract(tiny_models("llama"), small_corpus, tmp_path / "whole")
    for part in ((1, 2), (2, 2)):
        extract(tiny_models("llama"), small_corpus, tmp_path / "parts", part=part)
    files = [(tmp_path / name / "manifests" / "llama" / HEALTH_FILE).read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]
    assert not list((tmp_path / "parts" / "manifests" / "llama" / "blocks").glob("*.npy"))


def test_blocks_of_earlier_versions_leave_the_table_out(tiny_models, small_corpus, tmp_path):
    extract(tiny_models("llama"), small_corpus, tmp_path / "s", part=(1, 2))
    for file in (tmp_path / "s" / "manifests" / "llama" / "blocks").glob("*.health.npy"):
        file.unlink()
    extract(tiny_models("llama"), small_corpus, tmp_path / "s")
    store = open_store(tmp_path / "s")
    assert store.checkpoints == ["llama"]
    with pytest.raises(TableNotFound, match="table neuron_health was not computed yet"):
        store.sql("SELECT * FROM neuron_health")


def test_the_same_trouble_is_told_once():
    line = "m: values of resid are so small that float16 keeps many as 0 (more than {} in layer 1); dtype float32 keeps them"
    assert is_same_trouble(line.format("1%"), line.format("10%"))
    assert not is_same_trouble(line.format("1%"), line.format("1%").replace("resid", "embed"))
    assert is_same_trouble("a", "a")
    assert not is_same_trouble("a", "b")


def test_the_table_is_verified_with_the_store(tiny_models, small_corpus, tmp_path):
    extract(tiny_models("llama"), small_corpus, tmp_path / "s")
    assert verify(tmp_path / "s").damage == ()
    file = tmp_path / "s" / "manifests" / "llama" / HEALTH_FILE
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    assert verify(tmp_path / "s").damage == (f"manifests/llama/{HEALTH_FILE}: it does not hold what was committed",)
