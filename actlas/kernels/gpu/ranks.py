"""The order of each neuron's texts, and the statistics of concepts that need nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actlas.kernels.gpu.device import DeviceLabels, n_programs
from actlas.kernels.gpu.variants import array_type, find

if TYPE_CHECKING:
    import torch

RANK_STATS = {"ap", "ap_anti", "auroc", "best_f1", "best_f1_threshold"}
#: Places of at most this many texts have 16 bits.
MAX_TEXTS_SHORT = 32768


def counts_on_chip(device: torch.device) -> bool:
    """Whether Triton counts numbers by atomic additions to shared memory: on NVIDIA, from 3.8 on.

    Elsewhere it compares every number with all that are possible, so that counting in memory is faster.
    """
    import torch
    import triton

    version = tuple(int(part) for part in triton.__version__.split(".")[:2])
    return device.type == "cpu" or (torch.version.hip is None and version >= (3, 8))


def _launch(
    kernel: str, n_neurons: int, device: torch.device, arguments: Callable[[torch.Tensor, int], Any], **asked: Any
) -> None:
    """A kernel that counts, with one program for each neuron, or as many as are to have counters in memory."""
    import torch

    on_chip = counts_on_chip(device)
    variant = find(kernel, ON_CHIP=on_chip, **asked)
    programs = n_neurons if on_chip else n_programs(device, n_neurons)
    counters = torch.zeros(1 if on_chip else programs * variant.constants["SIZE"], dtype=torch.int32, device=device)
    variant.launch((programs,), *arguments(counters, programs))


@dataclass(frozen=True)
class Order:
    """Per neuron and text, its place among the neuron's distinct values (0 is the highest), and how many of these there are."""

    place: torch.Tensor
    n_distinct: torch.Tensor


def order_texts(values: torch.Tensor) -> Order:
    """The order of each neuron's texts, shape "neurons texts"."""
    import torch

    if values.stride(1) != 1:
        values = values.contiguous()  # a neuron's values are read together
    n_neurons, n_texts = values.shape
    dtype = torch.int16 if n_texts <= MAX_TEXTS_SHORT else torch.int32
    place = torch.empty((n_neurons, n_texts), dtype=dtype, device=values.device)
    n_distinct = torch.empty(n_neurons, dtype=torch.int32, device=values.device)
    bits = values.view(torch.int32 if values.dtype == torch.float32 else torch.int16)
    spare = torch.empty_like(place) if values.dtype == torch.float32 else place
    _launch(
        "order_kernel",
        n_neurons,
        values.device,
        lambda counters, programs: (
            bits, place, spare, n_distinct, counters, n_neurons, n_texts, bits.stride(0), programs,
        ),
        bits=array_type(bits.dtype),
        order=array_type(dtype),
    )  # fmt: skip
    return Order(place, n_distinct)


def rank_scores(order: Order, labels: DeviceLabels, has_all: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Average precision, or with `has_all` every rank statistic, in float64; and a text at each best threshold."""
    import torch

    n_neurons, n_texts = order.place.shape
    n_concepts = labels.order.numel()
    device = order.place.device
    sums = torch.empty((4, n_neurons, n_concepts), dtype=torch.float64, device=device)
    best_text = torch.empty((n_neurons, n_concepts), dtype=torch.int32, device=device)
    _launch(
        "concepts_kernel",
        n_neurons,
        device,
        lambda counters, programs: (
            order.place, order.n_distinct, labels.starts, labels.texts, labels.member_set, labels.member_starts, labels.members,
            counters, sums, best_text, n_neurons, n_texts, n_concepts, programs,
        ),
        order=array_type(order.place.dtype),
        HAS_ALL=has_all,
        **({"SIZE": _size(order, has_all)} if n_texts <= MAX_TEXTS_SHORT else {}),
    )  # fmt: skip
    p, n_off = labels.n_positive, labels.n_member - labels.n_positive
    scores = {"ap": _mean_precision(sums[0], p)}
    if has_all:
        scores["ap_anti"] = _mean_precision(sums[1], p)
        scores["auroc"] = 1.0 - 0.5 * (sums[2] - p * p) / (p * n_off)
        scores["best_f1"] = sums[3]
    return scores, best_text


def _size(order: Order, has_all: bool) -> int:
    """How many places are to be counted at a time: few where all have few, as is usual of bfloat16 and after a ReLU."""
    if int(order.n_distinct.max()) <= 2048:
        return 2048
    return 4096 if has_all else 8192


def _mean_precision(total: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """1 where no negative stands before a positive, as far as rounding lets that be told: any other order lacks twice as much."""
    mean = total / p
    return mean.masked_fill((1.0 - mean) * p * (p + 1.0) < 0.5, 1.0)
