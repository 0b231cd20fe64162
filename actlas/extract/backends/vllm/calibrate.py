"""How far an engine's values are from those of transformers; numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import FidelityError
from actlas.extract.backends.agreement import TOLERANCE, furthest


def compare(
    ours: Mapping[str, NDArray[np.float32]], theirs: Mapping[str, NDArray[np.float32]], compute_dtype: str, *, n_texts: int
) -> dict[str, Any]:
    """Compare pooled values of the same texts.

    Args:
        ours: Site -> ``"layers neurons texts"``.
        theirs: The same from transformers.
        compute_dtype: Dtype that both computed in.
        n_texts: How many texts that were, for the record.

    Returns:
        What the checkpoint's record keeps: the largest relative and absolute difference, where it is, how many values have
        another sign, of how many.

    Raises:
        FidelityError: If they differ by more than the dtype explains, or do not have one shape.

    Example:
        >>> values = {"resid": np.array([[[1.0, -2.0]]], dtype=np.float32)}
        >>> compare(values, values, "float32", n_texts=2)["sign_flips"]
        0
    """
    tolerance = TOLERANCE[compute_dtype]
    for site, reference in theirs.items():
        if ours[site].shape != reference.shape:
            raise FidelityError(f"site {site} has shape {ours[site].shape} in vLLM and {reference.shape} in transformers")
    worst, where = furthest(ours, theirs)
    if not worst <= tolerance:
        raise FidelityError(
            f"values of vLLM differ from those of transformers by {worst:.1e} of the largest value at {where}; {compute_dtype} "
            f"allows {tolerance:.0e}. Extract this model with --backend hf"
        )
    return {
        "reference": "transformers",
        "n_texts": n_texts,
        "largest_relative_difference": worst,
        "largest_difference": max((float(np.abs(ours[site] - theirs[site]).max()) for site in theirs), default=0.0),
        "where": where,
        "sign_flips": sum(int(((ours[site] > 0) != (theirs[site] > 0)).sum()) for site in theirs),
        "n_values": sum(reference.size for reference in theirs.values()),
        "tolerance": tolerance,
    }
