"""Moments of every neuron for every concept: how `moments_kernel` is launched, and what its sums become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actlas.kernels.gpu.device import DeviceLabels, Ends
from actlas.kernels.gpu.variants import ALIGNMENT, array_type, find

if TYPE_CHECKING:
    import torch

MOMENT_STATS = frozenset({"p_active", "p_active_off", "mean", "mean_off", "std"})
#: Spread below this share of the mean square is computed again from the positives: the sums have lost its digits.
_CONDITION = 0.05
#: Deviations are scaled to below this, so that even the last of the float16 pieces of their squares is no subnormal number.
_LARGEST = 7  # as a power of two
#: Labels are padded to multiples of this, which every tile of texts and of columns divides.
_LABELS = 64


@dataclass(frozen=True)
class Moments:
    """Per neuron: `pivot`; per neuron and label column, in float64: sums of value - pivot and of its square, active texts."""

    pivot: torch.Tensor
    sums: torch.Tensor
    squares: torch.Tensor
    active: torch.Tensor


def moments(values: torch.Tensor, columns: torch.Tensor, threshold: float, ends: Ends | None = None) -> Moments:
    """Sums over the texts of each label column; none is off by more than 2**-20 of the sum of its terms' magnitudes.

    Where some terms are far below the neuron's largest deviation, the error of each is up to 2**-31 of that one's term, or of
    that of 2**-120 if all are smaller: nothing larger than 2**127 fits into a float32 to scale them by.

    Args:
        values: Shape "neurons texts".
        columns: Labels, uint8 "texts columns".
        threshold: A text is active above this value.
        ends: Of these values, if they are known; else they take a pass of their own.
    """
    import torch

    n_neurons, n_texts = values.shape
    n_columns = columns.shape[1]
    is_short = values.dtype != torch.float32
    ends = ends or Ends(*(part.float() for part in torch.aminmax(values, dim=1)))
    # 16-bit values are exact as they are; around a pivot, float32 keeps more of the spread
    pivot = torch.zeros(n_neurons, device=values.device) if is_short else values[:, 0].clone()
    largest = torch.maximum((ends.lowest - pivot).abs(), (ends.highest - pivot).abs())
    if not is_short:
        pivot = torch.where(largest.isfinite(), pivot, 0)
        largest = torch.where(largest.isfinite(), largest, torch.maximum(-ends.lowest, ends.highest))
    scale = torch.exp2(_LARGEST - torch.frexp(largest)[1].clamp(min=-120).float())
    values, is_text_major, step = _laid_out(values)
    labels = torch.nn.functional.pad(columns, (0, -n_columns % _LABELS, 0, -n_texts % _LABELS)).contiguous()
    sums, squares = (torch.empty((n_neurons, n_columns), dtype=torch.float64, device=values.device) for _ in range(2))
    active = torch.empty((n_neurons, n_columns), dtype=torch.int32, device=values.device)
    variant = find("moments_kernel", values=array_type(values.dtype), IS_TEXT_MAJOR=is_text_major, STEP=step)
    n_tiles = -(-n_neurons // variant.constants["BM"]) * -(-n_columns // variant.constants["BC"])
    variant.launch(
        (n_tiles,), values, labels, pivot, scale, sums, squares, active, n_neurons, n_texts, n_columns, labels.shape[1],
        values.stride(1 if is_text_major else 0), _rounded_down(threshold),
    )  # fmt: skip
    factor = scale.double()[:, None]
    return Moments(pivot, sums / factor, squares / factor**2, active.double())


def _laid_out(values: torch.Tensor) -> tuple[torch.Tensor, bool, int]:
    """The values as a variant takes them, whether each text's stand together, and what sizes and strides are multiples of."""
    n_neurons, n_texts = values.shape
    step = ALIGNMENT // 2  # of the shortest values
    if values.stride(0) == 1 and n_neurons % step == 0 and values.stride(1) % step == 0:
        return values, True, step
    if values.stride(1) != 1 or n_texts == 1:
        values = values.contiguous()
    return values, False, step if n_texts % step == 0 and values.stride(0) % step == 0 else 1


def _rounded_down(threshold: float) -> float:
    """The largest float32 up to `threshold`: the same float32 values are above either."""
    nearest = np.float32(threshold)
    return float(nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-np.inf)))


def moment_scores(
    values: torch.Tensor, labels: DeviceLabels, asked: set[str], threshold: float, ends: Ends
) -> dict[str, torch.Tensor]:
    """Statistics that follow from moments, those of `asked` that do; concepts in the order of the labels."""
    sums = moments(values, labels.columns, threshold, ends)
    n_concepts = labels.order.numel()
    n, n_off = labels.n_positive, labels.n_member - labels.n_positive
    pivot = sums.pivot.double()[:, None]
    on, off = sums.sums[:, :n_concepts], sums.sums[:, n_concepts:] - sums.sums[:, :n_concepts]
    active, active_off = sums.active[:, :n_concepts], sums.active[:, n_concepts:] - sums.active[:, :n_concepts]
    scores = {
        "mean": pivot + on / n,
        "mean_off": pivot + off / n_off,
        "p_active": active / n,
        "p_active_off": active_off / n_off,
    }
    if "std" in asked:
        square = sums.squares[:, :n_concepts] / n
        variance = square - (on / n) ** 2
        std = variance.clamp(min=0).sqrt()
        is_lost = variance < _CONDITION * square
        for k in is_lost.any(0).nonzero().flatten().tolist():
            rows = is_lost[:, k].nonzero().flatten()
            std[rows, k] = labels.positives(values[rows], k).double().std(dim=1, correction=0)
        scores["std"] = std
    return {stat: numbers for stat, numbers in scores.items() if stat in asked}
