"""Checkpoints from a hub that is a folder: what is downloaded, when, and what is removed again."""

import shutil
import threading
from types import SimpleNamespace

import pytest

from actlas.errors import ModelNotLoaded
from actlas.extract import extract_activations
from actlas.extract.backends.base import BackendSettings
from actlas.extract.backends.hf import backend as backend_hf
from actlas.extract.backends.hf import hub as hub_module
from actlas.extract.backends.hf.identify import identify
from actlas.names import Checkpoint
from actlas.store.store import Store

OPTIONS = {"device": "cpu", "max_tokens": 60, "texts_per_block": 16, "syncs": False}


class FakeHub:
    """Revisions of one model, each a folder; a download lays them out as the hub's cache does."""

    def __init__(self, cache):
        self.cache, self.revisions, self.downloads, self.errors = cache, {}, [], {}

    def add(self, revision, folder):
        self.revisions[revision] = folder

    def commit(self, revision):
        return f"{revision.encode().hex():0<40}"[:40]

    def snapshot_download(self, model, revision=None, allow_patterns=None):
        if revision in self.errors:
            raise self.errors[revision]
        repository = self.cache / f"models--{model.replace('/', '--')}"
        snapshot = repository / "snapshots" / self.commit(revision)
        if not snapshot.exists():
            self.downloads.append(revision)
        snapshot.mkdir(parents=True, exist_ok=True)
        (repository / "blobs").mkdir(exist_ok=True)
        for file in self.revisions[revision].iterdir():
            blob = repository / "blobs" / str(hash(file.read_bytes()))
            if not blob.exists():
                shutil.copy(file, blob)
            if not (snapshot / file.name).exists():
                (snapshot / file.name).symlink_to(blob)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / revision).write_text(self.commit(revision))
        return str(snapshot)


@pytest.fixture
def hub(tmp_path, monkeypatch, model_writer):
    hub = FakeHub(tmp_path / "cache")
    for step in (1, 2, 3):
        hub.add(f"step{step}", model_writer(tmp_path / "there" / f"step{step}", "llama", seed=step))
    monkeypatch.setattr(hub_module, "snapshot_download", hub.snapshot_download)
    monkeypatch.setattr(hub_module, "model_info", lambda _, revision: SimpleNamespace(sha=hub.commit(revision)))
    refs = SimpleNamespace(branches=[SimpleNamespace(name=name) for name in ("main", *hub.revisions)], tags=[])
    monkeypatch.setattr(hub_module, "list_repo_refs", lambda _: refs)
    monkeypatch.setattr(hub_module.constants, "HF_HUB_CACHE", str(hub.cache))
    return hub


def snapshots(hub):
    folder = hub.cache / "models--org--m" / "snapshots"
    return sorted(revision for revision in hub.revisions if (folder / hub.commit(revision)).exists())


def test_the_next_checkpoint_arrives_while_the_one_before_is_extracted(hub, small_corpus, tmp_path, monkeypatch):
    at_run = []
    run_block = backend_hf.HfSession.run_block
    arrived = {revision: threading.Event() for revision in hub.revisions}
    download = hub.snapshot_download

    def downloads(model, revision=None, **rest):
        folder = download(model, revision, **rest)
        arrived[revision].set()
        return folder

    def runs(self, block, **rest):
        # the first checkpoint goes on only once the second is here: without overlap this would wait in vain
        assert arrived["step2"].wait(20)
        at_run.append(list(hub.downloads))
        return run_block(self, block, **rest)

    monkeypatch.setattr(hub_module, "snapshot_download", downloads)
    monkeypatch.setattr(backend_hf.HfSession, "run_block", runs)
    # a dtype is named, or the last checkpoint would be looked at first
    extract_activations("org/m@step*", small_corpus, tmp_path / "s", dtype="float16", **OPTIONS)
    assert at_run[0] == ["step1", "step2"]
    assert hub.downloads == ["step1", "step2", "step3"]
    store = Store(tmp_path / "s")
    assert store.checkpoints == ["m-step1", "m-step2", "m-step3"]
    assert store.checkpoint("m-step2")["commit"] == hub.commit("step2")
    assert snapshots(hub) == ["step1", "step2", "step3"]


