"""One call on Dask workers: the same bytes as in one process, also when a worker is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from actlas.errors import ExtractionError, ModelNotLoaded
from actlas.extract import extract_activations
from actlas.extract.parallel.worker import RemoteRequest
from actlas.names import RandomTwin
from actlas.store.store import Store
from tests.loaded import loaded

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
cluster = pytest.importorskip("actlas.extract.parallel.dask_cluster")

OPTIONS = {"sites": ["mlp_pre"], "max_tokens": 60, "texts_per_block": 4, "device": "cpu"}


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module", autouse=True)
def _workers_start_loaded():
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        distributed.utils.get_mp_context()  # names modules of its own the first time
        with loaded("actlas.extract.parallel.dask_cluster", "transformers.models.llama.modeling_llama", "zarr"):
            yield


def test_workers_share_a_checkpoint_and_a_lost_one_is_survived(contents, tiny_models, corpus_folder, tmp_path, monkeypatch):
    # names mean what they mean here, wherever the workers are
    monkeypatch.chdir(tmp_path)
    models = [os.path.relpath(tiny_models("llama"))]
    extract_activations(models, corpus_folder, tmp_path / "alone", **OPTIONS)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as here:
        with distributed.Client(here) as client:
            client.run(os.chdir, "/")
        victim = here.workers[0].process.pid
        reports = []

        def kill_one(report):
            if report.stage == "extract" and not reports:
                os.kill(victim, signal.SIGKILL)
            reports.append(report)

        summary = extract_activations(models, "corpus", "s", **OPTIONS, dask=here.scheduler_address, progress=kill_one)
        assert reports
        assert [(result.checkpoint, result.status) for result in summary.checkpoints] == [("llama", "extracted")]
        assert summary.store == "s"
        assert contents(tmp_path / "s") == contents(tmp_path / "alone")
        assert not list(tmp_path.glob(".actlas-*"))
        with pytest.raises(ModelNotLoaded, match="no model folder"):
            extract_activations(tmp_path / "no", corpus_folder, tmp_path / "n", **OPTIONS, dask=here.scheduler_address)


def test_a_random_twin_is_one_task_and_no_task_makes_another(model_writer, corpus_folder, tmp_path, monkeypatch):
    class Client:
        def scheduler_info(self, **_):
            return {"workers": {"a": {}}}

        def run(self, *_):
            return {}

        def subscribe_topic(self, *_):
            pass

    class Asked(Exception):
        pass

    def ask(_, tasks):
        raise Asked([RemoteRequest.from_json(task) for (task,) in tasks])

    for step in (1, 2):
        model_writer(tmp_path / "run" / f"step{step}", "llama")
    monkeypatch.setattr(cluster, "_client", lambda _: nullcontext(Client()))
    monkeypatch.setattr(cluster, "_run_tasks", ask)
    with pytest.raises(Asked) as asked:
        extract_activations(tmp_path / "run", corpus_folder, tmp_path / "s", **OPTIONS, dask="x:1", random_twin=True, twin_seed=3)
    (requests,) = asked.value.args
    assert [[model.id for model in request.models] for request in requests] == [["run-step1"], ["run-step2"], ["run-random3"]]
    assert requests[2].models[0].twin == RandomTwin("run-step2", 3)
    assert not any(request.request.options.random_twin for request in requests)


SLOWLY = """
import time
from actlas.extract.results import CheckpointProgress
once = CheckpointProgress.add
def add(self, *arguments):
    time.sleep(1.5)
    once(self, *arguments)
CheckpointProgress.add = add
"""


# A client takes seconds to go: whatever is left of the work by then has to take longer.
@pytest.mark.usefixtures("ctrl_c_interrupts")
def test_interrupted_tasks_do_not_run_on(contents, tiny_models, corpus_folder, tmp_path):
    extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "alone", **OPTIONS)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as here:
        with distributed.Client(here) as client:
            client.run(exec, SLOWLY, {})

        interrupted = threading.Event()

        def interrupt(report):
            # a signal as Ctrl-C sends it, once: it also wakes a thread that waits
            if report.stage == "extract" and not interrupted.is_set():
                interrupted.set()
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            extract_activations(
                tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS, dask=here.scheduler_address, progress=interrupt
            )
        with distributed.Client(here) as client:
            until = time.monotonic() + 60
            # a free worker answers: a task that ran on would keep it
            while any(client.run(lambda dask_worker: len(dask_worker.state.executing)).values()):
                assert time.monotonic() < until, "tasks run on"
                time.sleep(0.1)
        assert not Store(tmp_path / "s").checkpoints
    extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS)
    assert contents(tmp_path / "s") == contents(tmp_path / "alone")


def test_a_cluster_of_this_machine(contents, tiny_models, corpus_folder, tmp_path):
    extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "alone", **OPTIONS)
    extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS, dask="local:2")
    assert contents(tmp_path / "s") == contents(tmp_path / "alone")


def test_workers_that_do_not_see_the_folders_are_named(tmp_path):
    class Client:
        def __init__(self, *seen):
            self.seen = seen

        def run(self, function, paths):
            missing = function(paths)
            assert missing == [], "they are here"
            return {f"tcp://worker-{i}": [p for p in paths if not p.startswith(str(seen))] for i, seen in enumerate(self.seen)}

    corpus, shared = tmp_path / "home" / "corpus", tmp_path / "shared"
    corpus.mkdir(parents=True)
    (corpus / "corpus.json").touch()
    shared.mkdir()
    cluster.check_folders(Client(tmp_path, tmp_path), shared / "deep" / "s", corpus)
    with pytest.raises(ExtractionError, match=r"1 of 3 Dask workers do not see the corpus .*/home/corpus .*: tcp://worker-1\."):
        cluster.check_folders(Client(tmp_path, shared, tmp_path), shared / "s", corpus)
    with pytest.raises(ExtractionError, match=r"1 of 2 Dask workers do not see the folder .*/shared of the store"):
        cluster.check_folders(Client(tmp_path / "home", tmp_path), shared / "s", corpus)
    assert list(shared.iterdir()) == []


def test_clusters_that_are_not_there(tiny_models, corpus_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_ANSWERS_WITHIN", 1)
    for address, message in (
        ("local:two", "names no number"),
        ("local:0", "names no number"),
        ("tcp://127.0.0.1:1", "no Dask scheduler answers"),
    ):
        with pytest.raises(ExtractionError, match=message):
            extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS, dask=address)


def test_ctrl_c_ends_a_cluster_of_this_machine_with_one_line(ctrl_c_interrupts, tiny_models, corpus_folder, tmp_path):
    command = [sys.executable, "-m", "actlas", "extract", str(tiny_models("llama")), "--corpus", str(corpus_folder)]
    command += ["--store", str(tmp_path / "s"), "--dask", "local:1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)

    def others():
        own = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
        return [fields for fields in own if fields[3] == str(process.pid) and fields[0] != "Z"][1:]

    try:
        until = time.monotonic() + 60
        while len(others()) < 2 and time.monotonic() < until:  # the worker, and a helper of Python's
            time.sleep(0.05)
        # all processes of a terminal hear it
        os.killpg(process.pid, signal.SIGINT)
        errors = process.communicate(timeout=30)[1].decode()
        assert process.returncode == 130
        assert errors.splitlines()[-1].startswith("actlas: interrupted; what is committed stays")
        assert "Traceback" not in errors
        until = time.monotonic() + 5
        while others() and time.monotonic() < until:
            time.sleep(0.05)
        assert others() == []
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
