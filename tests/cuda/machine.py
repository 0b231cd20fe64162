"""A machine with CUDA devices that are not there: their streams, their memory, pinned host memory, and copies between them.

Work is done on the CPU at once, in the order in which it is asked for. What a device would do later is made visible: host memory
holds NaN until a copy to it has been waited for, device memory holds NaN until it is written to, and whatever is not put in order
by a stream, an event or a wait raises.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch

from tests.cuda.order import Memory, Order, Stream

if TYPE_CHECKING:
    from tests.cuda.tensors import CudaTensor


def poison(tensor: torch.Tensor) -> None:
    """Fill with what no test expects."""
    if tensor.dtype.is_floating_point:
        tensor.fill_(torch.nan)
    elif tensor.dtype != torch.bool:
        tensor.fill_(torch.iinfo(tensor.dtype).max - 12)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


@dataclass
class Machine:
    """Some devices.

    Attributes:
        n_devices: How many there are.
        order: Of work on all of them.
        pinned: Address -> pinned host memory, kept so that no other memory has its address.
    """

    n_devices: int = 2
    order: Order = field(default_factory=Order)
    pinned: dict[int, torch.Tensor] = field(default_factory=dict)
    _memories: WeakValueDictionary[int, Memory] = field(default_factory=WeakValueDictionary)
    #: Each thread has a current device and, per device, a current stream.
    _here: Any = field(default_factory=threading.local)

    def __post_init__(self) -> None:
        devices = [torch.device("cuda", index) for index in range(self.n_devices)]
        self.default_streams = [Stream(self.order, device, f"the default stream of {device}") for device in devices]

    @property
    def current_device(self) -> int:
        return getattr(self._here, "device", 0)

    @current_device.setter
    def current_device(self, index: int) -> None:
        self._here.device = index

    @property
    def current_streams(self) -> dict[int, Stream]:
        """Streams of this thread that are not the default ones."""
        if not hasattr(self._here, "streams"):
            self._here.streams = {}
        return self._here.streams  # type: ignore[no-any-return]

    def device(self, named: Any = None) -> torch.device:
        """The device that is meant, with its number; None or "cuda" is the current one."""
        index = named if isinstance(named, int) else None if named is None else torch.device(named).index
        index = self.current_device if index is None else index
        if index >= self.n_devices:
            raise RuntimeError(f"CUDA error: invalid device ordinal {index}")
        return torch.device("cuda", index)

    def stream(self, device: Any = None) -> Stream:
        """Where this thread's work on a device goes."""
        index = self.device(device).index
        return self.current_streams.get(index, self.default_streams[index])

    def memory(self, inner: torch.Tensor, device: torch.device) -> Memory:
        """The memory that a tensor lies in; views of one tensor lie in one memory."""
        address = inner.untyped_storage().data_ptr()
        memory = self._memories.get(address) if address else None
        if memory is None:
            memory = Memory(self.stream(device))
            if address:
                self._memories[address] = memory
        return memory

    def is_pinned(self, host: torch.Tensor) -> bool:
        return not host.numel() or host.untyped_storage().data_ptr() in self.pinned

    def pin(self, host: torch.Tensor) -> torch.Tensor:
        """Mark new host memory as pinned."""
        self.pinned[host.untyped_storage().data_ptr()] = host
        return host

    def launch(self, what: str, stream: Stream, reads: list[CudaTensor], writes: list[CudaTensor]) -> int:
        """A piece of work on a stream; its number."""
        with self.order.lock:
            number = stream.launch()
            for tensor in reads:
                tensor.memory.use(stream, number, what, writes=False)
            for tensor in writes:
                tensor.memory.use(stream, number, what, writes=True)
            return number

    def copy_in(self, target: CudaTensor, host: torch.Tensor, *, is_async: bool) -> None:
        """Host memory to a device."""
        stream = self.stream(target.device)
        number = self.launch("a copy to the device", stream, [], [target])
        target.inner.copy_(host)
        if not is_async:
            self.order.wait_for(stream.clock, "a copy to the device")
            return
        if not self.is_pinned(host):
            raise self.order.refuse("a non_blocking copy to the device comes from memory that is not pinned, so it waits")
        before = host.clone()

        def arrive() -> None:
            if not torch.equal(_bits(host), _bits(before)):
                raise self.order.refuse("pinned memory was written again before its copy to the device was waited for")

        self.order.under_way.append((stream, number, arrive))

    def copy_out(self, host: torch.Tensor, source: CudaTensor, *, is_async: bool) -> None:
        """Device memory to the host, where it arrives once it is waited for."""
        stream = self.stream(source.device)
        number = self.launch("a copy to the host", stream, [source], [])
        value = source.inner.clone()
        if not is_async:
            host.copy_(value)
            self.order.wait_for(stream.clock, "a copy to the host")
            return
        if not self.is_pinned(host):
            raise self.order.refuse("a non_blocking copy to the host goes to memory that is not pinned, so it waits")
        poison(host)
        self.order.under_way.append((stream, number, lambda: host.copy_(value)))

    def copy_across(self, target: CudaTensor, source: CudaTensor) -> None:
        """One device to another, or within one; the streams of both wait for each other, as torch has it."""
        here, there = self.stream(source.device), self.stream(target.device)
        here.wait_stream(there)
        self.launch("a copy between devices", here, [source], [target])
        target.inner.copy_(source.inner)
        there.wait_stream(here)
