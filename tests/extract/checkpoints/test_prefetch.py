import threading
import weakref

import pytest

from actlas.extract.checkpoints.prefetch import Prefetch
from actlas.names import Checkpoint

CHECKPOINTS = [Checkpoint(f"m-step{step}", "m", step) for step in range(4)]


def test_the_next_one_is_under_way_and_not_the_one_after():
    begun, is_second_here, may_go_on = [], threading.Event(), threading.Event()

    def locate(checkpoint):
        begun.append(checkpoint.step)
        if checkpoint.step == 1:
            is_second_here.set()
            assert may_go_on.wait(10)
        return checkpoint.step * 10

    arrivals = Prefetch(CHECKPOINTS, locate)
    assert arrivals.take(0) == 0
    assert is_second_here.wait(10)
    assert begun == [0, 1]
    may_go_on.set()
    assert [arrivals.take(number) for number in (1, 1, 2, 3)] == [10, 10, 20, 30]
    assert begun == [0, 1, 2, 3]
    arrivals.close()


def test_an_error_is_raised_when_its_turn_comes():
    def locate(checkpoint):
        if checkpoint.step == 1:
            raise OSError("no such revision")
        return checkpoint

    arrivals = Prefetch(CHECKPOINTS, locate)
    assert arrivals.take(0) == CHECKPOINTS[0]
    for _ in range(2):
        with pytest.raises(OSError, match="no such revision"):
            arrivals.take(1)
    assert arrivals.take(2) == CHECKPOINTS[2]
    arrivals.close()


def test_what_is_done_in_between_waits_for_what_is_located():
    order = []
    arrivals = Prefetch(CHECKPOINTS, lambda checkpoint: order.append(checkpoint.step))
    arrivals.take(0)
    arrivals.between(lambda: order.append("between")).result()
    arrivals.take(1)
    assert order[:3] == [0, 1, "between"]
    with pytest.raises(ZeroDivisionError):
        arrivals.between(lambda: 1 / 0).result()
    arrivals.close()


def test_what_was_located_goes_with_whoever_took_it_and_not_with_the_thread():
    class Files:
        pass

    removed_by = []

    def locate(checkpoint):
        files = Files()
        weakref.finalize(files, lambda: removed_by.append(threading.current_thread()))
        return files

    arrivals = Prefetch(CHECKPOINTS[:2], locate)
    taken = [arrivals.take(number) for number in range(2)]
    # the thread is between two steps, and holds nothing
    arrivals.between(lambda: None).result()
    arrivals.close()
    assert removed_by == []
    taken.clear()
    assert removed_by == [threading.current_thread()] * 2
