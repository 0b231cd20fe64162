"""Tensors that say they are on a CUDA device, with values in host memory, and what happens when torch is handed one."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from tests.cuda.machine import Machine, poison

#: Operations whose result is a number, or has a size, that the host has to wait for.
WAITS = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal", "_local_scalar_dense", "item"}
EMPTY = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
Kwargs = dict[str, Any]


class CudaTensor(torch.Tensor):
    """A tensor "on" a device of `machine`; `inner` has its values."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor, machine: Machine, device: torch.device) -> CudaTensor:
        # whether it is a tensor of inference mode is for `inner` to know
        with torch.inference_mode(False):
            return torch.Tensor._make_wrapper_subclass(
                cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device=device
            )

    def __init__(self, inner: torch.Tensor, machine: Machine, device: torch.device) -> None:
        self.inner, self.machine, self.memory = inner, machine, machine.memory(inner, device)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Kwargs | None = None) -> Any:
        tensor = next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, CudaTensor))
        return run(tensor.machine, func, args, kwargs or {})

    # what torch does in C++ with a guard for the device, which a machine without CUDA does not have
    def __getitem__(self, index: Any) -> Any:
        return run(self.machine, operator.getitem, (self, index), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        run(self.machine, operator.setitem, (self, index, value), {})

    def copy_(self, src: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        return run(self.machine, torch.ops.aten.copy_.default, (self, src, non_blocking), {})

    def contiguous(self) -> torch.Tensor:
        return (
            self
            if self.is_contiguous()
            else run(self.machine, torch.ops.aten.clone.default, (self,), {"memory_format": torch.contiguous_format})
        )

    def nonzero(self) -> torch.Tensor:
        return run(self.machine, torch.ops.aten.nonzero.default, (self,), {})

    def __invert__(self) -> torch.Tensor:
        return run(self.machine, torch.ops.aten.bitwise_not.default, (self,), {})

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def record_stream(self, stream: Any) -> None:
        self.memory.recorded.add(stream)

    def __repr__(self, **_: Any) -> str:
        return f"CudaTensor({self.inner}, device={self.device})"


class Mode(TorchDispatchMode):
    """Sees what is made on a device, which no tensor on it tells of; every thread needs one.

    Gradients are off: torch's engine for them looks for the device itself, and ends the process where there is none.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine
        self._without_gradients = torch.no_grad()

    def __enter__(self) -> Mode:
        self._without_gradients.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._without_gradients.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Kwargs | None = None) -> Any:
        return run(self.machine, func, args, kwargs or {})


def run(machine: Machine, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Kwargs) -> Any:
    """One operation, of the host alone or of a device."""
    schema = getattr(func, "_schema", None)
    name = func.__name__ if schema is None else schema.name.removeprefix("aten::")
    if name in SPECIAL:
        names = [argument.name for argument in schema.arguments]
        return SPECIAL[name](machine, **dict(zip(names, args, strict=False)), **kwargs)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    on_device = [tensor for tensor in tensors if isinstance(tensor, CudaTensor)]
    if not on_device and not _is_cuda(kwargs.get("device")):
        host = func(*args, **{key: value for key, value in kwargs.items() if key != "pin_memory"})
        return machine.pin(host) if kwargs.get("pin_memory") else host
    _refuse_mixed(machine, name, tensors)
    device = machine.device(kwargs["device"]) if _is_cuda(kwargs.get("device")) else on_device[0].device
    stream = machine.stream(device)
    answer = _inside(func, args, kwargs)
    if name in EMPTY:
        poison(answer)
    # a tensor that is handed back is itself, whatever was written to it
    same = {id(tensor.inner): tensor for tensor in on_device}

    def outside(part: torch.Tensor) -> torch.Tensor:
        return same[id(part)] if id(part) in same else CudaTensor(part, machine, device)

    answer = tree_map_only(torch.Tensor, outside, answer)
    written = _written(func, args, kwargs)
    old = {id(tensor.memory) for tensor in on_device}
    made = [part for part in tree_leaves(answer) if isinstance(part, CudaTensor) and id(part.memory) not in old]
    is_view = isinstance(answer, CudaTensor) and not made and not written
    if not is_view and name not in EMPTY:
        changed = {id(tensor) for tensor in written}
        machine.launch(name, stream, [tensor for tensor in on_device if id(tensor) not in changed], [*written, *made])
    if name in WAITS or (func is operator.getitem and any(part.dtype == torch.bool for part in on_device[1:])):
        machine.order.wait_for(stream.clock, name)
    return answer


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _refuse_mixed(machine: Machine, name: str, tensors: list[torch.Tensor]) -> None:
    """One device per operation; numbers of the host go along with a launch."""
    where = {str(tensor.device) for tensor in tensors if isinstance(tensor, CudaTensor) or tensor.ndim}
    if len(where) > 1:
        raise machine.order.refuse(f"{name} got tensors on {' and '.join(sorted(where))}")


def _inside(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Kwargs) -> Any:
    """The operation on the values themselves."""
    kwargs = {key: value for key, value in kwargs.items() if key != "pin_memory"}
    if _is_cuda(kwargs.get("device")):
        kwargs["device"] = "cpu"
    inner_args, inner_kwargs = tree_map_only(CudaTensor, lambda tensor: tensor.inner, (args, kwargs))
    return func(*inner_args, **inner_kwargs)


def _written(func: Any, args: tuple[Any, ...], kwargs: Kwargs) -> list[CudaTensor]:
    """Arguments that the operation writes to."""
    if func is operator.setitem:
        return [args[0]]
    if func is operator.getitem:
        return []
    arguments = func._schema.arguments
    named = dict(zip([argument.name for argument in arguments], args, strict=False)) | kwargs
    changed = [named.get(part.name) for part in arguments if part.alias_info is not None and part.alias_info.is_write]
    return [part for part in tree_leaves(changed) if isinstance(part, CudaTensor)]


def _move(
    machine: Machine,
    self: torch.Tensor,
    *,
    device: Any = None,
    dtype: torch.dtype | None = None,
    non_blocking: bool = False,
    memory_format: Any = torch.preserve_format,
    pin_memory: bool = False,
    **_: Any,
) -> torch.Tensor:
    """`_to_copy`: the same numbers in new memory."""
    to_device = _is_cuda(device) or (device is None and isinstance(self, CudaTensor))
    values = self.inner if isinstance(self, CudaTensor) else self
    if not to_device and not isinstance(self, CudaTensor):
        return values.to(device=device, dtype=dtype, copy=True, memory_format=memory_format or torch.preserve_format)
    new = torch.empty_like(values, dtype=dtype, memory_format=memory_format or torch.preserve_format)
    if to_device:
        target = CudaTensor(new, machine, machine.device(device) if device is not None else self.device)
        return _copy(machine, target, self, non_blocking)
    # torch pins what it makes for a copy that nothing waits for
    return _copy(machine, machine.pin(new) if non_blocking else new, self, non_blocking)


def _to(machine: Machine, self: torch.Tensor, **named: Any) -> torch.Tensor:
    """`to`: itself where nothing would change."""
    other = named.pop("other", None)
    device = named.pop("device", None) if other is None else other.device
    dtype = named.pop("dtype", None) if other is None else other.dtype
    if _is_cuda(device):
        device = machine.device(device)
    is_same = (device is None or torch.device(device) == self.device) and dtype in (None, self.dtype)
    if is_same and not named.pop("copy", False):
        return self
    return _move(machine, self, device=device, dtype=dtype, **named)


def _copy(machine: Machine, self: torch.Tensor, src: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    """`copy_`, between any two places."""
    if isinstance(self, CudaTensor) and isinstance(src, CudaTensor):
        machine.copy_across(self, src)
    elif isinstance(self, CudaTensor):
        machine.copy_in(self, src, is_async=non_blocking)
    elif isinstance(src, CudaTensor):
        machine.copy_out(self, src, is_async=non_blocking)
    else:
        self.copy_(src)
    return self


def _pin(machine: Machine, self: torch.Tensor, **_: Any) -> torch.Tensor:
    if isinstance(self, CudaTensor):
        raise RuntimeError("cannot pin a tensor on a device: only dense CPU tensors can be pinned")
    return self if machine.is_pinned(self) else machine.pin(self.clone())


def _is_pinned(machine: Machine, self: torch.Tensor, **_: Any) -> bool:
    return not isinstance(self, CudaTensor) and machine.is_pinned(self)


#: Operations that are about places.
SPECIAL: dict[str, Callable[..., Any]] = {
    "_to_copy": _move,
    "to": _to,
    "copy_": _copy,
    "pin_memory": _pin,
    "_pin_memory": _pin,
    "is_pinned": _is_pinned,
    # parameters of the host do not become those of a device in place
    "_has_compatible_shallow_copy_type": lambda machine, **_: False,
    # matrix products as such, not the fused form that only one kind of device has
    "_fused_sdp_choice": lambda machine, **_: 0,
}
