"""Arrays to the device and back. On a GPU nothing waits but for the values of a block, and those on a stream of their own."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """An array on a device. A GPU takes it when it gets there: the host goes on, and may prepare the next batch.

    Args:
        array: Must not change any more where `device` is the CPU, which shares its memory.
        device: Where it is needed.

    Example:
        >>> to_device(np.array([1, 2]), torch.device("cpu"))
        tensor([1, 2])
    """
    host = torch.from_numpy(np.ascontiguousarray(array))
    # the pinned copy is torch's to keep until it has been read
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


@cache
def copy_stream(device: torch.device) -> torch.cuda.Stream:
    """The one stream for copies off a device: memory that a stream has used is kept for that stream, so more would keep more."""
    return torch.cuda.Stream(device=device)  # type: ignore[no-untyped-call]


def start_copy(values: torch.Tensor) -> torch.Tensor:
    """Values on the host, in the order of their dimensions; from a GPU they are there once `finish_copies` has waited.

    Args:
        values: On the CPU they are handed back as they are: the store transposes tiles while it encodes them.
    """
    if values.device.type == "cpu":
        return values
    in_order = values.contiguous()
    host = torch.empty(in_order.shape, dtype=in_order.dtype, pin_memory=True)
    return host.copy_(in_order, non_blocking=True)


def finish_copies(device: torch.device) -> None:
    """Wait for the copies that were started on this thread's stream."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def to_numpy(host: torch.Tensor) -> NDArray[Any]:
    """Host memory as numpy has it; numpy has no bfloat16 and gets the bits, as uint16.

    Example:
        >>> to_numpy(torch.ones(2, dtype=torch.bfloat16)).tolist()
        [16256, 16256]
    """
    return host.view(torch.uint16).numpy() if host.dtype == torch.bfloat16 else host.numpy()
