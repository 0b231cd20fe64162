"""What callers hand over, brought to one form: raw float bits in rows, boolean labels. numpy and torch arrays are told apart
without torch."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from actlas.errors import KernelInputError

Bools = NDArray[np.bool_]

#: Value dtypes, and the unsigned integer that holds their bits.
BITS = {"float16": np.uint16, "bfloat16": np.uint16, "float32": np.uint32}


def is_torch(array: Any) -> bool:
    """Whether `array` is a torch tensor; importing torch is left to whoever made it."""
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


def checked_shapes(values: Any, is_concept: Any, is_member: Any | None) -> tuple[int, int, int]:
    """Neurons, texts and concepts.

    Raises:
        KernelInputError: If shapes or dtypes do not fit.
    """
    name = dtype_name(values)
    if len(values.shape) != 2 or name not in BITS:
        raise KernelInputError(f"values must be [neurons, texts] of {', '.join(BITS)}; got {name} of shape {tuple(values.shape)}")
    for what, labels in (("is_concept", is_concept), ("is_member", is_member)):
        if labels is None:
            continue
        if len(labels.shape) != 2 or dtype_name(labels) != "bool":
            raise KernelInputError(
                f"{what} must be bool [texts, concepts]; got {dtype_name(labels)} of shape {tuple(labels.shape)}"
            )
        if labels.shape[0] != values.shape[1]:
            raise KernelInputError(f"{what} has {labels.shape[0]} texts, values have {values.shape[1]}")
    if is_member is not None and tuple(is_member.shape) != tuple(is_concept.shape):
        raise KernelInputError(f"is_member has {is_member.shape[1]} concepts, is_concept has {is_concept.shape[1]}")
    if values.shape[1] == 0:
        raise KernelInputError("values hold no texts")
    return values.shape[0], values.shape[1], is_concept.shape[1]


@dataclass(frozen=True)
class Block:
    """Values in host memory: `bits` "neurons texts", the raw bits of `dtype`."""

    bits: NDArray[Any]
    dtype: str

    @classmethod
    def of(cls, values: Any) -> Block:
        """`values`, numpy or torch, without a copy."""
        name = dtype_name(values)
        array = to_numpy(values, "values")
        return cls(array.view(BITS[name]), name)

    def rows(self, start: int, stop: int, *, wide: bool) -> NDArray[Any]:
        """Bits of neurons start..stop-1, contiguous; `wide`: of the same numbers in float32."""
        bits = self.bits[start:stop]
        if self.dtype == "bfloat16" and wide:
            return np.left_shift(bits.astype(np.uint32, order="C"), np.uint32(16))
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


def member_sets(is_member: Bools | None, concepts: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[NDArray[np.uint32]]]:
    """Which of the distinct member sets each concept has, and the texts of each set; -1 where every text takes part.

    Example:
        >>> which, sets = member_sets(np.array([[True, True, False], [True, False, True]]), np.arange(3))
        >>> which.tolist(), [texts.tolist() for texts in sets]
        ([-1, 0, 1], [[0], [1]])
    """
    which = np.full(concepts.size, -1, np.int64)
    sets: list[NDArray[np.uint32]] = []
    if is_member is None:
        return which, sets
    known: dict[bytes, int] = {}
    for place, concept in enumerate(concepts):
        column = np.ascontiguousarray(is_member[:, concept])
        if column.all():
            continue
        key = np.packbits(column).tobytes()
        if key not in known:
            known[key] = len(sets)
            sets.append(np.flatnonzero(column).astype(np.uint32))
        which[place] = known[key]
    return which, sets
