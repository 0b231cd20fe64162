"""Memory that processes share: texts there, values back, nothing left."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actlas.extract.backends.base import Capture
from actlas.extract.backends.vllm import shared_block
from actlas.extract.backends.vllm.shared_block import SharedBlock, capture_from_json, capture_to_json
from actlas.store.values import BlockValues

LISTS = [[5, 6, 7], [5, 6], [8]]
CAPTURE = Capture(
    sites=("mlp_pre",), token_sites=("resid",), count_sites=("mlp_pre",), dtype="bfloat16", n_languages=2, max_tokens=8
)
MIXED = replace(CAPTURE, site_dtypes={"resid": "float32"})
SHAPES = {"mlp_pre": (2, 6), "resid": (2, 4)}


def values_of(neurons, rng, n_sampled=1):
    """What one rank gives."""
    n = len(neurons["mlp_pre"])
    return BlockValues(
        cubes={"mlp_pre": rng.integers(0, 99, (2, 3, n)).astype(np.uint16).transpose(0, 2, 1)},
        tokens={"resid": rng.integers(0, 99, (2, n_sampled, len(neurons["resid"]))).astype(np.uint16)},
        counts={"mlp_pre": rng.integers(0, 99, (2, 2, n))},
        n_tokens=np.array([4, 2]),
        loss_sum=1.5,
        loss_tokens=3,
    )


def test_a_capture_survives_the_way():
    for capture in (MIXED, CAPTURE, Capture(sites=(), count_sites=("resid",), count_thresholds=(0.0, 2.0), pad_to=4)):
        assert capture_from_json(capture_to_json(capture)) == capture


@pytest.mark.parametrize("is_special", [None, np.array([True, False, False, True, False, False])])
def test_texts_come_out_as_they_went_in(blocks, is_special):
    block = blocks(LISTS, language=[0, 0, 1], is_special=is_special, sampled=[(0, 1)])
    shared = SharedBlock.create(CAPTURE, SHAPES, block)
    other = SharedBlock.open(shared.to_json())
    shared.close()
    for name, value in vars(block).items():
        read = getattr(other.texts(), name)
        assert read is None if value is None else (np.array_equal(read, value) and read.dtype == value.dtype), name


def test_ranks_put_their_neurons_side_by_side(blocks):
    shared = SharedBlock.create(CAPTURE, SHAPES, blocks(LISTS, language=[0, 0, 1], sampled=[(0, 1)]))
    rng = np.random.default_rng(0)
    shares = [
        {"mlp_pre": np.array([0, 1, 4]), "resid": np.array([0, 1])},
        {"mlp_pre": np.array([3, 2, 5]), "resid": np.array([2, 3])},
    ]
    parts = [values_of(share, rng) for share in shares]
    for share, part in zip(shares, parts, strict=True):
        SharedBlock.open(shared.to_json()).fill(part, share)
    shared.close()
    both = shared.values(CAPTURE, [4, 2], 1.5, 3)
    for share, part in zip(shares, parts, strict=True):
        assert np.array_equal(both.cubes["mlp_pre"][:, share["mlp_pre"]], part.cubes["mlp_pre"])
        assert np.array_equal(both.tokens["resid"][..., share["resid"]], part.tokens["resid"])
        assert np.array_equal(both.counts["mlp_pre"][..., share["mlp_pre"]], part.counts["mlp_pre"])
    assert (both.n_tokens.tolist(), both.loss_sum, both.loss_tokens) == ([4, 2], 1.5, 3)
    assert both.cubes["mlp_pre"].dtype == np.uint16
    # text-major under its view, as a stage gives it
    assert both.cubes["mlp_pre"].transpose(0, 2, 1).flags.c_contiguous


def test_each_site_has_room_in_its_own_dtype(blocks):
    values = SharedBlock.create(MIXED, SHAPES, blocks(LISTS, sampled=[(0, 1)])).values(MIXED, [4, 2], 1.5, 3)
    assert (values.cubes["mlp_pre"].dtype, values.tokens["resid"].dtype) == (np.uint16, np.float32)


def test_another_process_writes_what_this_one_reads(blocks):
    shared = SharedBlock.create(CAPTURE, SHAPES, blocks(LISTS))
    code = """
        import sys
        from actlas.extract.backends.vllm.shared_block import SharedBlock
        block = SharedBlock.open(sys.argv[1])
        block.array("cube.mlp_pre")[:] = block.texts().n_texts
    """
    subprocess.run([sys.executable, "-c", "\n".join(map(str.strip, code.split("\n"))), shared.to_json()], check=True)
    shared.close()
    assert (shared.values(CAPTURE, [0, 0], 0.0, 0).cubes["mlp_pre"] == 3).all()


def test_nothing_sampled_and_nothing_captured_is_no_trouble(blocks):
    for capture in (CAPTURE, Capture(sites=())):
        shared = SharedBlock.create(capture, SHAPES, blocks(LISTS))
        assert shared.values(capture, [0, 0], 0.0, 0).tokens.keys() == set(capture.token_sites)
        shared.close()


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_memory_goes_with_the_block_and_values_outlive_it(blocks, platform, monkeypatch, tmp_path):
    monkeypatch.setattr(shared_block.sys, "platform", platform)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(shared_block.tempfile, "tempdir", None)
    shared = SharedBlock.create(CAPTURE, SHAPES, blocks(LISTS))
    place = shared.to_json()
    values = shared.values(CAPTURE, [0, 0], 0.0, 0)
    shared.close()
    shared.close()
    values.cubes["mlp_pre"][:] = 7
    assert (values.cubes["mlp_pre"] == 7).all()
    assert not list(Path(tmp_path).iterdir())
    with pytest.raises(FileNotFoundError):
        SharedBlock.open(place)
