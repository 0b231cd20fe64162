"""Which work of a device is known to be done before which other work, and what may therefore be read, written or let go.

Nothing here knows torch. Work is numbered per stream. A clock says for every stream how far its work is known to be done: a
stream has one for what comes next on it, an event keeps the one of its recording, and the host has one of what it waited for.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
Clock = dict["Stream", int]


class CudaMistake(AssertionError):
    """What would be an error, a race or a hidden wait on a real device."""


@dataclass(frozen=True)
class Wait:
    """What the host waited for, and the file that made it wait."""

    what: str
    where: str


def _asking_file() -> str:
    """The innermost file that is neither torch's nor one of these."""
    frame = sys._getframe(1)
    while frame is not None and ("/torch/" in frame.f_code.co_filename or Path(frame.f_code.co_filename).parent == _HERE):
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_filename


@dataclass
class Order:
    """The streams of one test, what the host has waited for, and what is still under way.

    Attributes:
        done: How far the host knows each stream to be done.
        under_way: Work whose effect on host memory has not been waited for, and what to do once it has.
        waits: What the host waited for, in order.
        mistakes: Everything that was wrong, also where whoever caused it could not be told.
    """

    done: Clock = field(default_factory=dict)
    under_way: list[tuple[Stream, int, Callable[[], None]]] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)

    def refuse(self, what: str) -> CudaMistake:
        """The error to raise; it is also kept, for code that swallows errors."""
        self.mistakes.append(what)
        return CudaMistake(what)

    def wait_for(self, clock: Clock, what: str) -> None:
        """The host waits until everything on a clock is done."""
        with self.lock:
            self.waits.append(Wait(what, _asking_file()))
            _merge(self.done, clock)
            arrived = [entry for entry in self.under_way if self.done.get(entry[0], 0) >= entry[1]]
            self.under_way = [entry for entry in self.under_way if self.done.get(entry[0], 0) < entry[1]]
            for _, _, arrive in arrived:
                arrive()


def _merge(clock: Clock, other: Clock) -> None:
    for stream, number in other.items():
        clock[stream] = max(clock.get(stream, 0), number)


class Stream:
    """A stand-in for `torch.cuda.Stream`; work on it is known to be done only where somebody waited for it."""

    def __init__(self, order: Order, device: Any, name: str) -> None:
        self.order, self.device, self.name = order, device, name
        self.clock: Clock = {self: 0}
        order.streams.append(self)

    def __repr__(self) -> str:
        return self.name

    def launch(self) -> int:
        """Number of a new piece of work."""
        with self.order.lock:
            self.clock[self] += 1
            return self.clock[self]

    def knows(self, other: Stream, number: int) -> bool:
        """Whether work of a stream is done before what comes next on this one."""
        return max(self.clock.get(other, 0), self.order.done.get(other, 0)) >= number

    def wait_event(self, event: Event) -> None:
        _merge(self.clock, event.clock)

    def wait_stream(self, other: Stream) -> None:
        _merge(self.clock, other.clock)

    def record_event(self, event: Event | None = None) -> Event:
        event = Event(self.order) if event is None else event
        event.record(self)
        return event

    def synchronize(self) -> None:
        self.order.wait_for(self.clock, f"everything on {self}")


class Event:
    """A stand-in for `torch.cuda.Event`; one that was never recorded is waited for by nothing, as on a device."""

    def __init__(self, order: Order, **_: Any) -> None:
        self.order = order
        self.clock: Clock = {}

    def record(self, stream: Stream) -> None:
        self.clock = dict(stream.clock)

    def wait(self, stream: Stream) -> None:
        stream.wait_event(self)

    def synchronize(self) -> None:
        self.order.wait_for(self.clock, "an event")

    def elapsed_time(self, _: Event) -> float:
        return 1.0


class Memory:
    """Memory on a device: who wrote it last, who reads it, and the stream that has it again once it is let go."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.written: tuple[Stream, int] | None = None
        self.read: Clock = {}
        self.recorded: set[Stream] = set()

    def use(self, stream: Stream, number: int, what: str, *, writes: bool) -> None:
        """A piece of work reads this memory, or writes it.

        Raises:
            CudaMistake: If it does not come after what it needs.
        """
        earlier = dict([self.written]) if self.written is not None else {}
        if writes:
            _merge(earlier, self.read)
        for other, n in earlier.items():
            if other is not stream and not stream.knows(other, n):
                verb = "writes" if writes else "reads"
                raise stream.order.refuse(f"{what} on {stream} {verb} memory that {other} is using, and does not wait for it")
        if writes:
            self.written, self.read = (stream, number), {}
        else:
            self.read[stream] = max(number, self.read.get(stream, 0))

    def __del__(self) -> None:
        uses = dict(self.read)
        if self.written is not None:
            _merge(uses, dict([self.written]))
        for stream, number in uses.items():
            if stream is not self.stream and stream not in self.recorded and not self.stream.knows(stream, number):
                self.stream.order.mistakes.append(
                    f"memory of {self.stream} was let go while {stream} uses it: the next tensor there may overwrite it"
                )
