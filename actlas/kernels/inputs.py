"""What callers hand over, brought to one form: raw float bits in rows, boolean labels.

numpy and torch arrays are distinguished without importing torch.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from actlas.compiled.bfloat16 import bfloat16_to_float32
from actlas.errors import KernelInputError

Bools = NDArray[np.bool_]

#: Value dtypes, and the unsigned integer that holds their bits.
BITS = {"float16": np.uint16, "bfloat16": np.uint16, "float32": np.uint32}


def is_torch(array: Any) -> bool:
    """Whether `array` is a torch tensor; torch is not imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def is_on_gpu(array: Any) -> bool:
    """Whether `array` is a torch tensor on a CUDA device."""
    return is_torch(array) and array.device.type == "cuda"


def to_numpy(array: Any, what: str) -> NDArray[Any]:
    """`array` as numpy without changing a bit; bfloat16 of torch comes back as uint16."""
    if not is_torch(array):
        return np.asarray(array)
    if array.device.type != "cpu":
        raise KernelInputError(
            f"{what} lies on {array.device}; this backend reads host memory. Use backend='gpu', or move it with .cpu()"
        )
    tensor = array.detach()
    torch = sys.modules["torch"]
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)  # type: ignore[no-any-return]
    return tensor.numpy()  # type: ignore[no-any-return]


def dtype_name(array: Any) -> str:
    """Name of the dtype of a numpy or torch array, without "torch."."""
    return str(array.dtype).removeprefix("torch.")


def check_values(values: Any, n_texts: int) -> None:
    """Refuses values that are not floats "neurons texts" of `n_texts` texts.

    Raises:
        KernelInputError: If shape or dtype do not fit.
    """
    name = dtype_name(values)
    if len(values.shape) != 2 or name not in BITS:
        raise KernelInputError(f"values must be [neurons, texts] of {', '.join(BITS)}; got {name} of shape {tuple(values.shape)}")
    if n_texts != values.shape[1]:
        raise KernelInputError(f"is_concept has {n_texts} texts, values have {values.shape[1]}")
    if n_texts == 0:
        raise KernelInputError("values hold no texts")


def check_labels(is_concept: Any, is_member: Any | None) -> None:
    """Refuses labels that are not bool "texts concepts", and members of another shape.

    Raises:
        KernelInputError: If shapes or dtypes do not fit.
    """
    for what, labels in (("is_concept", is_concept), ("is_member", is_member)):
        if labels is not None and (len(labels.shape) != 2 or dtype_name(labels) != "bool"):
            raise KernelInputError(
                f"{what} must be bool [texts, concepts]; got {dtype_name(labels)} of shape {tuple(labels.shape)}"
            )
    if is_member is None:
        return
    for axis, what in enumerate(("texts", "concepts")):
        if is_member.shape[axis] != is_concept.shape[axis]:
            raise KernelInputError(f"is_member has {is_member.shape[axis]} {what}, is_concept has {is_concept.shape[axis]}")


@dataclass(frozen=True)
class HostValues:
    """Values in host memory: `bits` "neurons texts", the raw bits of `dtype`."""

    bits: NDArray[Any]
    dtype: str

    @classmethod
    def of(cls, values: Any) -> HostValues:
        """`values`, numpy or torch, without a copy."""
        name = dtype_name(values)
        array = to_numpy(values, "values")
        return cls(array.view(BITS[name]), name)

    def rows(self, start: int, stop: int, *, wide: bool) -> NDArray[Any]:
        """Bits of neurons start..stop-1, contiguous; `wide`: of the same numbers in float32."""
        bits = self.bits[start:stop]
        if self.dtype == "bfloat16" and wide:
            return bfloat16_to_float32(bits).view(np.uint32)
        if self.dtype == "float16" and wide:
            return bits.view(np.float16).astype(np.float32, order="C").view(np.uint32)
        # the compiled loops are typed for memory that may be written, although they only read it
        return np.require(bits, requirements=("C", "W"))

    def numbers(self) -> NDArray[np.floating]:
        """The values as floats that numpy can reckon with."""
        if self.dtype == "bfloat16":
            return self.rows(0, self.bits.shape[0], wide=True).view(np.float32)
        return self.bits.view(self.dtype)

    def refuse_not_finite(self, first: int = 0) -> None:
        """Raises naming the first NaN or infinity from neuron `first` on, if there is one."""
        n_neurons, n_texts = self.bits.shape
        step = max(1, (1 << 20) // n_texts)
        for start in range(first, n_neurons, step):
            x = self.rows(start, start + step, wide=True).view(np.float32)
            is_finite = np.isfinite(x)
            if not is_finite.all():
                neuron, text = np.argwhere(~is_finite)[0]
                refuse_not_finite(start + int(neuron), int(text), x[neuron])


def refuse_not_finite(neuron: int, text: int, x: NDArray[np.floating]) -> NoReturn:
    """Raises for the value of one neuron at one text."""
    raise KernelInputError(f"value {x[text]} at neuron {neuron}, text {text}: only finite values have a rank and a mean")
