"""How the command ends at Ctrl-C, SIGTERM and the end of its terminal: with all it started, within a second, with one line."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from actlas.cli.output import tell

#: Seconds in which the work may end by itself: what is written is whole or not there, so that nothing needs longer.
_GRACE = 0.4
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end.

    Attributes:
        number: Which signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def tell_stopped(stop: KeyboardInterrupt) -> int:
    """Say that the command ends, and give its exit status."""
    number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
    what = "interrupted" if number == signal.SIGINT else "asked to end"
    if not _is_told.is_set():
        _is_told.set()
        tell(f"actlas: {what}; what is committed stays, and the same command goes on from there")
    return 128 + number


_is_told = threading.Event()


@contextmanager
def stopping() -> Iterator[None]:
    """Let these signals raise `Stopped` inside, and end the process where that is not heard soon.

    A signal that was ignored before (Ctrl-C in a job that a shell runs in the background) stays ignored.
    """
    heard, woken = os.pipe()
    os.set_blocking(woken, False)
    threading.Thread(target=_watch, args=(heard,), name="actlas-signals", daemon=True).start()
    # the interpreter writes there at once, whatever the main thread does
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)
    yield


def _raise(number: int, frame: FrameType | None) -> None:
    # once is enough, and a second one would come in the middle of the end
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    # what ends in the middle of its work has much to say
    logging.disable(logging.CRITICAL)
    stop = Stopped(number)
    if "distributed" in sys.modules:
        # a cluster that is closed takes its time, and says all of it; tasks end with their client, and workers here are killed
        leave(tell_stopped(stop))
    raise stop


def _watch(heard: int) -> None:
    while (number := os.read(heard, 1)[0]) not in _ENDING:
        pass
    time.sleep(_GRACE)
    leave(tell_stopped(Stopped(number)))


def leave(status: int) -> NoReturn:
    """End this process and what it started at once: an interpreter that ends by itself first takes everything down."""
    end_children()
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(status)


def end_children() -> None:
    """End every process that this one started."""
    started = sys.modules.get("actlas.extract.child")
    if started is not None:
        started.end_all()
    spawned = sys.modules.get("multiprocessing")
    for process in spawned.active_children() if spawned is not None else ():
        process.kill()
