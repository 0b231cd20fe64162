"""The devices that are not there: what is right passes with the right numbers, what is wrong raises."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from tests.cuda.order import CudaMistake

HERE, OTHER = torch.device("cuda:0"), torch.device("cuda:1")


@pytest.fixture
def expected(machine):
    """A function: the mistakes that a test was about, which would fail it when it ends."""

    def take() -> str:
        taken = "; ".join(machine.order.mistakes)
        machine.order.mistakes.clear()
        return taken

    return take


@pytest.mark.parametrize("gradients", [torch.no_grad, torch.inference_mode])
def test_numbers_are_those_of_the_host(machine, gradients):
    with gradients():
        host = torch.arange(12, dtype=torch.float32).view(3, 4)
        there = host.to(HERE)
        assert (there.device, there.is_cuda, type(there[0])) == (HERE, True, type(there))
        view = there.transpose(0, 1)[1:]
        view += 1
        there[0, 0] = 7
        assert there.tolist() == [[7, 2, 3, 4], [4, 6, 7, 8], [8, 10, 11, 12]]
        assert float(there.sum()) == 82
        assert bool((there > 1).all())
        assert there[there > 10].tolist() == [11, 12]
        assert torch.tensor([[1, 2]], device=HERE).cpu().tolist() == [[1, 2]]
        assert (torch.zeros((), dtype=torch.float64, device=HERE) + there.sum()).dtype == torch.float64
        assert there.view(torch.int32).dtype == torch.int32
        with pytest.raises((TypeError, RuntimeError)):
            there.numpy()


def test_modules_move_and_run(machine):
    torch.manual_seed(0)
    module, x = torch.nn.Linear(4, 5), torch.randn(2, 3, 4)
    with torch.inference_mode():
        expected = torch.nn.functional.scaled_dot_product_attention(module(x), module(x), module(x))
        module.to(OTHER)
        y = module(x.to(OTHER))
        assert y.device == OTHER
        torch.testing.assert_close(torch.nn.functional.scaled_dot_product_attention(y, y, y).cpu(), expected)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            assert module(x.to(OTHER)).dtype == torch.bfloat16


@pytest.mark.parametrize("made", [torch.empty, torch.Tensor.new_empty, torch.empty_like], ids=lambda made: made.__name__)
def test_memory_that_nothing_was_written_to_is_poison(machine, made):
    start = torch.zeros(3, device=HERE)
    new = {"empty": lambda: torch.empty(3, device=HERE), "new_empty": lambda: start.new_empty(3)}
    tensor = new.get(made.__name__, lambda: torch.empty_like(start))()
    assert tensor.isnan().all()


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + torch.ones(3),
        lambda x: x + torch.ones(3, device=OTHER),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: x.index_add_(0, torch.tensor([0]), torch.ones(1, device=HERE)),
        lambda x: torch.stack([x, torch.ones(3, device=OTHER)]),
    ],
)
def test_tensors_of_several_devices_do_not_mix(machine, expected, mix):
    with pytest.raises(CudaMistake, match="got tensors on"):
        mix(torch.zeros(3, device=HERE))
    assert expected()


def test_numbers_of_the_host_go_along(machine):
    assert (torch.ones(3, device=HERE) * torch.tensor(2.0)).tolist() == [2, 2, 2]


def test_a_copy_to_the_host_arrives_when_it_is_waited_for(machine):
    source, host = torch.ones(3, device=HERE), torch.empty(3, pin_memory=True)
    assert host.is_pinned()
    host.copy_(source, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    assert host.isnan().all()
    # what the device does afterwards does not change what was copied
    source.zero_()
    event.synchronize()
    assert host.tolist() == [1, 1, 1]
    later = source.to("cpu", non_blocking=True)
    assert later.isnan().all()
    torch.cuda.current_stream().synchronize()
    assert later.tolist() == [0, 0, 0]


def test_an_event_waits_for_what_came_before_it_alone(machine):
    source, host = torch.ones(3, device=HERE), torch.empty(3, pin_memory=True)
    event = torch.cuda.Event()
    event.record()
    host.copy_(source, non_blocking=True)
    event.synchronize()
    assert host.isnan().all()


def test_waiting_on_one_device_says_nothing_of_another(machine):
    host = torch.ones(3, device=OTHER).to("cpu", non_blocking=True)
    torch.cuda.synchronize(HERE)
    assert host.isnan().all()
    torch.cuda.synchronize(OTHER)
    assert host.tolist() == [1, 1, 1]


def test_copies_that_do_not_wait_need_pinned_memory(machine, expected):
    with pytest.raises(CudaMistake, match="comes from memory that is not pinned"):
        torch.ones(3).to(HERE, non_blocking=True)
    with pytest.raises(CudaMistake, match="goes to memory that is not pinned"):
        torch.empty(3).copy_(torch.ones(3, device=HERE), non_blocking=True)
    assert torch.ones(3).pin_memory().to(HERE, non_blocking=True).tolist() == [1, 1, 1]
    assert expected()


def test_pinned_memory_stays_as_it_is_until_its_copy_is_done(machine, expected):
    host = torch.ones(3).pin_memory()
    there = host.to(HERE, non_blocking=True)
    torch.cuda.synchronize()
    host.zero_()
    there.copy_(host, non_blocking=True)
    host.numpy()[:] = 2
    with pytest.raises(CudaMistake, match="written again before its copy"):
        torch.cuda.synchronize()
    assert expected()


@pytest.mark.parametrize("how", ["event", "stream", "host", "no way"])
def test_streams_wait_for_each_other_or_are_refused(machine, expected, how):
    first = torch.zeros(3, device=HERE)
    event = torch.cuda.current_stream().record_event()
    side = torch.cuda.Stream()
    if how == "event":
        side.wait_event(event)
    elif how == "stream":
        side.wait_stream(torch.cuda.current_stream())
    elif how == "host":
        event.synchronize()
    with torch.cuda.stream(side):
        if how == "no way":
            with pytest.raises(CudaMistake, match=r"add on stream 2 reads memory that the default stream of cuda:0 is using"):
                first + 1
            assert expected()
        else:
            second = first + 1
            first.record_stream(side)
    if how != "no way":
        with pytest.raises(CudaMistake, match="zero_ on the default stream of cuda:0 writes memory that stream 2 is using"):
            first.zero_()
        assert expected()
        torch.cuda.current_stream().wait_stream(side)
        first.zero_()
        assert second.tolist() == [1, 1, 1]


@pytest.mark.parametrize("is_recorded", [True, False])
def test_memory_is_not_let_go_while_another_stream_uses_it(machine, expected, is_recorded):
    first, side = torch.zeros(3, device=HERE), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        second = first + 1
    if is_recorded:
        first.record_stream(side)
    del first
    assert bool(expected()) is not is_recorded
    side.synchronize()
    assert second.tolist() == [1, 1, 1]


def test_threads_have_a_device_and_a_stream_of_their_own(machine):
    seen = []

    def look():
        seen.append((torch.cuda.current_device(), torch.cuda.current_stream(), torch.empty(1, device="cuda").device))

    with torch.cuda.device(1), torch.cuda.stream(torch.cuda.Stream(1)):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        look()
    assert seen[0] == (0, machine.default_streams[0], HERE)
    assert seen[1][0] == 1
    assert seen[1][2] == OTHER
    assert seen[1][1] not in machine.default_streams


def test_waits_of_the_host_are_counted(machine):
    there = torch.zeros(3, device=HERE)
    there += 1
    assert machine.order.waits == []
    there.cpu()
    bool(there.any())
    there[there > 0]
    there.nonzero()
    torch.from_numpy(np.zeros(2)).to(HERE)
    assert len(machine.order.waits) == 5