def test_an_error_of_a_download_surfaces_when_its_turn_comes(hub, small_corpus, tmp_path):
    hub.errors["step2"] = OSError("connection lost")
    seen = []
    with pytest.raises(ModelNotLoaded, match="org/m at revision 'step2' .* could not be had from the hub: connection lost"):
        extract_activations("org/m@step*", small_corpus, tmp_path / "s", progress=seen.append, **OPTIONS)
    assert Store(tmp_path / "s").checkpoints == ["m-step1"]
    assert seen[-1].checkpoint == "m-step2"
    del hub.errors["step2"]
    summary = extract_activations("org/m@step*", small_corpus, tmp_path / "s", **OPTIONS)
    assert [result.status for result in summary.checkpoints] == ["there", "extracted", "extracted"]


def test_only_what_this_run_downloaded_is_removed(hub, small_corpus, tmp_path):
    hub.snapshot_download("org/m", "step2")
    own = shutil.copytree(hub.revisions["step1"], tmp_path / "own-step9")
    extract_activations(["org/m@step*", own], small_corpus, tmp_path / "s", removes_downloads=True, **OPTIONS)
    assert len(Store(tmp_path / "s").checkpoints) == 4
    assert snapshots(hub) == ["step2"]
    repository = hub.cache / "models--org--m"
    kept = {path.resolve() for path in (repository / "snapshots" / hub.commit("step2")).iterdir()}
    assert {path.resolve() for path in (repository / "blobs").iterdir()} == kept
    assert all(path.exists() for path in kept)
    assert [path.name for path in (repository / "refs").iterdir()] == ["step2"]
    assert (own / "model.safetensors").is_file()


def test_a_complete_checkpoint_is_not_downloaded_again(hub, small_corpus, tmp_path, monkeypatch):
    extract_activations("org/m@step*", small_corpus, tmp_path / "s", removes_downloads=True, **OPTIONS)
    assert snapshots(hub) == []
    hub.downloads.clear()
    summary = extract_activations("org/m@step*", small_corpus, tmp_path / "s", removes_downloads=True, **OPTIONS)
    assert [result.status for result in summary.checkpoints] == ["there"] * 3
    # one is needed to know the recipe
    assert hub.downloads == ["step1"]
    assert snapshots(hub) == []
    # a branch that moved on, or a hub that does not answer, is looked at
    monkeypatch.setattr(hub_module, "model_info", lambda *_, **__: (_ for _ in ()).throw(OSError("offline")))
    hub.downloads.clear()
    extract_activations("org/m@step*", small_corpus, tmp_path / "s", **OPTIONS)
    assert hub.downloads == ["step1", "step2", "step3"]


def test_a_folder_has_no_commit_and_is_never_discarded(tiny_models, small_corpus, tmp_path):
    folder = shutil.copytree(tiny_models("llama"), tmp_path / "snapshots" / "m")
    extract_activations(folder, small_corpus, tmp_path / "s", removes_downloads=True, **OPTIONS)
    assert (folder / "model.safetensors").is_file()
    assert Store(tmp_path / "s").checkpoint("m")["commit"] is None
    source = identify(Checkpoint("m", str(folder)), BackendSettings(), "float32")
    hub_module.discard(source)
    assert (folder / "model.safetensors").is_file()


def test_a_hub_that_does_not_answer_gives_no_commit(monkeypatch):
    def fails(*_, **__):
        raise OSError("offline")

    monkeypatch.setattr(hub_module, "model_info", fails)
    assert hub_module.commit_on_hub("org/m", "step1") is None
