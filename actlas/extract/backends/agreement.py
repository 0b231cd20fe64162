"""How far values are from those that they should equal, and how far a dtype explains; numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import FidelityError

#: Largest difference that computing in a dtype explains, relative to the largest value of a layer.
TOLERANCE = {
    "float32": 1e-4,
    "float16": 2e-2,
    "bfloat16": 1e-1,
    "autocast-float16": 2e-2,
    "autocast-bfloat16": 1e-1,
}


def largest_relative_difference(values: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]]) -> tuple[float, str]:
    """The largest difference, relative to the largest value of its layer, and where it is.

    Args:
        values: Site -> ``"layers neurons texts"``.
        reference: What they should equal; sites that it lacks are not compared.

    Returns:
        The difference, and the site and layer in words; NaN counts as larger than any number.

    Example:
        >>> largest_relative_difference({"resid": np.array([[[1.0, 2.5]]])}, {"resid": np.array([[[1.0, 2.0]]])})
        (0.25, 'site resid, layer 0')
    """
    worst, place = 0.0, ""
    for site, expected in reference.items():
        scale = np.maximum(np.abs(expected).max(axis=(1, 2)), np.finfo(np.float32).tiny)
        relative = np.abs(values[site] - expected).max(axis=(1, 2)) / scale
        # negated, because every comparison with NaN is false
        if not relative.max() <= worst:
            worst, place = float(relative.max()), f"site {site}, layer {int(relative.argmax())}"
    return worst, place


def compare(
    values: Mapping[str, NDArray[np.float32]], reference: Mapping[str, NDArray[np.float32]], compute_dtype: str, *, n_texts: int
) -> dict[str, Any]:
    """Compare pooled values of an engine with those of transformers for the same texts.

    Args:
        values: Site -> ``"layers neurons texts"``.
        reference: The same from transformers.
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
    for site, expected in reference.items():
        if values[site].shape != expected.shape:
            raise FidelityError(f"site {site} has shape {values[site].shape} in vLLM and {expected.shape} in transformers")
    worst, place = largest_relative_difference(values, reference)
    if not worst <= tolerance:
        raise FidelityError(
            f"values of vLLM differ from those of transformers by {worst:.1e} of the largest value at {place}; {compute_dtype} "
            f"allows {tolerance:.0e}. Extract this model with backend hf"
        )
    return {
        "reference": "transformers",
        "n_texts": n_texts,
        "largest_relative_difference": worst,
        "largest_difference": max((float(np.abs(values[site] - reference[site]).max()) for site in reference), default=0.0),
        "where": place,
        "sign_flips": sum(int(((values[site] > 0) != (reference[site] > 0)).sum()) for site in reference),
        "n_values": sum(expected.size for expected in reference.values()),
        "tolerance": tolerance,
    }
