"""kill -9 at random moments of an extraction, then the same call again: nothing lost, nothing torn, the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from actlas.extract import extract_activations
from actlas.store.store import Store

N_KILLS = int(os.environ.get("ACTLAS_KILLS", "4"))

# the loop of a real run with a pause in it, so that there are moments to be killed in
CHILD = """
import sys, time
from actlas.extract import extract_activations
from actlas.extract.backends.hf.backend import HfSession
from actlas.store.write import state_writer
state_writer.COMMIT_SECONDS, state_writer._COMMIT_SHARE = 0.05, 0.0
run_block = HfSession.run_block
def slowly(self, block, **kwargs):
    time.sleep(0.02)
    return run_block(self, block, **kwargs)
HfSession.run_block = slowly
print("ready", flush=True)
extract_activations(sys.argv[1], sys.argv[2], sys.argv[3], sites=["mlp_pre", "resid"], device="cpu", max_tokens=60,
                    texts_per_block=4, fidelity_texts=0, progress=lambda p: print(p.stage, flush=True),
                    stats_only=tuple(sys.argv[4:]))
"""

#: A cube, and states of every kind.
KEPT = {"cube": (), "states": ("counts", "moments", "histogram")}


def contents(store: Path) -> dict[str, bytes]:
    """All bytes of a store's arrays; file names of temporary files would show here."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for folder in ("cubes", "tokens", "counts", "corpus", "states")
        for path in sorted((store / folder).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def start(model, corpus, store, kinds):
    command = [sys.executable, "-c", CHILD, str(model), str(corpus), str(store), *kinds]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    return child


def wait_for(child, line):
    for text in child.stdout:
        if text.strip() == line:
            return
    raise AssertionError(f"the run ended before {line!r}: {child.stderr.read()}")


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
def test_kills_lose_nothing_and_tear_nothing(kept, tiny_models, small_corpus, tmp_path):
    folder, corpus, kinds = tiny_models("llama"), tmp_path / "corpus", KEPT[kept]
    small_corpus.write(corpus)
    options = {"sites": ["mlp_pre", "resid"], "device": "cpu", "max_tokens": 60, "texts_per_block": 4, "stats_only": kinds}
    extract_activations(folder, corpus, tmp_path / "whole", **options)
    whole, expected = Store(tmp_path / "whole"), contents(tmp_path / "whole")
    chance = random.Random(0)
    killed_midway = 0
    store, kills = tmp_path / "store-0", 0
    while kills < N_KILLS:
        child = start(folder, corpus, store, kinds)
        wait_for(child, "ready")
        if chance.random() < 0.8:
            wait_for(child, "extract")
            time.sleep(chance.uniform(0, 0.15))
        else:
            time.sleep(chance.uniform(0, 3))
        child.send_signal(signal.SIGKILL)
        child.communicate()
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


@pytest.mark.slow
@pytest.mark.parametrize(("n_runs", "kept"), [(2, "cube"), (2, "states"), (4, "cube"), (4, "states")])
def test_kills_among_several_runs_at_once(n_runs, kept, tiny_models, small_corpus, tmp_path):
    """Runs that share a store take blocks from one another's hands; some are killed, the rest and a last call finish."""
    folder, corpus, store, kinds = tiny_models("llama"), tmp_path / "corpus", tmp_path / "s", KEPT[kept]
    small_corpus.write(corpus)
    options = {"sites": ["mlp_pre", "resid"], "device": "cpu", "max_tokens": 60, "texts_per_block": 4, "stats_only": kinds}
    extract_activations(folder, corpus, tmp_path / "whole", **options)
    whole, chance = Store(tmp_path / "whole"), random.Random(n_runs)
    for _ in range(max(1, N_KILLS // 4)):
        children = [start(folder, corpus, store, kinds) for _ in range(n_runs)]
        for child in children:
            wait_for(child, "ready")
        time.sleep(chance.uniform(0.5, 3))
        for child in children[1:]:
            child.send_signal(signal.SIGKILL)
        readable(store, whole)
        outputs = [child.communicate()[1] for child in children]
        assert children[0].returncode == 0, outputs[0]
    summary = extract_activations(folder, corpus, store, **options)
    assert summary.checkpoints[0].status in ("there", "extracted")
    assert contents(store) == contents(tmp_path / "whole")
