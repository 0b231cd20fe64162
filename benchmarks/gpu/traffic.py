"""What kernels ask memory for: every load, store and atomic operation of a launch, counted in Triton's interpreter.

    with count_traffic() as launches:
        concept_scores(values, is_concept, ("ap",), backend="gpu")
    launches[0].loaded["values"]        # bytes

Counted are the lanes that no mask leaves out, array by array. A GPU fetches sectors of 32 bytes and serves from its caches
what it fetched a moment ago, so this is what a kernel asks for, not what reaches main memory; `ledger` says what does. A lane
that asks for memory outside of every array that the kernel was given raises: a GPU would read what happens to be there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch


@dataclass
class Array:
    """An array that a kernel was given: its addresses, and which of its items were reached."""

    name: str
    start: int
    item: int
    reached: np.ndarray

    @classmethod
    def of(cls, name: str, tensor: torch.Tensor) -> Array:
        """From its first item to its last one, whatever its strides."""
        n_items = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        n_items = n_items if tensor.numel() else 0
        return cls(name, tensor.data_ptr(), tensor.element_size(), np.zeros(n_items, bool))

    def has(self, address: int) -> bool:
        return 0 <= address - self.start < self.reached.size * self.item


@dataclass
class Launch:
    """One launch of a kernel.

    Attributes:
        kernel: Its name.
        grid: Programs along each axis.
        numbers: Its arguments that are no arrays, compile-time ones included.
        arrays: Those that are.
        loaded: Array -> bytes loaded, as often as they are.
        stored: Array -> bytes stored.
        added: Array -> bytes of items that atomic operations changed.
        masked: Lanes of any of these that a mask left out.
    """

    kernel: str
    grid: tuple[int, ...]
    numbers: dict[str, Any]
    arrays: list[Array]
    loaded: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)
    masked: int = 0

    def reached(self, name: str) -> int:
        """Bytes of an array that were reached at all."""
        return sum(int(array.reached.sum()) * array.item for array in self.arrays if array.name == name)

    def see(self, kind: Counter[str], pointers: np.ndarray, mask: np.ndarray, item: int) -> None:
        """One operation, with an address per lane."""
        mask = np.broadcast_to(mask, pointers.shape)
        self.masked += mask.size - int(mask.sum())
        addresses = pointers[mask].astype(np.int64)
        if not addresses.size:
            return
        low, high = int(addresses.min()), int(addresses.max())
        array = next((array for array in self.arrays if array.has(low) and array.has(high)), None)
        if array is None:
            raise IndexError(f"{self.kernel} asks for memory outside of the arrays that it was given")
        assert array.item == item, f"{self.kernel} takes the {array.item}-byte items of {array.name} for {item}-byte ones"
        kind[array.name] += item * addresses.size
        array.reached[(addresses - array.start) // item] = True


def _item(pointers: Any) -> int:
    return max(1, int(pointers.get_element_ty().primitive_bitwidth) // 8)


def _counting(launches: list[Launch], builder: Any) -> dict[str, Callable[..., Any]]:
    """Methods of the interpreter's builder that count before they do what they did."""
    load, store = builder.create_masked_load, builder.create_masked_store
    add, swap = builder.create_atomic_rmw, builder.create_atomic_cas

    def counting_load(self: Any, ptrs: Any, mask: Any, *rest: Any) -> Any:
        launches[-1].see(launches[-1].loaded, ptrs.data, mask.data, _item(ptrs))
        return load(self, ptrs, mask, *rest)

    def counting_store(self: Any, ptrs: Any, value: Any, mask: Any, *rest: Any) -> Any:
        launches[-1].see(launches[-1].stored, ptrs.data, mask.data, _item(ptrs))
        return store(self, ptrs, value, mask, *rest)

    def counting_add(self: Any, operation: Any, ptr: Any, val: Any, mask: Any, *rest: Any) -> Any:
        launches[-1].see(launches[-1].added, ptr.data, mask.data, _item(ptr))
        return add(self, operation, ptr, val, mask, *rest)

    def counting_swap(self: Any, ptr: Any, *rest: Any) -> Any:
        launches[-1].see(launches[-1].added, ptr.data, np.ones(1, bool), _item(ptr))
        return swap(self, ptr, *rest)

    return {
        "create_masked_load": counting_load,
        "create_masked_store": counting_store,
        "create_atomic_rmw": counting_add,
        "create_atomic_cas": counting_swap,
    }


@contextmanager
def count_traffic() -> Iterator[list[Launch]]:
    """Count what the kernels launched inside ask memory for; one entry per launch."""
    from triton.runtime import interpreter

    builder, function = interpreter.InterpreterBuilder, interpreter.InterpretedFunction
    launches: list[Launch] = []
    counting = _counting(launches, builder)
    before, run = {name: getattr(builder, name) for name in counting}, function.run

    def launch(self: Any, *args: Any, grid: Any, **kwargs: Any) -> Any:
        named = dict(zip(self.arg_names, args, strict=False)) | {k: v for k, v in kwargs.items() if k in self.arg_names}
        arrays = [Array.of(name, value) for name, value in named.items() if isinstance(value, torch.Tensor)]
        numbers = {name: value for name, value in named.items() if not isinstance(value, torch.Tensor)}
        launches.append(Launch(self.__name__, tuple(grid(named) if callable(grid) else grid), numbers, arrays))
        return run(self, *args, grid=grid, **kwargs)

    try:
        function.run = launch
        for name, method in counting.items():
            setattr(builder, name, method)
        yield launches
    finally:
        function.run = run
        for name, method in before.items():
            setattr(builder, name, method)
