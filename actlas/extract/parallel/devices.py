"""One call on several devices of this machine: a process each on one store, every block by the one that claims it first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from queue import SimpleQueue

from actlas.errors import ExtractionError
from actlas.extract.child import Child, Message, error_from_json
from actlas.extract.parallel.worker import RemoteRequest, merged, summary_from
from actlas.extract.results import ExtractSummary, Progress, ProgressCallback, TotalProgress

#: Processes that may die before the run is given up.
MAX_LOST = 3


class _Worker:
    """The process on one device.

    Args:
        request: What all of them do together.
        device: Where this one runs.
        heard: Gets what it sends; None once it has ended.
    """

    def __init__(self, request: RemoteRequest, device: str, heard: SimpleQueue[tuple[_Worker, Message | None]]) -> None:
        self.device = device
        self.child = Child("actlas.extract.parallel.worker", f"the process on {device}")
        self.name = f"{self.child.name} ({self.child.pid})"
        self.child.send("run", request=request.with_options(device=device, devices=()).to_json())
        self.child.listen(lambda message: heard.put((self, message)))


def run_on_devices(request: RemoteRequest, devices: Sequence[str], progress: ProgressCallback) -> ExtractSummary:
    """Do what `request` asks in one process per device; a device named twice has two.

    A process that dies gives its blocks back, and another takes its place on the device. An error in one stops all.

    Raises:
        ActlasError: What a process raised.
        ExtractionError: If more than `MAX_LOST` processes died.
    """
    heard: SimpleQueue[tuple[_Worker, Message | None]] = SimpleQueue()
    total = TotalProgress(progress)
    start = partial(_Worker, request, heard=heard)
    workers: list[_Worker] = []
    lost: list[str] = []
    summaries: dict[_Worker, ExtractSummary] = {}
    try:
        for device in devices:
            workers.append(start(device))
        while len(summaries) < len(devices):
            worker, message = heard.get()
            if message is None:
                if worker in summaries:
                    continue
                lost.append(f"{worker.name} died with status {worker.child.status}")
                if len(lost) > MAX_LOST:
                    raise ExtractionError(f"{'; '.join(lost)}. What was committed stays; the same call goes on from there")
                workers.append(start(worker.device))
            elif "error" in message:
                raise error_from_json(message["error"], worker.name)
            elif "value" in message:
                summaries[worker] = summary_from(message["value"])
                worker.child.end()
            else:
                total.add(worker.name, Progress(**message["report"]))
    finally:
        for worker in workers:
            worker.child.close(seconds=0)
    whole = merged(list(summaries.values()))
    return replace(whole, warnings=(*whole.warnings, *(f"{line}; its work was redone" for line in lost)))
