"""An engine's process, seen from the run; vLLM is played, and test_engine.py has the real one."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from actlas.errors import ExtractionError
from actlas.extract.backends.base import Capture
from actlas.extract.backends.vllm.link import EngineLink, agreed, gathered_loss
from actlas.extract.backends.vllm.settings import EngineSettings, check_facts, engine_arguments
from actlas.extract.backends.vllm.shared_block import SharedBlock, capture_to_json

LISTS = [[5, 6, 7], [5, 6], [8, 9, 4, 2, 3]]
CAPTURE = Capture(sites=("mlp_hidden",), dtype="float32", max_tokens=8)


@pytest.fixture
def start(played_vllm):
    links = []

    def begin(n_ranks=1, fault=""):
        played_vllm(fault)
        settings = EngineSettings(Path("model"), "float32", "cpu", 8, 2048, n_ranks)
        links.append(EngineLink(engine_arguments(settings)))
        return links[-1], settings

    yield begin
    for link in links:
        link.close()


def run(link, block, capture=CAPTURE):
    shapes = agreed(link.on_every_rank("actlas_attach", capture_to_json(capture)), "shapes")
    shared = SharedBlock.create(capture, shapes, block)
    link.begin(shared, "float32")
    link.generate(range(block.n_texts))
    totals = link.finish(shared)
    shared.close()
    return shared.values(capture, totals["n_tokens"], totals["loss_sum"], totals["loss_tokens"])


def test_ranks_give_the_values_of_one(start, blocks):
    alone, together = (run(start(n_ranks)[0], blocks(LISTS)) for n_ranks in (1, 2))
    assert alone.cubes["mlp_hidden"].shape == (2, 12, 3)
    assert np.array_equal(alone.cubes["mlp_hidden"], together.cubes["mlp_hidden"])
    assert alone.loss_sum == together.loss_sum > 0
    assert together.n_tokens.tolist() == [10]


def test_the_texts_of_a_block_are_read_once_by_the_engine(start, blocks):
    link, _ = start()
    expected = run(link, blocks(LISTS, has_loss=False)).cubes["mlp_hidden"]
    block = blocks(LISTS, has_loss=False)
    shared = SharedBlock.create(CAPTURE, {"mlp_hidden": expected.shape[:2]}, block)
    link.begin(shared, "float32")
    # a batch is given by the numbers of its texts: were they read again now, they would be others
    shared.array("texts.token_ids")[:] = 0
    for row in range(block.n_texts):
        link.generate([row])
    link.finish(shared)
    shared.close()
    assert np.array_equal(shared.array("cube.mlp_hidden").transpose(0, 2, 1), expected)


def test_ranks_that_see_other_passes_are_told(start, blocks):
    link, _ = start(2, "one rank")
    with pytest.raises(ExtractionError, match="ranks of vLLM do not agree: n_passes is 1 on rank 0 and 3 on rank 1"):
        run(link, blocks(LISTS))


def test_an_error_of_a_rank_comes_across_whatever_it_is(start, blocks):
    link, _ = start(2, "rpc")
    with pytest.raises(ExtractionError, match="rank 0 of vLLM failed with AttributeError: 'NoneType' object") as caught:
        run(link, blocks(LISTS))
    assert "worker.py" in caught.value.__notes__[0]


def test_facts_come_from_every_rank(start):
    link, settings = start(2)
    facts = link.on_every_rank("actlas_facts")
    assert len(facts) == 2
    check_facts(settings, "LlamaForCausalLM", facts)
    link, settings = start(2, "prefix")
    with pytest.raises(ExtractionError, match="prefix_caching is True"):
        check_facts(settings, "LlamaForCausalLM", link.on_every_rank("actlas_facts"))


def test_an_engine_that_does_not_start_says_why(start):
    with pytest.raises(
        ExtractionError, match="asked to start, failed with RuntimeError: no memory .*; its output is in"
    ) as caught:
        start(1, "start")
    log = Path(str(caught.value).rpartition(" ")[2])
    assert "no memory for this model" in log.read_text()
    log.unlink()


def test_an_engine_that_dies_is_told_with_its_last_words(start, blocks):
    link, _ = start(1, "die")
    with pytest.raises(ExtractionError, match=r"vLLM ended while it was asked to generate \(a line that vLLM prints\)"):
        run(link, blocks(LISTS))
    link.close()
    link.log.unlink()


def test_an_engine_that_is_killed_is_told(start):
    link, _ = start()
    os.killpg(link.pid, signal.SIGKILL)
    with pytest.raises(ExtractionError, match="the process of vLLM ended while it was asked to on_every_rank"):
        link.on_every_rank("actlas_facts")
    link.close()
    link.log.unlink()


def test_all_ranks_are_compared():
    assert agreed([{"a": 1}, {"a": 1}, {"a": 1}], "a") == 1
    with pytest.raises(ExtractionError, match="a is 1 on rank 0 and 2 on rank 2"):
        agreed([{"a": 1}, {"a": 1}, {"a": 2}], "a")


def test_losses_are_those_of_the_ranks_that_gather():
    assert gathered_loss([{"loss_sum": 0.0}, {"loss_sum": 0.0}]) == 0.0
    assert gathered_loss([{"loss_sum": 0.0}, {"loss_sum": 2.0}]) == 2.0
    assert gathered_loss([{"loss_sum": 2.0}, {"loss_sum": 2.0001}]) == 2.0
    with pytest.raises(ExtractionError, match="their losses are 2.0000, 3.0000"):
        gathered_loss([{"loss_sum": 2.0}, {"loss_sum": 3.0}])
