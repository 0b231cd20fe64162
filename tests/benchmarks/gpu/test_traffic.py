"""Loads, stores and atomic operations of a kernel are counted lane by lane."""

import pytest
import torch

pytest.importorskip("triton", reason="needs triton (pip install 'actlas[gpu]')")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="this is about Triton's interpreter")

import triton  # noqa: E402
import triton.language as tl  # noqa: E402

from benchmarks.gpu.traffic import count_traffic  # noqa: E402


@triton.jit
def count_kernel(values, counts, total, n, beyond, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    code = tl.load(values + place, mask=place < n + beyond, other=0).to(tl.int32)
    tl.atomic_add(counts + code, 1, mask=place < n)
    tl.debug_barrier()
    tl.store(total, tl.load(counts + tl.arange(0, 4)).to(tl.int64).sum(0))


def run(beyond=0, values=None):
    values = torch.tensor([0, 1, 1, 3, 1, 0, 2], dtype=torch.int16) if values is None else values
    counts, total = torch.zeros(4, dtype=torch.int32), torch.zeros(1, dtype=torch.int64)
    with count_traffic() as launches:
        count_kernel[(2,)](values, counts, total, len(values), beyond, BLOCK=4)
    return counts.tolist(), launches


def test_lanes_are_counted_array_by_array_and_masked_ones_apart():
    counts, (launch,) = run()
    assert counts == [2, 3, 1, 1]
    assert (launch.kernel, launch.grid, launch.numbers) == ("count_kernel", (2,), {"n": 7, "beyond": 0, "BLOCK": 4})
    assert dict(launch.loaded) == {"values": 7 * 2, "counts": 2 * 4 * 4}
    assert dict(launch.added) == {"counts": 7 * 4}
    assert dict(launch.stored) == {"total": 2 * 8}
    assert launch.masked == 2
    assert [launch.reached(name) for name in ("values", "counts", "total")] == [14, 16, 8]


def test_memory_outside_of_the_arrays_is_out_of_reach():
    # the tensor ends before its storage does
    storage = torch.zeros(8, dtype=torch.int16)
    with pytest.raises(Exception, match="count_kernel asks for memory outside of the arrays"):
        run(beyond=1, values=storage[:7])


def test_nothing_is_counted_afterwards():
    _, launches = run()
    before = dict(launches[0].loaded)
    values, counts, total = (
        torch.zeros(7, dtype=torch.int16),
        torch.zeros(4, dtype=torch.int32),
        torch.zeros(1, dtype=torch.int64),
    )
    count_kernel[(2,)](values, counts, total, 7, 0, BLOCK=4)
    assert dict(launches[0].loaded) == before
    assert len(launches) == 1


def test_operations_of_torch_are_listed_by_what_they_read_and_write():
    values = torch.zeros((6, 4), dtype=torch.float16)
    picked = torch.tensor([0, 2])
    with count_traffic() as launches:
        values[1:].t().sum(0, dtype=torch.float64)
        values.fill_(1.0)
        values += torch.ones(1, 4, dtype=torch.float16).expand(6, 4)
        values[:, picked]
    seen = [(launch.kernel, launch.loaded["torch"], launch.stored["torch"]) for launch in launches]
    # a row of ones is read once, whatever it is expanded to; of what is picked from, as much as is picked
    assert seen == [
        ("torch.sum", 40, 5 * 8),
        ("torch.fill_", 0, 48),
        ("torch.ones", 0, 8),
        ("torch.add_", 48 + 8, 48),
        ("torch.index", 6 * 2 * 2 + 16, 24),
    ]
