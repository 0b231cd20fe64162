"""Blocks on their way from the model to the disk: how many there may be, what stops them, what bounds them."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from actlas.extract.results import CheckpointProgress
from actlas.extract.run.pipeline import run_blocks
from actlas.extract.run.profile import Profile
from actlas.names import Checkpoint
from actlas.store import CheckpointWriter, Store
from tests.store.conftest import Planted, plant

N_BLOCKS = 5


class StandIn:
    """A model that knows its values; counts the blocks that it was asked for."""

    def __init__(self, planted: Planted, seconds: float = 0.0) -> None:
        self.planted, self.seconds = planted, seconds
        self.n_computed = 0
        self.computed = threading.Condition()

    def run_block(self, rows, on_batch):
        time.sleep(self.seconds)
        on_batch(len(rows))
        with self.computed:
            self.n_computed += 1
            self.computed.notify_all()
        return SimpleNamespace(collect=lambda: self.planted.block(int(rows[0]), int(rows[-1]) + 1))

    def wait_for(self, n_computed: int) -> bool:
        with self.computed:
            return self.computed.wait_for(lambda: self.n_computed >= n_computed, timeout=30)


def run(planted: Planted, path: Path, session: StandIn, *, most_blocks: int = 2) -> tuple[CheckpointWriter, Profile]:
    profile = Profile()
    progress = CheckpointProgress(lambda _: None, Checkpoint("model-step1", "model", 1), 1, 1, planted.corpus.n_texts)
    with planted.writer(path, sync=False, times=profile.busy) as writer:
        work = planted.begin(writer)
        run_blocks(work, session, SimpleNamespace(block=lambda rows: rows), progress, profile, most_blocks=most_blocks)
        work.finish()
    return work, profile


@pytest.fixture
def slow_start(monkeypatch):
    """Give `before(number)` to call when block `number` begins to be written."""
    start = CheckpointWriter.start_block

    def slowed(before):
        monkeypatch.setattr(
            CheckpointWriter, "start_block", lambda self, block, values: (before(block.index), start(self, block, values))[1]
        )

    return slowed


@pytest.mark.parametrize("most_blocks", [2, 3, 4])
def test_blocks_wait_to_be_written_while_there_is_room(most_blocks, tmp_path, slow_start):
    planted = plant()
    session, seen = StandIn(planted), []

    def before(number):
        if number == 0:
            assert session.wait_for(most_blocks)
            # whoever is allowed one more would have computed it by then
            time.sleep(0.1)
            seen.append(session.n_computed)

    slow_start(before)
    run(planted, tmp_path / "s", session, most_blocks=most_blocks)
    assert seen == [most_blocks]
    cube = Store(tmp_path / "s").cube("model-step1", "resid").read()
    np.testing.assert_array_equal(cube, planted.expected(planted.values["resid"]))


def test_nothing_is_written_behind_a_block_that_could_not_be(tmp_path, slow_start):
    planted = plant()
    session = StandIn(planted)

    def before(number):
        if number == 1:
            assert session.wait_for(4)
            raise OSError("no space left")

    slow_start(before)
    with pytest.raises(OSError, match="no space left"):
        run(planted, tmp_path / "s", session, most_blocks=4)
    assert Store(tmp_path / "s").unfinished == {"model-step1": 32}
    # every other block can be had again
    with planted.writer(tmp_path / "s") as writer:
        work = planted.begin(writer)
        assert [work.claim_next().index for _ in range(N_BLOCKS - 1)] == [1, 2, 3, 4]
        work.release_claims()


def test_a_model_that_fails_leaves_what_was_computed_written(tmp_path):
    planted = plant()
    session = StandIn(planted)
    compute = session.run_block

    def run_block(rows, on_batch):
        if session.n_computed == 3:
            raise ValueError("no more")
        return compute(rows, on_batch)

    session.run_block = run_block
    with pytest.raises(ValueError, match="no more"):
        run(planted, tmp_path / "s", session, most_blocks=4)
    assert Store(tmp_path / "s").unfinished == {"model-step1": 3 * 32}


def test_what_bounds_a_run_is_what_the_others_wait_for(tmp_path, slow_start):
    planted = plant()
    _, by_model = run(planted, tmp_path / "model", StandIn(planted, seconds=0.1))
    assert by_model.to_json()["bound_by"] == "the model"
    assert by_model.busy["forward"] >= 0.1 * N_BLOCKS
    assert by_model.waits["write"] > by_model.waits["forward"]
    slow_start(lambda _: time.sleep(0.1))
    _, by_writing = run(planted, tmp_path / "writing", StandIn(planted))
    assert by_writing.to_json()["bound_by"] == "writing"
    assert by_writing.busy["write"] >= 0.1 * N_BLOCKS
    assert by_writing.waits["forward"] > by_writing.waits["write"]
