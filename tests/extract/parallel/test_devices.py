"""One call in several processes: the same bytes as in one, whoever of them dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actlas.cli import run
from actlas.errors import ExtractionError, ModelNotLoaded, RecipeMismatch
from actlas.extract import child, extract_activations
from actlas.extract.backends.hf import backend as backend_hf
from actlas.extract.results import Progress
from actlas.store.layout import text_blocks
from actlas.store.store import Store
from actlas.store.write.block_claims import BlockClaims

OPTIONS = {"sites": ["mlp_pre", "resid"], "max_tokens": 60, "texts_per_block": 4}


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture
def alone(contents, tiny_models, corpus_folder, tmp_path):
    extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "alone", **OPTIONS)
    return contents(tmp_path / "alone")


def test_two_processes_give_the_bytes_of_one(alone, contents, tiny_models, corpus_folder, tmp_path):
    reports: list[Progress] = []
    summary = extract_activations(
        tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS, devices=("cpu", "cpu"), progress=reports.append
    )
    assert contents(tmp_path / "s") == alone
    (result,) = summary.checkpoints
    assert (result.checkpoint, result.status) == ("llama", "extracted")
    assert result.sanity_loss == Store(tmp_path / "s").checkpoint("llama")["sanity_loss"]
    n_texts = Store(tmp_path / "s").corpus.n_texts
    assert summary.n_texts == result.n_texts == n_texts
    assert max(report.texts_done for report in reports) == n_texts
    again = extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS, devices=("cpu", "cpu"))
    assert [result.status for result in again.checkpoints] == ["there"]


def test_a_process_that_is_killed_is_replaced(alone, contents, tiny_models, corpus_folder, tmp_path, monkeypatch):
    started, killed = [], []
    begin = child.Child.__init__

    def remembered(self, *args):
        begin(self, *args)
        started.append(self)

    monkeypatch.setattr(child.Child, "__init__", remembered)

    def kill_one(report):
        # reports that were sent before may still come
        if report.stage == "extract" and not killed:
            killed.append(started[0].pid)
            os.kill(started[0].pid, signal.SIGKILL)

    summary = extract_activations(
        tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS, devices=("cpu", "cpu"), progress=kill_one
    )
    assert len(started) == 3
    assert contents(tmp_path / "s") == alone
    assert summary.checkpoints[0].status == "extracted"
    assert "died with status -9; its work was redone" in summary.warnings[-1]


def test_processes_that_die_again_and_again_end_the_run(tiny_models, corpus_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(child.sys, "executable", "/bin/false")
    with pytest.raises(ExtractionError, match="died with status 1; .*the same call goes on from there"):
        extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS, devices=("cpu", "cpu"))


def test_an_error_of_a_process_is_the_caller_s(corpus_folder, tmp_path):
    with pytest.raises(ModelNotLoaded, match="no model folder at"):
        extract_activations(tmp_path / "nowhere", corpus_folder, tmp_path / "s", **OPTIONS, devices=("cpu", "cpu"))


def test_what_other_processes_cannot_take_is_refused(tiny_models, small_corpus, corpus_folder, tmp_path):
    with pytest.raises(ExtractionError, match="read the corpus from its folder"):
        extract_activations(tiny_models("llama"), small_corpus, tmp_path / "s", **OPTIONS, devices=("cpu", "cpu"))
    with pytest.raises(ExtractionError, match="not both"):
        extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS, devices=("cpu",), dask="local:2")
    with pytest.raises(ExtractionError, match="would take files from processes"):
        extract_activations(
            tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS, devices=("cpu", "cpu"), removes_downloads=True
        )
    with pytest.raises(ExtractionError, match="no part 3 of 2"):
        extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS, part=(3, 2))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nobody_is_left_behind(how, tiny_models, corpus_folder, tmp_path):
    command = [sys.executable, "-m", "actlas", "extract", str(tiny_models("llama")), "--corpus", str(corpus_folder)]
    command += ["--store", str(tmp_path / "s"), "--devices", "cpu,cpu", "--texts-per-block", "1", "--max-tokens", "60"]
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tasks = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    children: list[str] = []
    deadline = time.monotonic() + 60
    while len(children) < 2 and time.monotonic() < deadline:
        children = tasks.read_text().split()
        time.sleep(0.01)
    assert len(children) == 2
    os.kill(parent.pid, how)
    parent.wait(30)
    while any(Path(f"/proc/{child}/cmdline").exists() for child in children):
        assert time.monotonic() < deadline, "a process outlived the one that started it"
        time.sleep(0.05)


def test_parts_together_are_everything(alone, contents, tiny_models, corpus_folder, tmp_path):
    statuses = []
    for part in ("2/3", "3/3", "1/3"):
        arguments = ["extract", str(tiny_models("llama")), "--corpus", str(corpus_folder), "--store", str(tmp_path / "s")]
        arguments += ["--site", "mlp_pre", "--site", "resid", "--max-tokens", "60", "--texts-per-block", "4", "--device", "cpu"]
        assert run(["--quiet", *arguments, "--part", part]) == 0
        statuses.append("llama" in Store(tmp_path / "s").checkpoints)
    assert statuses == [False, False, True]
    assert contents(tmp_path / "s") == alone


def test_no_model_is_loaded_where_others_have_all_blocks(alone, contents, tiny_models, corpus_folder, tmp_path, monkeypatch):
    store, opened = tmp_path / "s", []
    open_session = backend_hf.HfBackend.open

    def counted(self, *args):
        opened.append(args)
        return open_session(self, *args)

    monkeypatch.setattr(backend_hf.HfBackend, "open", counted)

    def status(**changes):
        (result,) = extract_activations(tiny_models("llama"), corpus_folder, store, **OPTIONS, **changes).checkpoints
        return result.status, len(opened)

    assert status(part=(1, 2)) == ("shared", 1)
    # its own part is there and the rest is not its own
    assert status(part=(1, 2)) == ("shared", 1)
    n_texts = Store(store).corpus.n_texts
    others = BlockClaims(store, "llama", text_blocks(n_texts, 4))
    claimed = []
    while (block := others.claim_next()) is not None:
        claimed.append(block.index)
    assert status() == ("shared", 1)
    # an owner that ends leaves its block to whoever comes
    others.release(claimed.pop())
    assert status() == ("shared", 2)
    others.release_all()
    assert status() == ("extracted", 3)
    assert contents(store) == alone


def test_other_weights_are_refused_though_others_have_all_blocks(tiny_models, corpus_folder, tmp_path):
    store = tmp_path / "s"
    extract_activations(tiny_models("llama"), corpus_folder, store, **OPTIONS, part=(1, 2))
    begun = store / "manifests" / "llama" / "begun.json"
    begun.write_text(begun.read_text().replace('"weight_hash": "', '"weight_hash": "f'))
    with pytest.raises(RecipeMismatch, match="was begun with weight_hash"):
        extract_activations(tiny_models("llama"), corpus_folder, store, **OPTIONS, part=(1, 2))
