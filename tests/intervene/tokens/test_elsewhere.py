"""A model in a process of its own: loaded while others wait for nothing, started again, and gone with who made it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pytest

import actlas
from actlas.errors import ActlasError, ExtractionError, InterventionError, ModelLoading, WeightsDiffer
from actlas.intervene.tokens.elsewhere import ModelElsewhere
from actlas.intervene.tokens.reader import token_reading
from actlas.testing import random_checkpoint

NEURON = ("mlp_pre", 1, 3)
#: Whether models are loaded again, each of which takes seconds.
IS_THOROUGH = bool(os.environ.get("ACTLAS_MODEL_PROCESSES"))
#: A process that begins to load and is killed.
PARENT = """
import sys, time
from pathlib import Path
from actlas.errors import ModelLoading
from actlas.intervene.tokens.elsewhere import ModelElsewhere
model = ModelElsewhere(None)
try:
    model.load(Path(sys.argv[1]), "tiny")
except ModelLoading:
    while model._child is None:
        time.sleep(0.01)
    print(model._child.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    texts = pl.DataFrame({"text": ["a cat", "two dogs", "ein Hund", "drei Katzen"], "language": ["en", "en", "de", "de"]})
    labels = pl.DataFrame({"text_id": range(4), "concept": "cat", "is_concept": [True, False, False, True]})
    corpus = actlas.corpus_from_frames(texts, labels)
    actlas.extract_activations(random_checkpoint(folder / "tiny"), corpus, folder / "run.actlas", device="cpu")
    actlas.score_neurons(folder / "run.actlas")
    return folder / "run.actlas"


def loaded(read: Callable[[], Mapping[str, pl.DataFrame]]) -> Mapping[str, pl.DataFrame]:
    until = time.monotonic() + 120
    while True:
        try:
            return read()
        except ModelLoading:
            assert time.monotonic() < until
            time.sleep(0.05)


def is_there(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="processes are looked at in /proc")
def test_it_reads_what_a_loaded_model_reads_and_is_started_again(store: Path) -> None:
    model = ModelElsewhere(None)

    def read(neuron: tuple[str, int, int] | None = NEURON) -> Mapping[str, pl.DataFrame]:
        return model.read(store, "tiny", "drei Katzen", neuron=neuron, n=2)

    with pytest.raises(ModelLoading, match="the model of tiny is being loaded; ask again in a moment"):
        read()
    found = loaded(read)
    with actlas.load_live(store, "tiny", device="cpu") as live:
        assert found["tokens"].equals(token_reading(live, "drei Katzen", str(store), NEURON, 2)["tokens"])
        experts = token_reading(live, "drei Katzen", str(store), None, 2)
    assert all(frame.equals(experts[name]) for name, frame in read(None).items())
    with pytest.raises(InterventionError):
        read(("mlp_pre", 1, 10**6))
    child = model._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(
        ExtractionError, match=r"ended by signal 9, as the system does where memory is short; another one is start"
    ):
        read()
    with pytest.raises(ModelLoading):
        read()
    if IS_THOROUGH:
        assert loaded(read)["tokens"].equals(found["tokens"])
    until = time.monotonic() + 30
    while (again := model._child) is child and time.monotonic() < until:
        time.sleep(0.01)
    model.close()
    assert again is None or not is_there(again.pid)


def test_no_process_is_started_once_it_is_closed(store: Path) -> None:
    model = ModelElsewhere(None)
    model.close()
    with pytest.raises(ModelLoading):
        model.load(store, "tiny")
    model._load(str(store), "tiny")
    assert model._child is None


@pytest.mark.skipif(not IS_THOROUGH, reason="loads another model; ACTLAS_MODEL_PROCESSES=1 runs it")
def test_a_model_that_is_another_one_is_refused_in_one_line(store: Path, tmp_path: Path) -> None:
    model = ModelElsewhere(str(random_checkpoint(tmp_path / "tiny", seed=3)))
    for _ in range(2):
        with pytest.raises(ActlasError) as refused:
            loaded(lambda: model.read(store, "tiny", "a cat", neuron=NEURON, n=2))
        assert isinstance(refused.value, WeightsDiffer)
    model.close()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="processes are looked at in /proc")
def test_it_ends_with_who_made_it(store: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(store)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    until = time.monotonic() + 30
    while is_there(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_there(pid)
