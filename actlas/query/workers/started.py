"""`StartedProcess`: one process that answers queries, seen from the one that asks."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

import msgspec

from actlas.query.workers.messages import Answered, Asked, Settings, receive, send

#: Seconds that a process has to be gone when it says nothing more.
_SECONDS_TO_END = 5.0
#: Each pool of memory of a thread would take address space that it does not use; so would threads that have nothing to do.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class StartedProcess:
    """A process, started and asked one query after the other.

    Args:
        settings: What it is started with.
        folder: Where it runs: a relative path of the store stands for the same, and is the same in messages.

    Attributes:
        n_asked: Queries that it was asked.
    """

    def __init__(self, settings: Settings, folder: str) -> None:
        self._connection, theirs = Pipe()
        package = str(Path(__file__).resolve().parents[3])
        paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        arguments = [str(theirs.fileno()), msgspec.json.encode(settings).decode()]
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "actlas.query.workers.process", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)},
                cwd=folder,
                # Ctrl-C is for the one that asks
                process_group=0,
            )
        except OSError:
            self._connection.close()
            raise
        finally:
            theirs.close()
        self._is_ready = False
        self.n_asked = 0
        #: Whether it was killed, or nothing more will be asked of it.
        self._is_over = False

    @property
    def is_running(self) -> bool:
        """Whether it can be asked."""
        # one that was killed may take a moment to be gone
        if self._is_over or self._popen.poll() is not None:
            return False
        # one that was not asked says nothing, unless that it has ended
        with suppress(OSError):
            return not self._is_ready or not self._connection.poll()
        return False

    def ask(self, asked: Asked, params: bytes | memoryview) -> tuple[Answered, bytes]:
        """The answer to one query.

        Raises:
            EOFError: If the process ended instead.
            OSError: Likewise.
        """
        if not self._is_ready:
            ready, _ = receive(self._connection, Answered)
            if ready.error:
                return ready, b""
            self._is_ready = True
        self.n_asked += 1
        send(self._connection, asked, params)
        return self.hear()

    def hear(self) -> tuple[Answered, bytes]:
        """What it says next; see `ask`."""
        return receive(self._connection, Answered)

    def kill(self) -> None:
        """End it at once, whatever it does; who waits for its answer hears that it is gone."""
        self._is_over = True
        self._popen.kill()

    def end(self) -> int:
        """Ask it nothing more, and wait until it is gone; gives its exit status."""
        self._is_over = True
        self._connection.close()
        try:
            return self._popen.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._popen.wait()
