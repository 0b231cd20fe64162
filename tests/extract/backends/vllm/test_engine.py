"""Engines of vLLM, started for the purpose: `make test-vllm`. Every test starts one or two, which takes most of its time."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from actlas.errors import ExtractionError, RecipeMismatch
from actlas.extract.backends.agreement import compare
from actlas.extract.backends.base import Capture
from actlas.extract.backends.vllm.backend import check_gelu
from actlas.extract.backends.vllm.link import EngineLink
from actlas.extract.backends.vllm.settings import EngineSettings, check_facts, engine_arguments
from benchmarks import vllm_parity
from benchmarks.vllm_models import write_model

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM, in an environment of its own: make test-vllm"),
]
#: Longer than a block of vLLM's cache of keys and values.
LONG = [1, *np.random.default_rng(0).integers(4, 90, 299).tolist()]
CAPTURE = Capture(sites=("mlp_hidden",), dtype="float32", max_tokens=400)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """family -> folder of a checkpoint that vLLM's CPU build can run."""
    made = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = write_model(tmp_path_factory.mktemp("vllm") / family, family)
        return made[family]

    return get


@pytest.fixture(scope="session")
def references(models, tmp_path_factory):
    """family -> store of what transformers gives."""
    made = {}

    def get(family: str):
        if family not in made:
            made[family] = vllm_parity.extract(models(family), tmp_path_factory.mktemp("hf") / family, family, backend="hf")
        return made[family]

    return get


@pytest.fixture
def start():
    """Starts an engine that is told something else than the backend would tell it; ended with the test."""
    links = []

    def begin(model, n_ranks=1, **changes):
        settings = EngineSettings(model, "float32", "cpu", 400, 2048, n_ranks)
        links.append(EngineLink({**engine_arguments(settings), **changes}))
        return links[-1], settings

    yield begin
    for link in links:
        link.close()


def files_of(store: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(store)): path.read_bytes()
        for folder in ("cubes", "tokens", "counts")
        for path in sorted((store / folder).rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("n_ranks", [1, 2])
@pytest.mark.parametrize("family", ["llama", "qwen2", "bloom"])
def test_a_store_holds_what_transformers_gives(family, n_ranks, models, references, tmp_path):
    ours = vllm_parity.extract(models(family), tmp_path / "s", family, backend="vllm", tensor_parallel=n_ranks)
    found = vllm_parity.differences(ours, references(family))
    assert found["largest_difference"] <= 1e-4
    assert found["token_difference"] <= 1e-4
    assert found["sign_flips"] == 0
    # a token whose value lies closer to zero than the backends to each other is active in one of them alone
    assert found["counts_that_differ"] <= 3
    assert found["loss_difference"] <= 1e-4
    (name,) = ours.checkpoints
    record, reference = ours.checkpoint(name), references(family).checkpoint(name)
    assert record["backend"] == "vllm"
    assert record["tensor_parallel"] == n_ranks
    assert record["layouts"] == reference["layouts"]
    assert record["n_tokens"] == reference["n_tokens"]
    assert record["calibration"]["difference"] <= record["calibration"]["limit"] / 2
    assert record["calibration"]["sign_agreement"] == 1.0
    assert list(record["fix_ups"]) == (["mlp.gelu_impl"] if family == "bloom" else [])
    assert "calibration" not in reference


def test_the_same_run_gives_the_same_bytes_and_no_other_backend_may_go_on(models, tmp_path):
    options = {"backend": "vllm", "texts_per_block": 16, "loss_texts": 20}
    for name in ("one", "other"):
        vllm_parity.extract(models("llama"), tmp_path / name, "llama", **options)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "other") != {}
    with pytest.raises(RecipeMismatch, match="backend"):
        vllm_parity.extract(models("qwen2"), tmp_path / "one", "llama", backend="hf")


def test_a_prefix_cache_is_refused_and_would_have_been_noticed(models, start, blocks):
    link, settings = start(models("llama"), enable_prefix_caching=True)
    with pytest.raises(ExtractionError, match="prefix_caching is True, not False .the beginning of a text that was seen before"):
        check_facts(settings, "LlamaForCausalLM", link.on_every_rank("actlas_facts"))
    vllm_parity.run_block(link, CAPTURE, blocks([LONG]))
    with pytest.raises(ExtractionError, match="so tokens are missing before it: chunked prefill, prefix caching"):
        vllm_parity.run_block(link, CAPTURE, blocks([LONG]))


def test_chunked_prefill_is_refused_and_would_have_been_noticed(models, start, blocks):
    link, settings = start(models("llama"), enable_chunked_prefill=True, max_num_batched_tokens=128, max_num_seqs=16)
    with pytest.raises(ExtractionError, match="chunked_prefill is True, .*a pass takes 128 tokens and a text may have 401"):
        check_facts(settings, "LlamaForCausalLM", link.on_every_rank("actlas_facts"))
    with pytest.raises(ExtractionError, match="a pass of vLLM held 128 tokens .* that are no text that was submitted"):
        vllm_parity.run_block(link, CAPTURE, blocks([LONG]))
    # an engine that dies is told, and nothing of it stays
    os.killpg(link.pid, signal.SIGKILL)
    with pytest.raises(ExtractionError, match="the process of vLLM ended while it was asked to on_every_rank"):
        link.on_every_rank("actlas_facts")
    link.close()
    assert not is_running(link.pid)


def test_a_compiled_model_is_refused_and_would_have_been_noticed(models, start, blocks):
    link, settings = start(models("llama"), enforce_eager=False)
    with pytest.raises(ExtractionError, match="enforce_eager is False, not True .hooks do not fire in a compiled model"):
        check_facts(settings, "LlamaForCausalLM", link.on_every_rank("actlas_facts"))
    with pytest.raises(ExtractionError, match="reached 0 times in one pass|never went through the model"):
        vllm_parity.run_block(link, CAPTURE, blocks([LONG]))


def test_bloom_without_the_fix_up_is_refused(models):
    with pytest.raises(ExtractionError, match="the exact GELU"):
        check_gelu("BloomForCausalLM", "mlp.gelu_impl", None)
    ours, theirs = vllm_parity.as_shipped(models("bloom"))
    found = compare({"mlp_hidden": ours}, {"mlp_hidden": theirs}, "float32", range(ours.shape[2]))
    assert found.complaint().startswith("by ")
    assert "site mlp_hidden" in found.where


def test_an_engine_on_two_ranks_leaves_nothing_behind(models, start):
    link, settings = start(models("llama"), n_ranks=2)
    check_facts(settings, "LlamaForCausalLM", link.on_every_rank("actlas_facts"))
    assert is_running(link.pid)
    link.close()
    assert not is_running(link.pid)


def is_running(group: int) -> bool:
    """Whether any process of a group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
