"""The run's end of an engine's process: starts it, asks it, and makes sure that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from actlas.errors import ExtractionError, error_named
from actlas.extract.backends.vllm.settings import engine_environment

#: Seconds for the ranks to let go of the device before they are killed, and for the kernel to bury them.
_SECONDS_TO_CLOSE = 10.0


class EngineLink:
    """One engine in a process of its own.

    Args:
        arguments: Of `vllm.LLM`.

    Raises:
        ExtractionError: If the engine does not start; what it printed is kept in a file that the text names.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        package = Path(__file__).resolve().parents[4]
        environment = engine_environment(os.environ, package, int(arguments.get("tensor_parallel_size", 1)))
        with tempfile.NamedTemporaryFile(prefix="actlas-vllm-", suffix=".log", delete=False) as log:
            self.log = Path(log.name)
            self._keeps_log = False
            self._child = subprocess.Popen(
                [sys.executable, "-m", "actlas.extract.backends.vllm.engine"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=environment,
                # a group of its own: Ctrl-C reaches the run alone, which closes the engine in order
                start_new_session=True,
            )
        try:
            #: Versions and device, as the engine's process sees them.
            self.about: Mapping[str, Any] = self._ask({"do": "start", "arguments": dict(arguments)})
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Number of the engine's process and of its process group."""
        return self._child.pid

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of every rank's `ActlasWorker`.

        Raises:
            ActlasError: Of whatever kind a rank answered.
        """
        answers: list[Any] = self._ask({"do": "call", "method": method, "arguments": list(arguments)})
        for answer in answers:
            if isinstance(answer, dict) and "error" in answer:
                raise error_named(answer["kind"], answer["error"]) or ExtractionError(answer["error"])
        return answers

    def generate(self, folder: Path, rows: Sequence[int]) -> None:
        """Run some texts of the block in a folder, together."""
        self._ask({"do": "generate", "folder": str(folder), "rows": list(rows)})

    def _ask(self, command: Mapping[str, Any]) -> Any:
        assert self._child.stdin is not None, "a pipe was asked for"
        assert self._child.stdout is not None, "a pipe was asked for"
        try:
            self._child.stdin.write(json.dumps(command) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._keeps_log = True
            raise ExtractionError(
                f"the process of vLLM ended while it was asked to {command['do']} ({self._last_words()}); its output is in "
                f"{self.log}"
            )
        answer = json.loads(line)
        if "failed" in answer:
            self._keeps_log = True
            raise ExtractionError(f"vLLM could not {command['do']}: {answer['failed']}; its output is in {self.log}")
        return answer["value"]

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def close(self) -> None:
        """End the engine and every rank of it; returns when they are gone.

        Raises:
            ExtractionError: If something of it can not be ended.
        """
        child = self._child
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):
            child.wait(_SECONDS_TO_CLOSE)
        _end_group(child)
        if not self._keeps_log:
            self.log.unlink(missing_ok=True)


def _end_group(child: subprocess.Popen[str]) -> None:
    """Kill what is left of a process group and wait until nothing is."""
    until = time.monotonic() + _SECONDS_TO_CLOSE
    while time.monotonic() < until:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        child.poll()
        time.sleep(0.02)
    raise ExtractionError(f"processes of group {child.pid}, an engine of vLLM, could not be ended")
