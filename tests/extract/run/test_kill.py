"""kill -9 at random moments of an extraction, then the same call again: nothing lost, nothing torn, the same bytes."""

import json
import os
import random
import re
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actlas.extract import extract_activations
from actlas.store.integrity import verify
from actlas.store.log import Log
from actlas.store.store import Store
from tests.extract.run.slow_run import OPTIONS, run_slowly, run_until
from tests.loaded import loaded

N_KILLS = int(os.environ.get("ACTLAS_KILLS", "4"))

#: A cube, and states of every kind.
KEPT = {"cube": False, "states": ("counts", "moments", "histogram")}


def contents(store: Path) -> dict[str, bytes | str]:
    """All files of a store, also those that should not be there, but what tells one run from another that does the same.

    The record of a checkpoint says how long everything took, and entries of the log name its digest and one another's. Claims of
    the dead hold nothing: whether one is left depends on who came by.
    """
    found: dict[str, bytes | str] = {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.suffix != ".claim"
    }
    for name in [name for name in found if name.endswith("/checkpoint.json")]:
        found[name] = repr({key: value for key, value in json.loads(found[name]).items() if key != "profile"})
    log = Log(store).read()
    for name in [name for name in found if re.fullmatch(r"log/\d+\.(json|mark)", name)]:
        # that there is one is compared, and by the log itself what is in it
        found[name] = ""
    for name, files in log.holds.items():
        found[f"held: {name}"] = repr([file.path if file.path.endswith("/checkpoint.json") else file for file in files])
    return found


@pytest.fixture(scope="module")
def processes():
    with loaded("tests.extract.run.slow_run") as context:
        yield context


class Run:
    """A run in a process of its own, which may be killed at any moment."""

    def __init__(self, processes, model, corpus, store, kinds):
        self.reports, theirs = processes.Pipe(duplex=False)
        self.process = processes.Process(target=run_slowly, args=(theirs, str(model), str(corpus), str(store), kinds))
        self.process.start()
        theirs.close()

    def wait_for(self, stage):
        try:
            while self.reports.recv() != stage:
                pass
        except EOFError:
            raise AssertionError(f"the run ended before {stage!r}, with status {self.process.exitcode}") from None

    def kill(self):
        # one that has ended is nobody's any more
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)

    def end(self):
        """Wait until it is over."""
        # a pipe that is full would keep it from going on
        try:
            while True:
                self.reports.recv()
        except EOFError:
            self.process.join()
        return self.process.exitcode


def readable(store, whole):
    """What a reader sees at this moment: nothing, or the whole checkpoint with its right values."""
    if (store / "zarr.json").exists():
        seen = Store(store)
        for name in seen.checkpoints:
            for site in seen.sites(name):
                np.testing.assert_array_equal(seen.cube(name, site).read(), whole.cube(name, site).read())
            for site in seen.state_sites(name):
                for array, values in seen.states(name, site).arrays.items():
                    np.testing.assert_array_equal(values[:], whole.states(name, site).arrays[array][:])


@pytest.mark.slow
@pytest.mark.parametrize("kept", sorted(KEPT))
def test_kills_lose_nothing_and_tear_nothing(kept, processes, tiny_models, small_corpus, tmp_path):
    folder, corpus, kinds = tiny_models("llama"), tmp_path / "corpus", KEPT[kept]
    small_corpus.write(corpus)
    options = {**OPTIONS, "stats_only": kinds}
    extract_activations(folder, corpus, tmp_path / "whole", **options)
    whole, expected = Store(tmp_path / "whole"), contents(tmp_path / "whole")
    chance = random.Random(0)
    killed_midway = 0
    store, kills = tmp_path / "store-0", 0
    while kills < N_KILLS:
        child = Run(processes, folder, corpus, store, kinds)
        child.wait_for("ready")
        if chance.random() < 0.8:
            child.wait_for("extract")
            time.sleep(chance.uniform(0, 0.15))
        else:
            time.sleep(chance.uniform(0, 1))
        child.kill()
        child.end()
        kills += 1
        readable(store, whole)
        is_complete = (store / "zarr.json").exists() and Store(store).checkpoints == ["llama"]
        killed_midway += not is_complete
        if is_complete:
            # the kill came too late, or the kills before it left little to do: go on with a new store
            assert contents(store) == expected
            store = tmp_path / f"store-{kills}"
    extract_activations(folder, corpus, store, **options)
    assert contents(store) == expected
    assert killed_midway > 0


