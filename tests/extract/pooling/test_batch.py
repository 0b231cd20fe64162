"""One batch at one capture point into the stage of its block."""

import numpy as np
import pytest
import torch

from actlas.extract.backends.base import Capture
from actlas.extract.pooling.batch import BatchPooler
from actlas.extract.pooling.stage import Column

LISTS = [[1, 2, 3, 4], [5, 6], [7], [8, 9]]
CAPTURE = Capture(
    sites=("gate",), token_sites=("gate",), count_sites=("gate",), count_thresholds=(0.0, 5.0), dtype="float32", n_languages=2
)
SHAPES = {"gate": (1, 2)}


def activations(token_ids):
    """Two neurons: the token, and how far it is from 5."""
    ids = torch.as_tensor(token_ids).float()
    return torch.stack([ids, ids - 5], dim=-1)


def run(block, *, at_once=False, pooling="max", budget=4):
    pooler = BatchPooler(Capture(**{**vars(CAPTURE), "pooling": pooling}), torch.device("cpu"))
    pooler.pools_at_once = at_once
    stage = pooler.begin_block(block, "float32", SHAPES)
    for batch in block.batches(budget, pad_id=99):
        places = pooler.begin_batch(batch, stage)
        # a site of two columns: both are stored apart
        value = activations(batch.token_ids)
        for first in (0, 1):
            pooler.store(Column("gate", 0, first, first + 1), value[..., first : first + 1], places, stage)
    return stage.collect()


@pytest.fixture
def block(blocks):
    return blocks(LISTS, language=[0, 0, 1, 1], sampled=[(0, 2), (3, 1)])


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("budget", [1, 4, 100])
@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_padding_is_neither_pooled_nor_counted(block, pooling, budget, at_once):
    values = run(block, pooling=pooling, budget=budget, at_once=at_once)
    pooled = {"max": max, "mean": np.mean, "last": lambda ids: ids[-1]}[pooling]
    assert values.cubes["gate"][0, 0].tolist() == [pooled(ids) for ids in LISTS]
    assert values.cubes["gate"][0, 1].tolist() == [pooled(ids) - 5 for ids in LISTS]
    # rows: languages within thresholds
    assert values.counts["gate"][:, 0, 0].tolist() == [6, 3, 1, 3]
    assert values.n_tokens.tolist() == [6, 3]


@pytest.mark.parametrize("at_once", [False, True])
def test_special_tokens_inside_a_text_are_left_out(blocks, at_once):
    is_special = np.zeros(9, dtype=bool)
    is_special[[1, 3]] = True
    values = run(blocks(LISTS, language=[0, 0, 1, 1], is_special=is_special), at_once=at_once)
    assert values.cubes["gate"][0, 0].tolist() == [3, 6, 7, 9]
    assert values.n_tokens.tolist() == [4, 3]


def test_sampled_tokens_keep_their_vectors(block):
    assert run(block).tokens["gate"][0].tolist() == [[3, -2], [9, 4]]


def test_a_sample_of_several_tokens_is_their_mean(blocks):
    block = blocks(LISTS, language=[0, 0, 1, 1], sampled=[(0, 1), (3, 0)])
    block.sampled_lengths[:] = [3, 2]
    assert run(block).tokens["gate"][0].tolist() == [[3, -2], [8.5, 3.5]]
