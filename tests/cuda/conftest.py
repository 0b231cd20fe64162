"""The machine whose devices are not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

import pytest
import torch

from actlas.extract.pooling.transfer import copy_stream
from actlas.kernels import gpu
from tests.cuda.api import install, install_kernels
from tests.cuda.machine import Machine
from tests.cuda.tensors import Mode
from tests.extract.conftest import short_waits  # noqa: F401  threads of torch wait for each other longer than they save

# Triton decides when a kernel is defined whether to interpret it, so this stands before anything that imports one
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Two devices, `cuda:0` and `cuda:1`, until the test ends; a mistake that was swallowed fails it then."""
    if torch.cuda.is_available():
        pytest.skip("there are devices here; this stands in for them")
    machine = Machine()
    install(monkeypatch, machine)
    # streams of the machine of another test
    copy_stream.cache_clear()
    # numbers in lists are made on the host and then moved, in sight of the mode
    lifts = torch._C._set_only_lift_cpu_tensors(True)
    with Mode(machine):
        yield machine
    torch._C._set_only_lift_cpu_tensors(lifts)
    copy_stream.cache_clear()
    torch.cuda.synchronize(0)
    torch.cuda.synchronize(1)
    assert not machine.order.mistakes, machine.order.mistakes


@pytest.fixture
def kernel_machine(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The same, on which Triton's kernels run."""
    pytest.importorskip("triton")
    # kernels are defined for the interpreter while it is asked for
    for module in iter_modules(gpu.__path__, f"{gpu.__name__}."):
        import_module(module.name)
    install_kernels(monkeypatch, machine)
    return machine