#: Where a run ends -> a file of the log, whether that is there already, what a reader then sees, what a later run says.
STEPS = {
    "before there is a store": ("00000001.mark", True, None, "extracted"),
    "between the record of the checkpoint and its entry": ("00000002.json", False, [], "extracted"),
    "between the entry and its mark": ("00000002.mark", False, ["llama"], "there"),
    "before it could remove what it needs no more": ("00000002.mark", True, ["llama"], "there"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kept", sorted(KEPT))
def test_a_kill_at_each_step_of_a_commit(kept, processes, tiny_models, small_corpus, tmp_path):
    folder, corpus, kinds = tiny_models("llama"), tmp_path / "corpus", KEPT[kept]
    small_corpus.write(corpus)
    options = {**OPTIONS, "stats_only": kinds}
    extract_activations(folder, corpus, tmp_path / "whole", **options)
    whole, expected = Store(tmp_path / "whole"), contents(tmp_path / "whole")
    for number, (step, (file, is_created, seen, status)) in enumerate(STEPS.items()):
        store = tmp_path / f"s{number}"
        more = {"is_created": is_created, "arguments": (str(folder), str(corpus), str(store)), "kinds": kinds}
        child = processes.Process(target=run_until, args=(file,), kwargs=more)
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL, step
        assert (store / "manifests" / "llama" / "checkpoint.json").exists() == (seen is not None), step
        if seen is None:
            assert not (store / "zarr.json").exists()
        else:
            assert Store(store).checkpoints == seen, step
            readable(store, whole)
            unmarked = {path.stem for path in (store / "log").glob("0*.json")} - {
                path.stem for path in (store / "log").glob("*.mark")
            }
            named = [line.partition(":")[0] for line in verify(store).damage]
            assert named == [f"log/{number}.mark" for number in unmarked], step
        assert extract_activations(folder, corpus, store, **options).checkpoints[0].status == status, step
        # the mark of the last entry is written by the next run that writes
        assert without_marks(contents(store)) == without_marks(expected), step


def without_marks(files: dict[str, Any]) -> dict[str, Any]:
    return {name: content for name, content in files.items() if not name.endswith(".mark")}


@pytest.mark.slow
@pytest.mark.parametrize(("n_runs", "kept"), [(2, "cube"), (2, "states"), (4, "cube"), (4, "states")])
def test_kills_among_several_runs_at_once(n_runs, kept, processes, tiny_models, small_corpus, tmp_path):
    """Runs that share a store take blocks from one another's hands; some are killed, the rest and a last call finish."""
    folder, corpus, store, kinds = tiny_models("llama"), tmp_path / "corpus", tmp_path / "s", KEPT[kept]
    small_corpus.write(corpus)
    options = {**OPTIONS, "stats_only": kinds}
    extract_activations(folder, corpus, tmp_path / "whole", **options)
    whole, chance = Store(tmp_path / "whole"), random.Random(n_runs)
    for _ in range(max(1, N_KILLS // 4)):
        children = [Run(processes, folder, corpus, store, kinds) for _ in range(n_runs)]
        for child in children:
            child.wait_for("ready")
        time.sleep(chance.uniform(0.1, 1))
        for child in children[1:]:
            child.kill()
        readable(store, whole)
        statuses = [child.end() for child in children]
        assert statuses[0] == 0
    summary = extract_activations(folder, corpus, store, **options)
    assert summary.checkpoints[0].status in ("there", "extracted")
    assert contents(store) == contents(tmp_path / "whole")
