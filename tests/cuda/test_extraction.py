"""Extraction on devices that are not there: values come back as they do from the CPU, and nothing is left to luck."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actlas.errors import BackendUnavailable, NotFiniteValues
from actlas.extract.backends.base import BackendSettings, Capture
from actlas.extract.backends.hf import backend as hf_backend
from actlas.extract.backends.hf.backend import HfBackend, HfSession, device_named
from actlas.extract.backends.vllm.hooks import FlatReader
from actlas.extract.backends.vllm.rank_slices import engine_points
from actlas.extract.pooling import batch as batch_module
from actlas.extract.pooling import stage as stage_module
from actlas.extract.pooling.batch import BatchPooler
from actlas.extract.pooling.stage import BlockStage, Column
from actlas.extract.pooling.transfer import copy_stream
from actlas.names import Checkpoint
from actlas.store import Store
from tests.cuda.mutate import Mutation
from tests.extract.backends.vllm import test_hooks
from tests.extract.conftest import block_of, corpus_folder, small_corpus, tiny_models  # noqa: F401  fixtures
from tests.extract.runs import extract

CAPTURE = {
    "sites": ("attn_qkv", "mlp_pre", "resid"),
    "token_sites": ("resid",),
    "count_sites": ("mlp_hidden",),
    "count_thresholds": (0.0, 0.5),
    "dtype": "float32",
    "max_tokens": 60,
    "n_languages": 2,
}


def block(*, gaps=False, mean_of=1):
    """Nine texts of two languages; with `gaps`, tokens that are not pooled stand between others that are."""
    rng = np.random.default_rng(0)
    lists = [rng.integers(4, 90, size=size).tolist() for size in rng.integers(3, 20, size=9)]
    is_special = np.concatenate([np.arange(len(ids)) == 1 for ids in lists]) if gaps else None
    texts = block_of(lists, language=[0] * 5 + [1] * 4, sampled=[(row, 0) for row in range(0, 9, 2)], is_special=is_special)
    texts.sampled_lengths[::2] = mean_of
    return texts


def values_on(device, folder, texts, **changes):
    """What a session on `device` hands over, and the session, which is closed."""
    backend = HfBackend(BackendSettings(device=device, tokens_per_batch=60, compute_dtype="float32"))
    session = backend.open(backend.locate(Checkpoint("m", str(folder))), Capture(**{**CAPTURE, **changes}))
    try:
        return session.run_block(texts).collect()
    finally:
        session.close()


def assert_same(found, expected):
    for kind in ("cubes", "tokens", "counts"):
        ours, theirs = getattr(found, kind), getattr(expected, kind)
        assert ours.keys() == theirs.keys()
        for site, values in theirs.items():
            assert ours[site].dtype == values.dtype
            np.testing.assert_allclose(ours[site], values, rtol=1e-5, atol=1e-6, err_msg=f"{kind} {site}")
    assert found.n_tokens.tolist() == expected.n_tokens.tolist()
    assert (found.loss_sum, found.loss_tokens) == (pytest.approx(expected.loss_sum, rel=1e-5), expected.loss_tokens)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "bert"])
def test_a_block_comes_back_with_the_values_of_the_cpu(family, machine, tiny_models):  # noqa: F811
    expected = values_on("cpu", tiny_models(family), block())
    # the second device while the first is the current one
    assert_same(values_on("cuda:1", tiny_models(family), block()), expected)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("pooling", ["max", "mean", "last", "max_with_pad"])
def test_every_pooling(pooling, gaps, machine, tiny_models):  # noqa: F811
    changes = {"pooling": pooling, "pad_to": 24 if pooling == "max_with_pad" else None}
    texts = block(gaps=gaps, mean_of=2)
    expected = values_on("cpu", tiny_models("llama"), texts, **changes)
    assert_same(values_on("cuda", tiny_models("llama"), texts, **changes), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_stored_dtypes(dtype, machine, tiny_models):  # noqa: F811
    found, expected = (values_on(device, tiny_models("llama"), block(), dtype=dtype) for device in ("cuda", "cpu"))
    for site, values in expected.cubes.items():
        assert found.cubes[site].dtype == values.dtype
        # a last digit may differ, and the bits of bfloat16 are in order
        assert np.abs(found.cubes[site].view(np.uint16).astype(int) - values.view(np.uint16)).max() <= 1


def test_the_model_runs_ahead_of_the_host(machine, tiny_models):  # noqa: F811
    """What makes the host wait while a block runs is not ours: transformers looks into the mask of a padded batch."""
    backend = HfBackend(BackendSettings(device="cuda", tokens_per_batch=60))
    session = backend.open(backend.locate(Checkpoint("m", str(tiny_models("llama")))), Capture(**CAPTURE))
    for gaps in (False, True):
        machine.order.waits.clear()
        stage = session.run_block(block(gaps=gaps, mean_of=2))
        assert [wait for wait in machine.order.waits if "actlas" in wait.where] == []
        assert len(machine.order.waits) <= 3 * len(list(block().batches(60, pad_id=0)))
        machine.order.waits.clear()
        stage.collect()
        # for the ends of the values, then for all copies at once
        assert len(machine.order.waits) == 2
    assert machine.order.streams == [*machine.default_streams, copy_stream(torch.device("cuda:0"))]
    session.close()


def test_a_value_that_is_not_finite_is_named(machine):
    pooler = BatchPooler(Capture(sites=("gate",), dtype="float16"), torch.device("cuda:1"))
    texts = block_of([[1, 2], [3], [4, 5]])
    stage = pooler.begin_block(texts, "float16", {"gate": (2, 3)})
    for batch in texts.batches(4, pad_id=0):
        values = np.zeros((*batch.token_ids.shape, 3), np.float32)
        values[batch.rows == 2, 0, 1] = 1e6
        pooler.store(Column("gate", 1, 0, 3), torch.from_numpy(values).to("cuda:1"), pooler.begin_batch(batch, stage), stage)
    stage.seal()
    with pytest.raises(NotFiniteValues, match=r"too large for float16 .* text 20, site gate, layer 1, neuron 1"):
        stage.collect()


def test_a_store_is_written_from_a_device(machine, corpus_folder, tiny_models, tmp_path):  # noqa: F811
    """Through all threads of a run: forward, copies, encoding, commits."""
    options = {"dtype": "float32", "sites": ("mlp_pre", "resid")}
    for device in ("cpu", "cuda:1"):
        extract(tiny_models("llama"), corpus_folder, tmp_path / device, device=device, **options)
    theirs, ours = Store(tmp_path / "cpu"), Store(tmp_path / "cuda:1")
    (name,) = theirs.checkpoints
    for site in options["sites"]:
        np.testing.assert_allclose(ours.cube(name, site).read(), theirs.cube(name, site).read(), rtol=1e-5, atol=1e-6)
    assert ours.checkpoint(name)["sanity_loss"] == pytest.approx(theirs.checkpoint(name)["sanity_loss"], rel=1e-5)
    assert ours.checkpoint(name)["device"] == "no device"


def test_states_are_kept_from_a_device(machine, corpus_folder, tiny_models, tmp_path):  # noqa: F811
    for device in ("cpu", "cuda:1"):
        options = {"dtype": "float16", "sites": ("mlp_pre",), "stats_only": ("counts", "moments", "histogram")}
        extract(tiny_models("llama"), corpus_folder, tmp_path / device, device=device, **options)
    theirs, ours = (Store(tmp_path / device).states("llama", "mlp_pre") for device in ("cpu", "cuda:1"))
    for layer in range(2):
        for name in ("active", "codes"):
            # a value may be rounded to its neighbour and change its side of a bound
            found, expected = (states.read(name, layer, slice(0, 2)) for states in (ours, theirs))
            assert np.abs(found.astype(int) - expected.astype(int)).sum() <= 0.01 * expected.sum()


def test_a_device_that_is_not_here_is_named_with_those_that_are(machine):
    assert device_named("cuda") == torch.device("cuda:0")
    with torch.cuda.device(1):
        assert device_named("auto") == torch.device("cuda:1")
    with pytest.raises(BackendUnavailable, match="no device 'cuda:2': this machine has 2, numbered from cuda:0"):
        device_named("cuda:2")


USERS = (batch_module, hf_backend)
PINNED = "host.pin_memory()"
COPIED = f"{PINNED}.to(device, non_blocking=True)"
ONE_BUFFER = (
    'to_device.__dict__.setdefault("one", torch.empty(4096, dtype=torch.uint8).pin_memory())'
    "[: host.nbytes].view(host.dtype).view(host.shape).copy_(host)"
)
BEGUN = "stage = self._hooks.begin_block(block, dtype)"
#: What is changed, and how it shows: by values, or by what is refused.
MUTATIONS = {
    "values are read before their copies are done": (
        Mutation((stage_module,), "finish_copies", 'device.type == "cuda"', "False"),
        "cubes attn_qkv",
    ),
    "copies of another device are waited for": (
        Mutation((stage_module,), "finish_copies", "torch.cuda.current_stream(device)", "torch.cuda.default_stream(0)"),
        "cubes attn_qkv",
    ),
    "copies do not wait for the model": (
        Mutation((BlockStage,), "collect", "stream.wait_event(self.ready)", "pass"),
        "on stream 2 reads memory that the default stream of cuda:1 is using",
    ),
    "copies wait for less than the block": (
        Mutation((HfSession,), "run_block", BEGUN, f"{BEGUN}; stage.seal(); stage.seal = int"),
        "on stream 2 reads memory that the default stream of cuda:1 is using",
    ),
    "what the model needs stays on the host": (
        Mutation((hf_backend,), "to_device", COPIED, "host"),
        "got tensors on cpu and cuda:1",
    ),
    "what pooling needs stays on the host": (
        Mutation((batch_module,), "to_device", COPIED, "host"),
        "got tensors on cpu and cuda:1",
    ),
    "the model stays on the host": (Mutation((HfBackend,), "open", ".to(self.device)", ""), "got tensors on cpu and cuda:1"),
    "another device is meant": (
        Mutation(USERS, "to_device", ".to(device, non", '.to("cuda:0", non'),
        "got tensors on cuda:0 and cuda:1",
    ),
    "copies to the device come from any memory": (Mutation(USERS, "to_device", PINNED, "host"), "from memory that is not pinned"),
    "copies to the host go to any memory": (
        Mutation((stage_module,), "start_copy", ", pin_memory=True", ""),
        "to memory that is not pinned",
    ),
    "pinned memory is used again at once": (Mutation(USERS, "to_device", PINNED, ONE_BUFFER), "written again before its copy"),
    "sums start anywhere": (
        Mutation((BatchPooler,), "begin_block", "torch.zeros((self.capture", "torch.empty((self.capture"),
        "counts mlp_hidden",
    ),
}


@pytest.mark.parametrize("what", MUTATIONS)
def test_a_mistake_is_noticed(what, machine, tiny_models, monkeypatch):  # noqa: F811
    expected = values_on("cpu", tiny_models("llama"), block())
    mutation, sign = MUTATIONS[what]
    mutation.apply(monkeypatch)
    with pytest.raises(AssertionError, match=sign):
        assert_same(values_on("cuda:1", tiny_models("llama"), block()), expected)
    machine.order.mistakes.clear()


@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_flat_batches_of_vllm(pooling, machine):
    """The hooks in vLLM's workers, around a played model."""
    found = []
    capture = Capture(**{**vars(test_hooks.CAPTURE), "pooling": pooling})
    texts = block_of(test_hooks.LISTS, language=test_hooks.LANGUAGE, sampled=[(0, 1), (2, 4)])
    for device in map(torch.device, ("cpu", "cuda:1")):
        model = test_hooks.PlayedLlama(0, 2).to(device)
        points = engine_points("LlamaForCausalLM", test_hooks.LAYERS, capture.all_sites)
        reader = FlatReader(model, points, capture, hidden_size=test_hooks.HIDDEN, rank=0, n_ranks=2, device=device)
        with torch.inference_mode():
            reader.begin(texts, "float32")
            for rows in ([2, 0, 1, 4], [5, 3]):
                model(*(part.to(device) for part in test_hooks.flat([test_hooks.LISTS[row] for row in rows])))
            found.append(reader.finish().stage.collect())
    assert_same(found[1], found[0])
