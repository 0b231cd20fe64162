"""Seconds by stage, from several threads and through errors."""

from __future__ import annotations

from threading import Thread

import pytest

from actlas.timing import StageTimes


def test_threads_add_up() -> None:
    times = StageTimes()
    threads = [Thread(target=lambda: [times.add("encode", 0.25) for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert times["encode"] == 100.0


def test_a_stage_that_fails_counts_too() -> None:
    times = StageTimes()
    with pytest.raises(RuntimeError), times.during("write"):
        raise RuntimeError
    assert times["write"] > 0
    assert list(times.rounded()) == ["write"]
