"""Where the time of a run goes: seconds by stage, added up by whichever threads work on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageTimes:
    """Seconds by stage. Threads that work on one stage side by side add up, so a stage may take longer than the run.

    Example:
        >>> times = StageTimes()
        >>> times.add("encode", 1.5)
        >>> times.add("encode", 0.5)
        >>> times["encode"], times["sync"]
        (2.0, 0.0)
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        """Add to one stage."""
        with self._lock:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Add the time spent inside, however it is left."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - began)

    def __getitem__(self, stage: str) -> float:
        return self._seconds.get(stage, 0.0)

    def rounded(self) -> dict[str, float]:
        """Stage -> seconds, to the millisecond, in the order in which stages were first met."""
        with self._lock:
            return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}
