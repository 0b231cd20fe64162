"""What kernels ask memory for: every load, store and atomic operation of a launch, counted in Triton's interpreter.

    with count_traffic() as launches:
        concept_scores(values, is_concept, ("ap",), backend="gpu")
    launches[0].loaded["values"]        # bytes

Operations of torch are listed among them, as `torch.sum` and the like, with all that they read and write as one array, "torch".

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
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

#: Operations of torch that read as much of their first argument as they give.
PICKING = {"index", "gather", "index_select"}
#: Operations of torch that write without reading what was there.
FILLING = {"copy_", "fill_", "zero_"}


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


class _Torch(TorchDispatchMode):
    """Lists what operations of torch read and write; views and memory that is only asked for are nothing."""

    def __init__(self, launches: list[Launch], *, runs: bool) -> None:
        super().__init__()
        self.launches, self.runs = launches, runs

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        inputs = [part for part in tree_leaves((args, kwargs)) if isinstance(part, torch.Tensor)]
        old = {part.untyped_storage().data_ptr() for part in inputs}
        new = [p for p in tree_leaves(answer) if isinstance(p, torch.Tensor) and p.untyped_storage().data_ptr() not in old]
        changed = [part for part, about in zip(args, func._schema.arguments, strict=False) if _is_written(about)]
        if name.startswith(("empty", "new_empty")):
            return answer if self.runs else answer.zero_()
        if not (new or changed):
            return answer
        read = [part for part in inputs if name not in FILLING or not any(part is other for other in changed)]
        if name.startswith("new_") or name.endswith("_like"):
            read = []
        if name in PICKING:
            read[0] = answer
        launch = Launch(f"torch.{name}", (), {}, [])
        launch.loaded["torch"] = sum(map(_bytes, read))
        launch.stored["torch"] = sum(map(_bytes, [*new, *changed]))
        self.launches.append(launch)
        return answer


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _bytes(tensor: torch.Tensor) -> int:
    """Bytes of the items that differ in their place: an expanded dimension has one."""
    n_items = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        n_items *= size if stride or not size else 1
    return n_items * tensor.element_size()


@contextmanager
def count_traffic(*, runs: bool = True) -> Iterator[list[Launch]]:
    """Count what the kernels launched inside ask memory for; one entry per launch.

    Args:
        runs: Whether kernels run; without, their launches are listed, nothing of them is counted, and what they would have
            written is 0. The interpreter takes minutes for what a GPU does in microseconds.
    """
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
        # what the interpreter does with torch is not the kernel's
        with _disable_current_modes():
            return None if not runs else run(self, *args, grid=grid, **kwargs)

    try:
        function.run = launch
        for name, method in counting.items():
            setattr(builder, name, method)
        with _Torch(launches, runs=runs):
            yield launches
    finally:
        function.run = run
        for name, method in before.items():
            setattr(builder, name, method)
