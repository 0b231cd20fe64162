"""Child processes that answer commands: lines of JSON in both directions, one protocol for all of them. Standard library only.

The parent writes ``{"do": NAME, ...arguments}``. The child writes any number of ``{"report": ...}`` while it works, then
``{"value": ...}``, or ``{"error": ...}`` with the class, the text and the traceback of what went wrong. A child ends when its
standard input does, so it is not left behind however the parent ends. It leads a process group of its own: Ctrl-C reaches the
parent alone, and processes that a child started end with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

from actlas.errors import ActlasError, ExtractionError, error_named

#: What may be sent: anything that JSON knows.
Report = Callable[[Any], None]
Command = Callable[..., Any]
Message = dict[str, Any]

#: Process groups of the children that this process started and that have not ended.
_groups: set[int] = set()

#: Seconds that a child has to end by itself, and that killed processes have to be gone.
_SECONDS_TO_END = 10.0


def error_to_json(error: BaseException) -> Message:
    """An error in a form that another process can raise again."""
    lines = "".join(traceback.format_exception(error))
    return {"kind": type(error).__name__, "message": str(error), "traceback": lines}


def error_from_json(data: Mapping[str, str], origin: str, ending: str = "") -> ActlasError:
    """The error that `error_to_json` wrote down: of its own class where that is one of `actlas.errors`.

    Args:
        data: What was written.
        origin: The process that it comes from, in words.
        ending: End of the text of an error of any other class.

    Returns:
        The error; a note of it holds the traceback in the other process.

    Example:
        >>> error_from_json(error_to_json(KeyError("width")), "the process on cpu")
        ExtractionError("the process on cpu failed with KeyError: 'width'")
    """
    kind, message = data["kind"], data["message"]
    error = error_named(kind, message) or ExtractionError(f"{origin} failed with {kind}: {message}{ending}")
    error.add_note(f"In {origin}:\n{data['traceback']}")
    return error


def serve(make_commands: Callable[[Report], Mapping[str, Command]], *, at_end: Callable[[], None] = lambda: None) -> NoReturn:
    """Answer commands from standard input until it ends; the main function of a child.

    Args:
        make_commands: Gets the function that sends reports and gives name -> function; each function takes the arguments of its
            command by name and returns what JSON knows.
        at_end: Called before the process ends, unless it ends in the middle of a command.
    """
    # answers go where standard output was; what libraries print goes to standard error
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    writing = threading.Lock()

    def send(line: str) -> None:
        with writing:
            answers.write(line + "\n")

    commands = make_commands(lambda data: send(json.dumps({"report": data})))
    lines: SimpleQueue[str | None] = SimpleQueue()
    is_busy, is_over = threading.Event(), threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line)
        is_over.set()
        lines.put(None)
        if is_busy.is_set():
            # the process that waits for the answer is gone
            _end_child()

    threading.Thread(target=listen, name="actlas-child", daemon=True).start()
    while (line := lines.get()) is not None:
        is_busy.set()
        if is_over.is_set():
            break
        try:
            arguments = json.loads(line)
            answer = json.dumps({"value": commands[arguments.pop("do")](**arguments)})
        except Exception as error:
            answer = json.dumps({"error": error_to_json(error)})
        # before the answer: the process that has it may end this one, which is in the middle of nothing then
        is_busy.clear()
        with suppress(BrokenPipeError):
            send(answer)
    at_end()
    _end_child()


def _end_child() -> NoReturn:
    """End at once, with all that was started: threads and ranks of libraries may not care to end by themselves."""
    if os.getsid(0) == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(0)


class Child:
    """A process that runs `serve`, seen from the one that started it.

    Args:
        module: Name of the module that the process runs.
        name: What the process is called in messages.
        environment: Its environment variables; None for those of this process. The package that this process runs is found by
            the child in any case.
        log_name: Begin of the name of a temporary file that takes what the process prints; None prints it where this process
            prints. The file stays where the process failed.
    """

    def __init__(
        self, module: str, name: str, *, environment: Mapping[str, str] | None = None, log_name: str | None = None
    ) -> None:
        self.name = name
        self.log: Path | None = None
        self._keeps_log = False
        log = None
        if log_name is not None:
            log = tempfile.NamedTemporaryFile(prefix=f"{log_name}-", suffix=".log", delete=False)  # noqa: SIM115 - closed below
            self.log = Path(log.name)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=_with_package(os.environ if environment is None else environment),
                start_new_session=True,
            )
        finally:
            if log is not None:
                log.close()
        _groups.add(self._process.pid)
        assert self._process.stdin is not None, "a pipe was asked for"
        assert self._process.stdout is not None, "a pipe was asked for"
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._listener: threading.Thread | None = None
        self._is_gone = False

    @property
    def pid(self) -> int:
        """Number of the process and of its process group."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status; None while the process runs."""
        return self._process.poll()

    def send(self, do: str, **arguments: Any) -> None:
        """Send a command. A process that is gone is noticed when it does not answer."""
        with suppress(BrokenPipeError):
            self._stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._stdin.flush()

    def messages(self) -> Iterator[Message]:
        """What the process sends, until it has ended."""
        for line in self._stdout:
            yield json.loads(line)
        self._process.wait()
        self._end_group()

    def listen(self, hear: Callable[[Message | None], None]) -> None:
        """Hand every message to `hear`, in a thread of its own, and None once the process has ended."""

        def run() -> None:
            try:
                for message in self.messages():
                    hear(message)
            finally:
                hear(None)

        self._listener = threading.Thread(target=run, name="actlas-listener", daemon=True)
        self._listener.start()

    def ask(self, do: str, **arguments: Any) -> Any:
        """Send a command and wait for its answer; reports are passed over.

        Raises:
            ActlasError: What the command raised; an `ExtractionError` where that is no error of actlas.
            ExtractionError: If the process ended instead.
        """
        self.send(do, **arguments)
        for message in self.messages():
            if "value" in message:
                return message["value"]
            if "error" in message:
                raise self._failure(do, message["error"])
        self._keeps_log = True
        raise ExtractionError(f"{self.name} ended while it was asked to {do}{self._last_words()}")

    def _failure(self, do: str, data: Mapping[str, str]) -> ActlasError:
        if self.log is None:
            return error_from_json(data, f"{self.name}, asked to {do},")
        self._keeps_log = True
        with self.log.open("a", encoding="utf-8") as log:
            log.write(data["traceback"])
        return error_from_json(data, f"{self.name}, asked to {do},", f"; its output is in {self.log}")

    def _last_words(self) -> str:
        if self.log is None:
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
        return f" ({last}); its output is in {self.log}"

    def end(self) -> None:
        """Ask nothing more: the process ends by itself."""
        with suppress(BrokenPipeError):
            self._stdin.close()

    def close(self, seconds: float = _SECONDS_TO_END) -> None:
        """End the process and all that it started; returns when they are gone.

        Args:
            seconds: How long it may take to end by itself before it is killed.

        Raises:
            ExtractionError: If something of it cannot be ended.
        """
        self.end()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self._end_group()
        if self._listener is not None:
            self._listener.join()
        self._stdout.close()
        if self.log is not None and not self._keeps_log:
            self.log.unlink(missing_ok=True)

    def _end_group(self) -> None:
        """Kill what is left of the process group, and wait until nothing is.

        Once: afterwards the number may belong to processes that are none of ours.
        """
        until = time.monotonic() + _SECONDS_TO_END
        while not self._is_gone:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._process.wait()
                self._is_gone = True
                _groups.discard(self.pid)
                return
            if time.monotonic() > until:
                raise ExtractionError(f"processes of group {self.pid} ({self.name}) could not be ended")
            self._process.poll()
            time.sleep(0.02)


def end_all() -> None:
    """Kill all children, for a process that is about to end itself; nothing waits for them."""
    for group in list(_groups):
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def _with_package(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment`, in which Python finds the package that runs here before any other of its name."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}
