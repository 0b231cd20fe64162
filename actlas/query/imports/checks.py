"""What scores from elsewhere must be before any of them is kept: known statistics, whole grids, numbers that can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import KernelInputError, ScoreImportError
from actlas.kernels.stats import checked_stats

#: Statistics that are shares.
_SHARES = ("ap", "ap_anti", "auroc", "best_f1", "p_active", "p_active_off")
#: Those that cannot be negative.
_NOT_NEGATIVE = ("n_member", "n_positive", "std")


def known_stats(names: Sequence[str]) -> tuple[str, ...]:
    """The same names.

    Raises:
        ScoreImportError: If there are none, or one is no statistic.
    """
    if not names:
        raise ScoreImportError("there is no statistic among the columns; name average precision ap")
    try:
        return checked_stats(names)
    except KernelInputError as error:
        raise ScoreImportError(f"{error}; rename the column, or leave it out") from error


def check_site(
    where: str, scores: Mapping[str, NDArray[Any]], languages: Sequence[str], concepts: Sequence[str], shape: tuple[int, int]
) -> None:
    """Refuse scores of a site that cannot be.

    A statistic is null (NaN) for all neurons of a language and concept, which then has no positive or no negative text, or for
    none of them.

    Args:
        where: What the site is called in messages.
        scores: Statistic -> ``"languages concepts layers neurons"``.
        languages: Along the first axis.
        concepts: Along the second.
        shape: Layers and neurons.

    Raises:
        ScoreImportError: Naming the first cell that is wrong.
    """
    known_stats(list(scores))
    expected = (len(languages), len(concepts), *shape)
    for stat, values in scores.items():
        if values.shape != expected:
            raise ScoreImportError(
                f"{stat} of {where} has shape {values.shape}; {len(languages)} languages x {len(concepts)} concepts x "
                f"{shape[0]} layers x {shape[1]} neurons make {expected}"
            )
        if values.dtype.kind not in "fiu":
            raise ScoreImportError(f"{stat} of {where} is {values.dtype}, not numbers")
        low, high = (0.0, 1.0) if stat in _SHARES else (0.0 if stat in _NOT_NEGATIVE else -np.inf, np.inf)
        # one language at a time: a comparison of all would take as much memory as the scores
        for row, language in enumerate(languages):
            part = values[row]
            is_null = np.isnan(part)
            is_whole = is_null == is_null[:, :1, :1]
            is_fine = is_whole & (is_null | ((part >= low) & (part <= high) & np.isfinite(part)))
            if not is_fine.all():
                concept, layer, neuron = np.argwhere(~is_fine)[0].tolist()
                cell = f"{stat} of {concepts[concept]!r} in {language!r} at {where}, layer {layer}, neuron {neuron}"
                at = concept, layer, neuron
                raise ScoreImportError(_why(cell, float(part[at]), low, high, is_whole=bool(is_whole[at])))


def _why(cell: str, value: float, low: float, high: float, *, is_whole: bool) -> str:
    if not is_whole:
        return f"{cell} is {value}: a statistic is null for all neurons of a language and concept, or for none"
    limits = f"from {low:g} to {high:g}" if np.isfinite(high) else "a finite number" + (" of 0 or more" if low == 0 else "")
    return f"{cell} is {value}; it must be {limits}"
