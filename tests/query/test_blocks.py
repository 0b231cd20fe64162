"""Blocks of neurons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actlas.query import open_store
from actlas.query.blocks import Steps, neuron_blocks, on_host
from actlas.testing.planted import Planting, planted_store


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    planting = Planting(sites={"mlp_pre": (2, 300)}, steps=(0,), sharing=(0.0,), token_sites={}, dtype="bfloat16")
    return planted_store(tmp_path_factory.mktemp("stream") / "a.actlas", planting)


@pytest.mark.parametrize("block_bytes", [1, 128 * 144 * 4, 256 * 144 * 4, 1 << 30])
def test_blocks_make_up_the_cube(path: Path, block_bytes: int) -> None:
    cube = open_store(path).cube("planted-step0", "mlp_pre")
    whole = cube.read()
    seen = np.zeros(whole.shape[:2], dtype=int)
    for block in neuron_blocks(cube, block_bytes=block_bytes):
        np.testing.assert_array_equal(block.values, whole[block.layer, block.neurons])
        assert block.start % 128 == 0
        assert block.values.nbytes <= max(block_bytes, 128 * 144 * 4)
        seen[block.layer, block.neurons] += 1
    assert (seen == 1).all()


def test_some_layers_and_some_texts(path: Path) -> None:
    cube = open_store(path).cube("planted-step0", "mlp_pre")
    blocks = list(neuron_blocks(cube, [1], texts=slice(48, 96)))
    assert [block.layer for block in blocks] == [1]
    np.testing.assert_array_equal(blocks[0].values, cube.read(layer=1, texts=slice(48, 96)))
    assert list(neuron_blocks(cube, [])) == []


def test_answers_come_to_the_host() -> None:
    class Tensor:
        def cpu(self) -> np.ndarray:
            return np.array([1.0])

    assert on_host(Tensor()).tolist() == [1.0]
    assert on_host(np.array([2.0])).tolist() == [2.0]


def test_steps_are_counted_and_reported() -> None:
    calls: list[tuple[int, int, str]] = []
    steps = Steps(lambda *call: calls.append(call), 5)
    steps.add(2, "a")
    steps.add(0, "nothing")
    steps.add(3, "b")
    assert calls == [(2, 5, "a"), (5, 5, "b")]
    Steps(None, 1).add(1, "without a listener")
