import threading

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
