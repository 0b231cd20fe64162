"""Files of others become sites, layers and neurons of this model, and only where the weights are known to be its own."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

from actlas.errors import NeuronSetError, WeightsDiffer
from actlas.intervene import load_live, read_neurons
from actlas.intervene.live import LiveModel

LLAMA = LlamaConfig(
    vocab_size=11, hidden_size=8, intermediate_size=6, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
)
PHI = Phi3Config(
    vocab_size=11,
    hidden_size=8,
    intermediate_size=6,
    num_hidden_layers=2,
    num_attention_heads=4,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
GPT2 = GPT2Config(vocab_size=11, n_embd=8, n_layer=2, n_head=2, n_positions=16)


def loaded(tmp_path_factory, model) -> LiveModel:
    folder = tmp_path_factory.mktemp("models") / type(model).__name__
    model.save_pretrained(folder)
    return load_live(folder, device="cpu")


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> LiveModel:
    return loaded(tmp_path_factory, LlamaForCausalLM(LLAMA))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> LiveModel:
    return loaded(tmp_path_factory, GPT2LMHeadModel(GPT2))


def expertise(folder, rows):
    """A file as ml-selfcond writes it."""
    columns = ("ap", "off_mean", "on_p50", "on_p90", "layer", "unit", "uuid", "concept", "group")
    full = [(ap, 0.0, p50, 2 * p50, layer, unit, i, "water", "sense") for i, (ap, p50, layer, unit) in enumerate(rows)]
    pl.DataFrame(full, schema=columns, orient="row").write_csv(folder / "expertise.csv")
    return folder / "expertise.csv"


def places(frame):
    return frame.select("site", "layer", "neuron").rows()


def test_the_best_units_of_selfcond_are_neurons_of_gpt2(tmp_path, gpt2):
    file = expertise(
        tmp_path,
        [
            (0.5, 1.0, "transformer.h.0.attn.c_attn:0", 23),
            (0.9, 2.0, "transformer.h.1.mlp.c_fc:0", 31),
            (0.7, 3.0, "transformer.h.1.attn.c_proj:0", 7),
            (0.7, 4.0, "transformer.h.0.mlp.c_proj:0", 7),
        ],
    )
    frame = read_neurons(file, gpt2, any_weights=True, k=3)
    assert places(frame) == [("mlp_pre", 1, 31), ("attn_out", 1, 7), ("mlp_out", 0, 7)]
    assert frame["value"].to_list() == [2.0, 3.0, 4.0]
    assert frame["concept"].unique().to_list() == ["water"]
    assert read_neurons(file, gpt2, any_weights=True, value="on_p90")["value"].to_list() == [2.0, 4.0, 6.0, 8.0]


def test_units_of_projections_stand_side_by_side_in_one_site(tmp_path, llama):
    names = [f"model.layers.1.self_attn.{name}_proj:0" for name in "qkv"]
    frame = read_neurons(expertise(tmp_path, [(0.5, 1.0, name, 3) for name in names]), llama, any_weights=True)
    # queries are 8 wide, keys and values 4
    assert places(frame) == [("attn_qkv", 1, 3), ("attn_qkv", 1, 11), ("attn_qkv", 1, 15)]
    with pytest.raises(NeuronSetError, match=r"unit 4 of model.layers.0.self_attn.k_proj:0, which has 4"):
        read_neurons(expertise(tmp_path, [(0.5, 1.0, "model.layers.0.self_attn.k_proj:0", 4)]), llama, any_weights=True)


def test_units_of_a_fused_gate_and_up_are_of_two_sites(tmp_path, tmp_path_factory):
    live = loaded(tmp_path_factory, Phi3ForCausalLM(PHI))
    units = [(0.5, 1.0, "model.layers.0.mlp.gate_up_proj:0", unit) for unit in (5, 6, 11)]
    frame = read_neurons(expertise(tmp_path, units), live, any_weights=True)
    assert sorted(places(frame)) == [("mlp_pre", 0, 5), ("mlp_up", 0, 0), ("mlp_up", 0, 5)]


@pytest.mark.parametrize("name", ["model.layers.0.mlp.gate_proj:1", "model.layers.2.mlp.gate_proj:0", "lm_head:0"])
def test_a_module_that_is_no_site_is_refused(tmp_path, llama, name):
    with pytest.raises(NeuronSetError, match="gives the neurons of no site"):
        read_neurons(expertise(tmp_path, [(0.5, 1.0, name, 0)]), llama, any_weights=True)


def test_published_sets_are_set_to_zero_behind_the_activation_function(tmp_path, llama):
    torch.save(
        [[torch.tensor([0, 5]), torch.tensor([2])], [torch.tensor([1]), torch.tensor([]).long()]], tmp_path / "x.neuron.pth"
    )
    frame = read_neurons(tmp_path / "x.neuron.pth", llama, languages=["fr", "en"], any_weights=True)
    assert frame.select("language", "site", "layer", "neuron", "value").rows() == [
        ("fr", "mlp_hidden", 0, 0, 0.0),
        ("fr", "mlp_hidden", 0, 5, 0.0),
        ("fr", "mlp_hidden", 1, 2, 0.0),
        ("en", "mlp_hidden", 0, 1, 0.0),
    ]
    with pytest.raises(NeuronSetError, match="name them, in the order of the file"):
        read_neurons(tmp_path / "x.neuron.pth", llama, any_weights=True)
    torch.save([[torch.tensor([6]), torch.tensor([2])]], tmp_path / "wide.neuron.pth")
    with pytest.raises(NeuronSetError, match="names neuron 6"):
        read_neurons(tmp_path / "wide.neuron.pth", llama, languages=["fr"], any_weights=True)


ROW = {"site": ["mlp_pre"], "layer": [1], "neuron": [3], "value": [2.5]}


@pytest.mark.parametrize("where", ["column", "metadata"])
def test_the_weights_that_a_file_names_have_to_be_those_of_the_model(tmp_path, llama, where, caplog):
    for named, file in ((llama.weight_hash, tmp_path / "same.parquet"), ("b" * 64, tmp_path / "other.parquet")):
        columns = {"weight_hash": [named]} if where == "column" else {}
        pl.DataFrame({**ROW, **columns}).write_parquet(file, metadata=None if columns else {"weight_hash": named})
    same = read_neurons(tmp_path / "same.parquet", llama)
    assert same["weight_hash"].to_list() == [llama.weight_hash]
    assert len(same["digest"][0]) == 64
    with pytest.raises(WeightsDiffer, match=r"is of other weights \(b{12}\).*--any-weights"):
        read_neurons(tmp_path / "other.parquet", llama)
    assert "weight_hash" not in read_neurons(tmp_path / "other.parquet", llama, any_weights=True).columns
    assert "is of other weights" in caplog.text


def test_a_file_that_names_no_weights_is_taken_only_where_that_is_said(tmp_path, llama):
    pl.DataFrame(ROW).write_csv(tmp_path / "a.csv")
    with pytest.raises(NeuronSetError, match="does not say which weights its neurons are of"):
        read_neurons(tmp_path / "a.csv", llama)
    assert places(read_neurons(tmp_path / "a.csv", llama, any_weights=True)) == [("mlp_pre", 1, 3)]
    pl.DataFrame({**{name: [*cell, *cell] for name, cell in ROW.items()}, "weight_hash": [llama.weight_hash, None]}).write_csv(
        tmp_path / "b.csv"
    )
    with pytest.raises(WeightsDiffer, match="is of other weights"):
        read_neurons(tmp_path / "b.csv", llama)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({**ROW, "value": [float("nan")]}, "no finite number"),
        ({**ROW, "value": [None]}, "no finite number"),
        ({**ROW, "layer": ["one"]}, "cells of the wrong kind"),
        ({name: cell * 2 for name, cell in ROW.items()}, "names neuron mlp_pre/1/3 twice"),
        ({name: cell for name, cell in ROW.items() if name != "value"}, "has no column value"),
        ({"layer": [0], "unit": [0], "on_p50": [1.0]}, "gives the neurons of no site"),
    ],
)
def test_what_is_no_table_of_neurons_is_refused(tmp_path, llama, columns, message):
    pl.DataFrame(columns).write_csv(tmp_path / "a.csv")
    with pytest.raises(NeuronSetError, match=message):
        read_neurons(tmp_path / "a.csv", llama, any_weights=True)


@pytest.mark.parametrize(
    ("name", "data"), [("a.parquet", b"PAR1"), ("a.safetensors", b"\0" * 9), ("a.neuron.pth", b"PK"), ("a.txt", b"")]
)
def test_files_of_another_kind_are_refused(tmp_path, llama, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(NeuronSetError):
        read_neurons(tmp_path / name, llama, languages=["fr"], any_weights=True)
    with pytest.raises(NeuronSetError, match="cannot be read: No such file"):
        read_neurons(tmp_path / f"no-{name}", llama, any_weights=True)
    pl.DataFrame(ROW).write_csv(tmp_path / "c.csv")
    with pytest.raises(NeuronSetError, match="no column ap"):
        read_neurons(tmp_path / "c.csv", llama, any_weights=True, k=2)
