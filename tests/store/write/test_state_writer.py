"""States of a store: whichever process adds which block, and whatever is killed when, every block is in them once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from actlas.errors import DamagedStore, RecipeMismatch, StateTooLarge
from actlas.names import Checkpoint, Recipe, StateRules, TokenSample
from actlas.store import BlockValues, Store, StoreWriter, TokenIds, corpus_from_frames, verify
from actlas.store.states import StatePlan
from actlas.store.write import state_writer as module

N_TEXTS, NEURONS = 90, 300
SHAPES = {"mlp_pre": (3, NEURONS), "resid": (2, 20)}
CORPUS = corpus_from_frames(
    pl.DataFrame({"text": [f"text {i}" for i in range(N_TEXTS)], "language": ["en"] * 40 + ["es"] * 30 + ["fr"] * 20}),
    pl.DataFrame(
        [(i, concept, i % (3 + at) == 0) for i in range(N_TEXTS) for at, concept in enumerate(("salt", "water"))],
        schema=["text_id", "concept", "is_concept"],
        orient="row",
    ),
)
VALUES = {site: np.random.default_rng(0).integers(0, 9, (*shape, N_TEXTS)).astype(np.float32) for site, shape in SHAPES.items()}
RULES = StateRules(("moments",), tuple(sorted(SHAPES)))
RECIPE = Recipe(
    CORPUS.fingerprint, "none", (), tokens=TokenSample(0, sites=()), count_sites=(), dtype="float32", max_tokens=9, states=RULES
)


class Adding:
    """Sums of whole numbers, in the first two digits of a state."""

    def shapes(self, n_sets, n_neurons):
        return {"active": (n_sets, n_neurons), "total": (3, n_sets, n_neurons)}

    def add(self, arrays, sets, texts, values, ends):
        chosen = np.concatenate([sets.is_concept[texts], sets.is_member[texts][:, :1]], axis=1).astype(np.int64)
        arrays["count"] += chosen.sum(0)
        arrays["active"] += ((values > 4).astype(np.int64) @ chosen).T
        arrays["total"][1] += (values.astype(np.int64) @ chosen).T

    def merge(self, one, other):
        return {name: one[name] + other[name] for name in one}


def plan(memory_bytes=1 << 30, **changes):
    ranges = {site: np.stack([np.zeros(shape), np.ones(shape)]) for site, shape in SHAPES.items()}
    return StatePlan(changes.get("shapes", SHAPES), changes.get("accumulator", Adding()), lambda: ranges, memory_bytes)


def open_writer(path):
    tokens = TokenIds(np.zeros(N_TEXTS, np.int32), np.arange(N_TEXTS + 1))
    return StoreWriter(path, RECIPE, CORPUS, tokens, texts_per_block=8, sync=False)


def begin(writer, states=None):
    return writer.checkpoint(Checkpoint("m", "m", 1), {"weight_hash": "w"}, {}, states=states or plan())


def values_of(block):
    return BlockValues(cubes={site: array[:, :, block.rows] for site, array in VALUES.items()}, n_tokens=np.ones(3, np.int64))


def write_some(run, n_blocks=None):
    while n_blocks != 0 and (block := run.claim_next()) is not None:
        run.write_block(block, values_of(block))
        n_blocks = None if n_blocks is None else n_blocks - 1


def finish(path):
    with open_writer(path) as writer:
        run = begin(writer)
        write_some(run)
        run.flush()
        run.release_claims()
        assert run.finish()


def check(path):
    """Every array of the store against sums that are taken at once."""
    store = Store(path)
    for site, (n_layers, _) in SHAPES.items():
        states = store.states("m", site)
        for sets in states.sets:
            chosen = np.concatenate([sets.is_concept, sets.is_member[:, :1]], axis=1).astype(np.int64)
            values = VALUES[site][:, :, sets.rows].astype(np.int64)
            where = slice(sets.first, sets.first + sets.n_sets)
            for layer in range(n_layers):
                np.testing.assert_array_equal(states.read("active", layer, where), ((values[layer] > 4) @ chosen).T)
                np.testing.assert_array_equal(states.read("total", layer, where)[1], (values[layer] @ chosen).T)
                part = states.read("total", layer, where, slice(7, 11))
                np.testing.assert_array_equal(part[1], (values[layer, 7:11] @ chosen).T)
    assert verify(store).damage == ()
    assert not (path / "manifests" / "m" / "states").exists()


@pytest.mark.parametrize("memory_bytes", [1 << 30, 40_000])
def test_arrays_hold_every_block_once(memory_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr("actlas.store.layout.SHARD_BYTES", 3 * NEURONS * 8)  # a few sets in a shard
    with open_writer(tmp_path / "s") as writer:
        run = begin(writer, plan(memory_bytes))
        write_some(run)
        assert run.pending, "nothing counts before it is committed"
        run.flush()
        run.release_claims()
        assert run.finish()
        assert run.finish()
    check(tmp_path / "s")
    record = Store(tmp_path / "s").checkpoint("m")
    assert (record["states"], record["cubes"]) == ({"mlp_pre": [3, NEURONS], "resid": [2, 20]}, [])
    frame = pl.read_parquet(tmp_path / "s" / "corpus" / "state_sets.parquet")
    assert frame.height == 9


def test_what_was_added_and_not_committed_is_added_again(tmp_path):
    for n_blocks, is_flushed in ((2, True), (3, False), (1, True)):
        with open_writer(tmp_path / "s") as writer:
            run = begin(writer)
            before = len(run.pending)
            write_some(run, n_blocks)
            if is_flushed:
                run.flush()
            run.release_claims()
            assert len(run.pending) == before - (n_blocks if is_flushed else 0)
    finish(tmp_path / "s")
    check(tmp_path / "s")


def test_two_owners_have_a_slot_each(tmp_path):
    with open_writer(tmp_path / "s") as one, open_writer(tmp_path / "s") as other:
        runs = [begin(one), begin(other)]
        for turn in range(8):
            write_some(runs[turn % 2], 1)
            if turn % 3 == 2:
                runs[turn % 2].flush()
        for run in runs:
            run.flush()
            run.release_claims()
        write_some(runs[0])
        assert not runs[1].finish(), "the other one has blocks that are not committed"
        runs[0].flush()
        runs[0].release_claims()
        assert len(list((tmp_path / "s" / "manifests" / "m" / "states").glob("slot-*.json"))) == 2
        assert runs[1].finish()
        assert runs[0].finish()
    check(tmp_path / "s")


def test_a_failed_addition_spoils_nothing_that_is_committed(tmp_path):
    class Failing(Adding):
        calls = 0

        def add(self, *args):
            super().add(*args)
            Failing.calls += 1
            if Failing.calls == 23:
                raise ValueError("half a block is in the states")

    with open_writer(tmp_path / "s") as writer:
        run = begin(writer, plan(accumulator=Failing()))
        write_some(run, 2)
        run.flush()
        with pytest.raises(ValueError, match="half a block"):
            write_some(run)
        run.flush()
        run.release_claims()
        assert len(run.pending) == len(run.blocks) - 2
    finish(tmp_path / "s")
    check(tmp_path / "s")


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from actlas.store.write import checkpoint_writer, completing, state_writer
from actlas.store.files.atomic import write_temporary
import test_state_writer as t
left = int(sys.argv[3])
write = state_writer.write_atomically
def dies(path, parts, **kwargs):
    global left
    left -= 1
    if left == 0:
        # half of the file is there when the process ends
        write_temporary(path, [b"".join(map(bytes, parts))[:7]])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, parts, **kwargs)
    if left == 1 and sys.argv[4] == "after":
        os.kill(os.getpid(), signal.SIGKILL)
state_writer.write_atomically = checkpoint_writer.write_atomically = completing.write_atomically = dies
state_writer.COMMIT_SECONDS = state_writer._COMMIT_SHARE = 0.0
with t.open_writer(Path(sys.argv[1])) as writer:
    run = t.begin(writer)
    t.write_some(run)
    run.flush()
    run.release_claims()
    run.finish()
"""


