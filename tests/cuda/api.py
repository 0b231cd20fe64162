"""`torch.cuda` for a machine of `tests.cuda.machine`, and Triton's kernels launched on its tensors through the interpreter."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map_only

from tests.cuda.machine import Machine
from tests.cuda.order import Event, Stream
from tests.cuda.tensors import CudaTensor, Mode

#: Free and whole memory of a device.
MEMORY = (1 << 30, 1 << 31)


class Device:
    """A stand-in for `torch.cuda.device`."""

    def __init__(self, machine: Machine, named: Any) -> None:
        self.machine, self.index = machine, machine.device(named).index

    def __enter__(self) -> None:
        self.before, self.machine.current_device = self.machine.current_device, self.index

    def __exit__(self, *_: object) -> None:
        self.machine.current_device = self.before


@contextmanager
def _on(machine: Machine, stream: Stream | None) -> Iterator[None]:
    """`torch.cuda.stream`: work of this thread goes to a stream, and its device is the current one."""
    if stream is None:
        yield
        return
    index = stream.device.index
    before = machine.stream(index)
    with Device(machine, index):
        machine.current_streams[index] = stream
        try:
            yield
        finally:
            machine.current_streams[index] = before


def install(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Let torch find the machine's devices until the test ends; threads that start meanwhile find them too."""
    order = machine.order

    # classes, because others' annotations name them
    class NewStream(Stream):
        def __init__(self, device: Any = None, **_: Any) -> None:
            super().__init__(order, machine.device(device), f"stream {len(order.streams)}")

    class DeviceHere(Device):
        def __init__(self, named: Any) -> None:
            super().__init__(machine, named)

    class RecordedHere(Event):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(order, **kwargs)

        def record(self, stream: Stream | None = None) -> None:
            super().record(stream or machine.stream())

        def wait(self, stream: Stream | None = None) -> None:
            super().wait(stream or machine.stream())

    def synchronize(device: Any = None) -> None:
        for stream in [stream for stream in order.streams if stream.device == machine.device(device)]:
            order.wait_for(stream.clock, "everything on a device")

    def set_device(device: Any) -> None:
        machine.current_device = machine.device(device).index

    replacements: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "device_count": lambda: machine.n_devices,
        "current_device": lambda: machine.current_device,
        "set_device": set_device,
        "device": DeviceHere,
        "Stream": NewStream,
        "Event": RecordedHere,
        "stream": lambda stream: _on(machine, stream),
        "current_stream": machine.stream,
        "default_stream": lambda device=None: machine.default_streams[machine.device(device).index],
        "synchronize": synchronize,
        "mem_get_info": lambda device=None: MEMORY,
        "empty_cache": lambda: None,
        "get_device_name": lambda device=None: "no device",
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_properties": lambda device=None: SimpleNamespace(
            multi_processor_count=2, total_memory=MEMORY[1], major=9, minor=0, name="no device", warp_size=32,
            shared_memory_per_block_optin=232448,
        ),
    }  # fmt: skip
    for name, replacement in replacements.items():
        monkeypatch.setattr(torch.cuda, name, replacement)
    # parameters of the host do not become those of a device in place
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    move, start = torch.Tensor.to, threading.Thread.run

    def numbered(named: Any) -> Any:
        is_named = isinstance(named, torch.device) or (isinstance(named, str) and named.startswith("cuda"))
        return machine.device(named) if is_named and torch.device(named).type == "cuda" else named

    def to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        # torch would ask the device itself which number "cuda" has
        return move(tensor, *map(numbered, args), **{name: numbered(arg) for name, arg in kwargs.items()})

    monkeypatch.setattr(torch.Tensor, "to", to)

    def run(thread: threading.Thread) -> None:
        with Mode(machine):
            start(thread)

    monkeypatch.setattr(threading.Thread, "run", run)


def install_kernels(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Let kernels run on the machine's tensors, in the interpreter, under the rules for a launch on a device."""
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    launch = interpreter.InterpretedFunction.run

    def run(function: Any, *args: Any, **kwargs: Any) -> Any:
        tensors = [arg for arg in (*args, *kwargs.values()) if isinstance(arg, torch.Tensor)]
        current = torch.device("cuda", machine.current_device)
        for tensor in tensors:
            if tensor.device != current:
                raise machine.order.refuse(f"{function.__name__} is launched on {current} with a tensor on {tensor.device}")
        # which arguments it writes is not known, so all of them count as written
        machine.launch(function.__name__, machine.stream(), [], tensors)
        args, kwargs = tree_map_only(CudaTensor, lambda tensor: tensor.inner, (args, kwargs))
        with pytest.MonkeyPatch.context() as inside, _disable_current_modes():
            inside.setenv("TRITON_INTERPRET", "1")
            return launch(function, *args, **kwargs)

    monkeypatch.setattr(interpreter.InterpretedFunction, "run", run)
    monkeypatch.setattr("triton.testing.do_bench", lambda call, **_: call() or 1.0)
    # kernels are defined by now, and the engine is to take the machine for what it seems
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
