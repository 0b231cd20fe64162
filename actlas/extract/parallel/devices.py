"""One call on several devices of this machine: a process each, all on one store, every block by whoever claims it first."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from actlas.errors import ExtractionError
from actlas.extract.parallel.worker import Call, error_from, merged, summary_from
from actlas.extract.results import ExtractSummary, Progress, ProgressCallback, TotalProgress

#: Processes that may die before the run is given up.
MAX_LOST = 3


class _Process:
    """One process and the thread that listens to it."""

    def __init__(self, call: Call, device: str, heard: queue.SimpleQueue[tuple[_Process, dict[str, Any] | None]]) -> None:
        self.device = device
        self._call = call.with_options(device=device, devices=())
        self.answer: dict[str, Any] = {}
        self._heard = heard
        self._process = subprocess.Popen(
            [sys.executable, "-m", "actlas.extract.parallel.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is gone already; the listener says so
            self._process.stdin.write(self._call.to_json() + "\n")
            self._process.stdin.flush()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._heard.put((self, json.loads(line)))
        self._process.wait()
        self._heard.put((self, None))

    @property
    def name(self) -> str:
        return f"the process on {self.device} ({self._process.pid})"

    @property
    def status(self) -> int | None:
        return self._process.poll()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout):
            # what could not be said to a process that is gone need not be
            with suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()


def run_on_devices(call: Call, devices: Sequence[str], progress: ProgressCallback) -> ExtractSummary:
    """Run `call` in one process per device; a device named twice has two.

    A process that dies gives its blocks back, and another takes its place on the device. An error in one stops all.

    Raises:
        ActlasError: What a process raised.
        ExtractionError: If more than `MAX_LOST` processes died.
    """
    heard: queue.SimpleQueue[tuple[_Process, dict[str, Any] | None]] = queue.SimpleQueue()
    total = TotalProgress(progress)
    processes: list[_Process] = []
    lost: list[str] = []
    summaries: list[ExtractSummary] = []
    try:
        processes += [_Process(call, device, heard) for device in devices]
        running = len(processes)
        while running:
            process, message = heard.get()
            if message is None:
                running -= 1
                if "error" in process.answer:
                    raise error_from(process.answer["error"], process.name)
                if "summary" in process.answer:
                    summaries.append(summary_from(process.answer["summary"]))
                    continue
                lost.append(f"{process.name} died with status {process.status}")
                if len(lost) > MAX_LOST:
                    raise ExtractionError(f"{'; '.join(lost)}. What was committed stays; the same command goes on from there")
                processes.append(_Process(call, process.device, heard))
                running += 1
            elif "progress" in message:
                total.add(str(id(process)), Progress(**message["progress"]))
            else:
                process.answer = message
    finally:
        for process in processes:
            process.end()
    whole = merged(summaries)
    return replace(whole, warnings=(*whole.warnings, *(f"{line}; its work was redone" for line in lost)))