@pytest.mark.parametrize("moment", ["during", "after"])
def test_killed_at_every_write(moment, tmp_path):
    """One store, killed again and again at another write of its commits; nothing is lost, nothing counted twice."""
    n_killed = 0
    for left in (3, 8, 17, 18, 19, 20, 21, 25, 34, 35, 36, 52):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "s"), os.path.dirname(__file__), str(left), moment]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        n_killed += done.returncode != 0
    assert n_killed > 3
    finish(tmp_path / "s")
    check(tmp_path / "s")
    assert not list((tmp_path / "s").rglob("*.tmp")), "nothing is left of files that were cut short"


def test_a_run_that_died_before_it_could_say_so_block_by_block(tmp_path):
    with open_writer(tmp_path / "s") as writer:
        run = begin(writer)
        write_some(run)
        run.states.commit()  # and no record of any block
        run.release_claims()
        assert run.pending == []
        assert run.finish()
    assert len(list((tmp_path / "s" / "manifests" / "m" / "blocks").glob("*.json"))) == len(run.blocks)
    check(tmp_path / "s")


def test_states_that_have_seen_another_number_of_texts_are_refused(tmp_path):
    with open_writer(tmp_path / "s") as writer:
        run = begin(writer)
        write_some(run)
        block = run.blocks[0]
        run.states.add(block, values_of(block).cubes, run.states._added[0])
        run.flush()
        run.release_claims()
        with pytest.raises(DamagedStore, match=r"in en have seen \[\d+, \d+, 48\] texts of sets that hold \[14, 10, 40\]"):
            run.finish()


def test_a_damaged_state_is_named(tmp_path):
    with open_writer(tmp_path / "s") as writer:
        run = begin(writer)
        write_some(run)
        run.flush()
        run.release_claims()
        file = next((tmp_path / "s" / "manifests" / "m" / "states").glob("slot-*-0/resid.1.2.*"))
        data = bytearray(file.read_bytes())
        file.write_bytes(data[:-1])
        with pytest.raises(DamagedStore, match=r"resid\.1\.2\.\d+ does not have the size"):
            run.finish()
        data[-1] ^= 1
        file.write_bytes(data)
        with pytest.raises(DamagedStore, match="crc32c"):
            run.finish()


def test_states_that_cannot_fit_are_refused(tmp_path):
    with (
        open_writer(tmp_path / "s") as writer,
        pytest.raises(StateTooLarge, match=r"one layer of mlp_pre in en \(300 neurons, 2"),
    ):
        begin(writer, plan(1000))


def test_other_states_than_were_begun_are_refused(tmp_path):
    with open_writer(tmp_path / "s") as writer:
        begin(writer)
        with pytest.raises(RecipeMismatch, match=r"begun with states \{'mlp_pre': \[3, 300\]"):
            begin(writer, plan(shapes={"mlp_pre": (2, NEURONS)}))


def test_a_commit_is_due_by_time_and_by_blocks(tmp_path, monkeypatch):
    with open_writer(tmp_path / "s") as writer:
        run = begin(writer)
        write_some(run, 2)
        assert not run.states.is_due
        monkeypatch.setattr(module, "_COMMIT_BLOCKS", 2)
        assert run.states.is_due
        write_some(run, 1)
        assert not run.states.is_due
        assert len(run.pending) == len(run.blocks) - 3
        run.release_claims()
