"""What every GPU engine needs around its kernels: the device, labels on it, neurons in chunks, and back."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from actlas.errors import BackendUnavailable
from actlas.kernels import inputs
from actlas.kernels.gpu.variants import ALIGNMENT
from actlas.kernels.inputs import is_on_gpu, is_torch
from actlas.kernels.labels import ConceptLabels, engine_form

if TYPE_CHECKING:
    import torch

P = ParamSpec("P")
T = TypeVar("T")


def require_gpu(values: Any = None) -> torch.device:
    """The device that kernels will run on; the CPU only where Triton's interpreter was asked for.

    Raises:
        BackendUnavailable: If torch, triton or a CUDA device is missing.
    """
    try:
        import torch
        import triton  # noqa: F401
    except ImportError as error:
        hint = "pip install 'actlas[gpu]', or backend='cpu' for the same numbers"
        raise BackendUnavailable(f"kernels backend 'gpu' needs {error.name}, which is not installed: {hint}") from error
    if os.environ.get("TRITON_INTERPRET") == "1":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise BackendUnavailable(
            "kernels backend 'gpu' needs a CUDA device, and torch.cuda.is_available() is False here. "
            "backend='cpu' gives the same numbers"
        )
    if is_torch(values) and values.device.type == "cuda":
        return values.device  # type: ignore[no-any-return]
    # with its number: labels are kept per device, and "cuda" is another one after `torch.cuda.set_device`
    return torch.device("cuda", torch.cuda.current_device())


def launched_beside_values(score: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """A function of values on a device, called while that is the current one: Triton launches kernels there and nowhere else."""

    @wraps(score)
    def on_device(values: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not is_on_gpu(values):
            return score(values, *args, **kwargs)
        import torch

        with torch.cuda.device(values.device):
            return score(values, *args, **kwargs)

    return on_device


class Ends(NamedTuple):
    """The least and the largest value of each neuron, float32."""

    lowest: torch.Tensor
    highest: torch.Tensor


@dataclass(frozen=True)
class DeviceLabels:
    """Prepared labels on the device, with 32-bit starts; concepts stand in the order of the labels."""

    order: torch.Tensor  # the caller's index of each concept, int64
    n_positive: torch.Tensor  # per concept, float64
    n_member: torch.Tensor
    starts: torch.Tensor
    texts: torch.Tensor
    member_set: torch.Tensor
    member_starts: torch.Tensor
    members: torch.Tensor
    columns: torch.Tensor  # uint8 "texts columns": positives of each concept, then its members, or once all texts

    @classmethod
    def of(cls, labels: ConceptLabels, device: torch.device) -> DeviceLabels:
        """The labels on `device`, moved there once however many blocks of neurons they serve."""
        return engine_form(labels, ("gpu", str(device)), lambda: cls._moved(labels, device))

    def positives(self, values: torch.Tensor, k: int) -> torch.Tensor:
        """Values of the texts that the concept at place k has, "neurons positives"."""
        start, stop = self.starts[k : k + 2].tolist()
        return values[:, self.texts[start:stop].long()]

    @classmethod
    def _moved(cls, labels: ConceptLabels, device: torch.device) -> DeviceLabels:
        import torch

        def move(array: NDArray[Any], dtype: Any = np.int32) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, dtype=dtype)).to(device)

        order = labels.order
        if labels.is_member is None:
            member = np.ones((labels.n_texts, 1), np.bool_)
        else:
            member = labels.is_member[:, order]
        columns = np.concatenate([labels.is_positive[:, order], member], axis=1)
        return cls(
            move(order, np.int64),
            move(labels.n_positive[order], np.float64),
            move(labels.n_member[order], np.float64),
            move(labels.starts),
            # a kernel may not be given a pointer to nothing
            move(labels.positives if labels.positives.size else np.zeros(1)),
            move(labels.member_set),
            move(labels.member_starts),
            move(labels.members if labels.members.size else np.zeros(1)),
            move(columns, np.uint8),
        )


def n_programs(device: torch.device, n_neurons: int) -> int:
    """Programs of a kernel that keeps scratch memory per program."""
    import torch

    per_device = 4 * torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2
    return max(1, min(n_neurons, per_device))


def chunk(values: Any, start: int, stop: int, device: torch.device) -> torch.Tensor:
    """Values of neurons start..stop-1 there, copied only if they are elsewhere or start where no kernel takes them."""
    import torch

    part = values[start:stop]
    if is_torch(part):
        moved: torch.Tensor = part.detach().to(device)
    elif str(part.dtype) == "bfloat16":
        moved = torch.from_numpy(np.ascontiguousarray(part).view(np.int16)).view(torch.bfloat16).to(device)
    else:
        moved = torch.from_numpy(np.require(part, requirements=("C", "W"))).to(device)
    return moved.clone() if moved.data_ptr() % ALIGNMENT else moved


def refuse_not_finite(values: torch.Tensor, first: int) -> Ends:
    """The least and the largest value of each neuron; raises naming the first NaN or infinity, counting neurons from `first`.

    Raises:
        KernelInputError: If there is one.
    """
    import torch

    # the least and the largest of a neuron, in one pass: to ask every value moves eight times as many bytes
    ends = Ends(*(part.float() for part in torch.aminmax(values, dim=1)))
    if not bool(torch.stack(ends).isfinite().all()):
        neuron, text = (int(i) for i in (~values.isfinite()).nonzero()[0])
        inputs.refuse_not_finite(first + neuron, text, values[neuron].float().cpu().numpy())
    return ends
