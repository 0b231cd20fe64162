"""One call on the workers of a Dask cluster: a task per checkpoint and part of its blocks.

What travels is text: names, numbers, paths. The store must be a folder that every worker sees. A task of a lost worker is run
again elsewhere; parts are disjoint, so two workers never have one block, whether or not their file system honours locks between
machines.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from actlas.errors import BackendUnavailable, ExtractionError
from actlas.extract.backends.registry import get_backend
from actlas.extract.child import error_from_json, error_to_json
from actlas.extract.inputs.tokens import TokenCache
from actlas.extract.parallel.devices import MAX_LOST
from actlas.extract.parallel.worker import RemoteRequest, merged, summary_from
from actlas.extract.results import ExtractSummary, Progress, ProgressCallback, TotalProgress
from actlas.extract.run.prepare import asked_checkpoints, engine_settings

try:
    import dask
    import distributed
except ImportError as error:
    raise BackendUnavailable(f"a run on Dask workers needs {error.name}: pip install 'actlas[dask]'") from error

#: Topic under which workers report.
_TOPIC = "actlas-progress"
#: Seconds in which a scheduler has to answer.
_ANSWERS_WITHIN = 10
#: Kept by a worker's process, because all of its tasks are of one corpus.
_texts = TokenCache()


class _Cancelled(Exception):
    """The client that waits for this task is gone, or wants it no more."""


def run_part(remote: str) -> str:
    """A worker's side: do what is asked and give back the summary, or the error, as text."""
    worker = distributed.get_worker()
    key = worker.get_current_task()

    def report(progress: Progress) -> None:
        # Dask drops the result of a task that was cancelled, or whose client is gone, and lets it run on
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled":
            raise _Cancelled(f"task {key} was cancelled")
        worker.log_event(_TOPIC, json.dumps({"worker": worker.name, "progress": asdict(progress)}, default=str))

    try:
        return json.dumps({"value": asdict(RemoteRequest.from_json(remote).run(report, _texts.tokenise))})
    except Exception as error:
        return json.dumps({"error": error_to_json(error)})


def missing_here(paths: list[str]) -> list[str]:
    """Those of the paths that this process does not see."""
    return [path for path in paths if not Path(path).exists()]


def check_folders(client: Any, store: Path, corpus: Path) -> None:
    """Ask every worker whether it sees the corpus, and the folder in which the store is or will be.

    Raises:
        ExtractionError: Naming the workers that do not, and what they miss.
    """
    folder = next(folder for folder in store.parents if folder.exists())
    # another machine may have another folder of that name, but no file with a name drawn at random
    mark = folder / f".actlas-{secrets.token_hex(6)}"
    mark.touch()
    try:
        missing = client.run(missing_here, [str(mark), str(corpus / "corpus.json")])
    finally:
        mark.unlink()
    for path, what in ((mark, f"folder {folder} of the store"), (corpus / "corpus.json", f"corpus {corpus}")):
        blind = sorted(worker for worker, paths in missing.items() if str(path) in paths)
        if blind:
            raise ExtractionError(
                f"{len(blind)} of {len(missing)} Dask workers do not see the {what} on this machine: {', '.join(blind)}. Store "
                "and corpus must be on a file system that all of them share, under the same name"
            )


def run_on_dask(remote: RemoteRequest, address: str, progress: ProgressCallback) -> ExtractSummary:
    """Do what `remote` asks on the workers of a scheduler.

    Args:
        remote: What to do.
        address: Of the scheduler, or "local:N" for a cluster of N processes on this machine.
        progress: Called with a `Progress` now and then.

    Returns:
        What all workers did together.

    Raises:
        ActlasError: What a task raised.
        ExtractionError: If the cluster can not be reached, has no workers, loses them again and again, or if some of them do not
            see the corpus or the store's folder.
    """
    options, store = remote.request.options, remote.request.store
    # workers have working folders of their own
    request = replace(remote.request, store=store.absolute())
    remote = replace(remote, corpus=str(Path(remote.corpus).absolute()), request=request)
    engine = get_backend(options.backend, engine_settings(options))
    checkpoints = asked_checkpoints(list(remote.models), options, engine)
    checkpoints = [
        replace(one, model=str(Path(one.model).absolute())) if Path(one.model).exists() else one  # a hub id stays
        for one in checkpoints
    ]
    with _client(address) as client:
        n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not n_workers:
            raise ExtractionError(f"the Dask scheduler at {address} has no workers; start some with: dask worker {address}")
        if Path(remote.corpus).exists():  # one that does not exist is refused by the first task that reads it
            check_folders(client, request.store, Path(remote.corpus))
        client.subscribe_topic(_TOPIC, _listener(TotalProgress(progress)))
        parts = [
            remote.with_options(dask=None, steps=None, revisions=(), random_twin=False, twin_seed=0, part=(number, n_workers))
            for number in range(1, n_workers + 1)
        ]
        tasks = [[replace(part, models=(checkpoint,)).to_json() for part in parts] for checkpoint in checkpoints]
        summaries = [_merged_answers(answers) for answers in _run_tasks(client, tasks)]
    warnings = tuple(dict.fromkeys(line for summary in summaries for line in summary.warnings))
    results = tuple(result for summary in summaries for result in summary.checkpoints)
    return replace(summaries[0], store=str(store), checkpoints=results, warnings=warnings)


def _run_tasks(client: Any, tasks: Sequence[Sequence[str]]) -> list[list[str]]:
    """The answer to each task."""
    futures = [[client.submit(run_part, task, pure=False) for task in same] for same in tasks]
    try:
        answers: list[list[str]] = client.gather(futures)
    except distributed.KilledWorker as error:
        raise ExtractionError(
            f"a part was given up, because workers died at it again and again ({error}). What was committed stays; the same call "
            "goes on from there"
        ) from error
    finally:
        client.cancel([future for same in futures for future in same])
    return answers


def _merged_answers(answers: Sequence[str]) -> ExtractSummary:
    """What the parts of one checkpoint came to."""
    messages = [json.loads(answer) for answer in answers]
    for message in messages:
        if "error" in message:
            raise error_from_json(message["error"], "a Dask worker")
    return merged([summary_from(message["value"]) for message in messages])


def _listener(total: TotalProgress) -> Callable[[Any], None]:
    def listen(event: Any) -> None:
        _, text = event
        data = json.loads(text)
        total.add(str(data["worker"]), Progress(**data["progress"]))

    return listen


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started inside do not hear Ctrl-C, which a terminal sends to all: the one that started them ends them."""
    # Python's own helper, which is started with the first of them, would let them hear; and at an end that nothing was closed
    # before it warns of what it then removes
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    resource_tracker.ensure_running()
    del os.environ["PYTHONWARNINGS"]
    if before is not None:
        os.environ["PYTHONWARNINGS"] = before
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _client(address: str) -> Iterator[Any]:
    kind, _, number = address.partition(":")
    dask.config.set({"distributed.scheduler.allowed-failures": MAX_LOST})
    if kind == "local":
        if not number.isdigit() or not int(number):
            raise ExtractionError(f"the Dask address {address!r} names no number of processes; for two of them it is 'local:2'")
        # one task at a time in a process of its own: models are large, and threads of one process would share its hooks
        with _deaf_to_ctrl_c():
            cluster = distributed.LocalCluster(n_workers=int(number), threads_per_worker=1, dashboard_address="127.0.0.1:0")
        with cluster, distributed.Client(cluster) as client:
            yield client
        return
    try:
        client = distributed.Client(address, timeout=_ANSWERS_WITHIN)
    except (OSError, TimeoutError, ValueError) as error:
        raise ExtractionError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield client
