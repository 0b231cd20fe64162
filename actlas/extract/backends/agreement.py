"""How far values are from those that they should equal, and how far a dtype explains; numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Largest difference that computing in a dtype explains, relative to the largest value of a layer.
TOLERANCE = {
    "float32": 1e-4,
    "float16": 2e-2,
    "bfloat16": 1e-1,
    "autocast-float16": 2e-2,
    "autocast-bfloat16": 1e-1,
}


def furthest(values: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]]) -> tuple[float, str]:
    """The largest difference, relative to the largest value of its layer, and where it is.

    Args:
        values: Site -> ``"layers neurons texts"``.
        reference: What they should equal; sites that it lacks are not looked at.

    Example:
        >>> furthest({"resid": np.array([[[1.0, 2.5]]])}, {"resid": np.array([[[1.0, 2.0]]])})
        (0.25, 'site resid, layer 0')
    """
    worst, where = 0.0, ""
    for site, expected in reference.items():
        scale = np.maximum(np.abs(expected).max(axis=(1, 2)), np.finfo(np.float32).tiny)
        relative = np.abs(values[site] - expected).max(axis=(1, 2)) / scale
        # a NaN is further than any number
        if not relative.max() <= worst:
            worst, where = float(relative.max()), f"site {site}, layer {int(relative.argmax())}"
    return worst, where
