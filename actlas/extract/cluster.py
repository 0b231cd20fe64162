"""One call on the workers of a Dask cluster: a task per checkpoint and part of its blocks.

What travels is text: names, numbers, paths. The store must be a folder that every worker sees. A task of a lost worker is run
again elsewhere; parts are disjoint, so two workers never have one block, whether or not their file system honours locks between
machines.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from actlas.errors import BackendUnavailable, ExtractionError
from actlas.extract.backend import get_backend
from actlas.extract.devices import MAX_LOST, TotalProgress
from actlas.extract.models import resolve_models
from actlas.extract.options import ExtractSummary, Progress, ProgressCallback
from actlas.extract.run import engine_settings
from actlas.extract.worker import Call, error_from, merged, summary_from

try:
    import dask
    import distributed
except ImportError as error:
    raise BackendUnavailable(f"--dask needs {error.name}: pip install 'actlas[dask]'") from error

#: Topic under which workers report.
_TOPIC = "actlas-progress"


def run_part(call: str) -> str:
    """A worker's side: run a call and give back its summary, or the error, as text."""
    worker = distributed.get_worker()

    def report(progress: Progress) -> None:
        worker.log_event(_TOPIC, json.dumps({"who": worker.name, "progress": asdict(progress)}, default=str))

    try:
        return json.dumps({"summary": asdict(Call.from_json(call).run(report))})
    except Exception as error:
        return json.dumps({"error": {"kind": type(error).__name__, "message": str(error)}})


def run_on_dask(call: Call, address: str, progress: ProgressCallback) -> ExtractSummary:
    """Run `call` on the workers of a scheduler.

    Args:
        call: What to do.
        address: Of the scheduler, or "local:N" for a cluster of N processes on this machine.
        progress: Called with a `Progress` now and then.

    Raises:
        ActlasError: What a task raised.
        ExtractionError: If the cluster can not be reached, has no workers, or loses them again and again.
    """
    options = call.request.options
    engine = get_backend(call.request.backend, engine_settings(options))
    checkpoints = resolve_models(list(call.models), options.steps, revisions=options.revisions, list_revisions=engine.revisions)
    with _client(address) as client:
        n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not n_workers:
            raise ExtractionError(f"the Dask scheduler at {address} has no workers; start some with: dask worker {address}")
        client.subscribe_topic(_TOPIC, _listener(TotalProgress(progress)))
        by_checkpoint = []
        for checkpoint in checkpoints:
            tasks = []
            for part in range(1, n_workers + 1):
                shared = call.with_options(dask=None, steps=None, revisions=(), part=(part, n_workers))
                tasks.append(replace(shared, models=(checkpoint,)).to_json())
            by_checkpoint.append(tasks)
        futures = [[client.submit(run_part, task, pure=False) for task in tasks] for tasks in by_checkpoint]
        try:
            answers = client.gather(futures)
        except distributed.KilledWorker as error:
            raise ExtractionError(
                f"a part was given up, for workers died at it again and again ({error}). What was committed stays; the same "
                "command goes on from there"
            ) from error
        finally:
            client.cancel([future for tasks in futures for future in tasks])
    summaries = []
    for tasks in answers:
        found = [json.loads(answer) for answer in tasks]
        for answer in found:
            if "error" in answer:
                raise error_from(answer["error"], "a Dask worker")
        summaries.append(merged([summary_from(answer["summary"]) for answer in found]))
    warnings = tuple(dict.fromkeys(line for summary in summaries for line in summary.warnings))
    results = tuple(result for summary in summaries for result in summary.checkpoints)
    return replace(summaries[0], checkpoints=results, warnings=warnings)


def _listener(total: TotalProgress) -> Callable[[Any], None]:
    def listen(event: Any) -> None:
        _, text = event
        heard = json.loads(text)
        total.add(str(heard["who"]), Progress(**heard["progress"]))

    return listen


@contextmanager
def _client(address: str) -> Iterator[Any]:
    kind, _, number = address.partition(":")
    dask.config.set({"distributed.scheduler.allowed-failures": MAX_LOST})
    if kind == "local":
        if not number.isdigit() or not int(number):
            raise ExtractionError(f"--dask {address} names no number of processes; for two of them: --dask local:2")
        # one task at a time in a process of its own: models are large, and threads of one process would share its hooks
        with (
            distributed.LocalCluster(n_workers=int(number), threads_per_worker=1, dashboard_address=None) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(address, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise ExtractionError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield client
