"""Files of the next checkpoint are fetched while the one before it is worked on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

from actlas.names import Checkpoint

Located = TypeVar("Located")
Done = TypeVar("Done")


class Prefetch(Generic[Located]):
    """Locates checkpoints in order, each before it is asked for, in one thread of its own.

    What goes wrong with a checkpoint is raised when its turn comes, not before. The thread does one thing at a time, so files are
    never removed while others arrive; it does not keep the program from ending.

    Args:
        checkpoints: All of them, in the order in which they will be asked for.
        locate: Fetches a checkpoint's files and says what they are.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint], locate: Callable[[Checkpoint], Located]) -> None:
        self._checkpoints, self._locate = checkpoints, locate
        self._futures: list[Future[Located]] = []
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="actlas-prefetch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (step := self._work.get()) is not None:
            step()
            del step  # see close

    def start(self, number: int) -> Future[Located]:
        """What `locate` will have given for checkpoint `number`, from 0; the one after it is under way from now on, too."""
        for place in range(len(self._futures), min(number + 2, len(self._checkpoints))):
            self._futures.append(self._later(lambda place=place: self._locate(self._checkpoints[place])))  # type: ignore[misc]
        return self._futures[number]

    def take(self, number: int) -> Located:
        """What `locate` gave for checkpoint `number`, from 0, after waiting for it.

        Raises:
            Exception: Whatever `locate` raised.
        """
        return self.start(number).result()

    def between(self, step: Callable[[], Done]) -> Future[Done]:
        """Do something in the thread, when nothing is being located."""
        return self._later(step)

    def _later(self, step: Callable[[], Done]) -> Future[Done]:
        done: Future[Done] = Future()

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(step())
            except BaseException as error:
                done.set_exception(error)

        self._work.put(run)
        return done

    def close(self) -> None:
        """Begin nothing more; what is under way ends with the program at the latest.

        What was located is let go of here. The thread must not be the last to hold it: files that go with it would be removed by
        a thread that the end of the program cuts short.
        """
        for future in self._futures:
            future.cancel()
        self._futures.clear()
        self._work.put(None)
