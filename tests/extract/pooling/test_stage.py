"""The values of a block on the device, checked and handed over."""

import numpy as np
import pytest
import torch

from actlas.errors import NotFiniteValues
from actlas.extract.pooling import stage as stage_module
from actlas.extract.pooling.stage import BlockStage, Check, Column


def stage_of(block, values, checks=(), **rest):
    return BlockStage(
        block,
        cubes={"gate": values},
        tokens={},
        counts={},
        n_tokens=np.zeros(1, dtype=np.int64),
        loss_sum=torch.zeros((), dtype=torch.float64),
        checks=list(checks),
        **rest,
    )


@pytest.fixture
def block(blocks):
    return blocks([[1], [2], [3]])


def check_of(values, rows, layer=0):
    computed = values[layer, rows].float()
    return Check(Column("gate", layer, 0, values.shape[2]), True, torch.as_tensor(rows), torch.stack(torch.aminmax(computed)))


def test_values_come_text_major_under_the_view_of_the_store(block):
    values = torch.arange(24.0).view(2, 3, 4)
    cube = stage_of(block, values).collect().cubes["gate"]
    assert cube.shape == (2, 4, 3)
    assert np.array_equal(cube, values.transpose(1, 2).numpy())
    assert np.shares_memory(cube, values.numpy())


def test_bfloat16_comes_as_its_bits(block):
    values = torch.tensor([[[1.0], [2.0], [-1.0]]], dtype=torch.bfloat16)
    cube = stage_of(block, values).collect().cubes["gate"]
    assert cube.dtype == np.uint16
    assert cube[0, 0].tolist() == [0x3F80, 0x4000, 0xBF80]


def test_a_value_that_is_not_finite_is_named_by_text_layer_and_neuron(block):
    values = torch.zeros(2, 3, 4)
    values[1, 2, 3] = torch.nan
    checks = [check_of(values, [0, 1, 2]), check_of(values, [0, 2], layer=1)]
    with pytest.raises(NotFiniteValues, match="gave NaN or infinity: text 20, site gate, layer 1, neuron 3; the checkpoint"):
        stage_of(block, values, checks).collect()
    # a rank that holds some of the neurons says which of all it was
    with pytest.raises(NotFiniteValues, match="neuron 13;"):
        stage_of(block, values, checks, neurons={"gate": np.array([10, 11, 12, 13])}).collect()


def test_a_value_beyond_the_stored_dtype_is_told_apart_from_a_broken_model(block):
    computed = torch.zeros(1, 3, 1)
    computed[0, 1, 0] = 1e6
    check = check_of(computed, [0, 1, 2])
    with pytest.raises(
        NotFiniteValues, match=r"float16 \(its limit is 65,504\): text 10, .* the same run with dtype gate=float32"
    ):
        stage_of(block, computed.half(), [check]).collect()
    assert stage_of(block, computed, [check]).collect().cubes["gate"].max() == 1e6


def test_losses_of_parts_add_up(block, monkeypatch):
    logits, targets = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), torch.arange(7) % 5
    expected = float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
    for n_at_once in (512, 3):
        monkeypatch.setattr(stage_module, "_LOGITS_AT_ONCE", n_at_once)
        stage = stage_of(block, torch.zeros(1, 3, 1))
        stage.add_loss(lambda part: logits[part], targets)
        assert stage.collect().loss_sum == pytest.approx(expected, rel=1e-6)
        assert stage.loss_tokens == 7


def test_a_rank_without_logits_counts_the_tokens_alone(block):
    stage = stage_of(block, torch.zeros(1, 3, 1))
    stage.add_loss(lambda _: None, torch.arange(4))
    assert (stage.collect().loss_sum, stage.loss_tokens) == (0.0, 4)
