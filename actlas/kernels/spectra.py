"""How many directions a matrix uses: its singular values, their entropy and what follows from them. Plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Numbers of a matrix in float64 at a time: 32 MiB.
_CHUNK = 1 << 22


def in_float64(part: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers in float64."""
    return part.astype(np.float64)


def squared_singular_values(
    matrix: NDArray[Any], numbers: Callable[[NDArray[Any]], NDArray[np.float64]] = in_float64
) -> NDArray[np.float64]:
    """Squared singular values of a matrix, from the largest to the smallest: eigenvalues of its smaller Gram matrix, in float64.

    Those below about 1e-16 of the largest are rounding; 0 takes the place of what came out negative. Sums over all of them, and
    so entropy and ranks, are exact to about 1e-12. They cost what a Gram matrix does, whatever the longer side is.

    Args:
        matrix: ``"rows columns"``, finite; may be a file on disk, and is read in parts.
        numbers: What makes numbers of a part, where numpy does not know its dtype.

    Returns:
        As many as the smaller side has.

    Example:
        >>> squared_singular_values(np.array([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]])).round(9).tolist()
        [9.0, 4.0]
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    gram = np.zeros((tall.shape[1], tall.shape[1]))
    step = max(1, _CHUNK // max(1, tall.shape[1]))
    for start in range(0, tall.shape[0], step):
        part = numbers(tall[start : start + step])
        gram += part.T @ part
    squares: NDArray[np.float64] = np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)
    return squares


def spectral_entropy(powers: NDArray[np.float64]) -> float:
    """Entropy in nats of powers that are divided by their sum; NaN where all are 0.

    Args:
        powers: Not negative: squared singular values, or eigenvalues of a covariance.

    Example:
        >>> spectral_entropy(np.array([4.0, 4.0, 0.0]))  # ln 2
        0.6931471805599453
    """
    total = powers.sum()
    if not total > 0:
        return float("nan")
    shares = powers[powers > 0] / total
    return float(-(shares * np.log(shares)).sum())


def effective_rank(powers: NDArray[np.float64]) -> float:
    """exp of the entropy: as many equal directions have the same entropy. Between 1 and the number of powers.

    Args:
        powers: Not negative: squared singular values, or eigenvalues of a covariance.

    Example:
        >>> effective_rank(np.array([4.0, 4.0, 0.0]))
        2.0
    """
    return float(np.exp(spectral_entropy(powers)))


def participation_ratio(powers: NDArray[np.float64]) -> float:
    """Square of the sum over the sum of squares: as many equal directions have the same. At most `effective_rank`.

    Args:
        powers: Not negative: squared singular values, or eigenvalues of a covariance.

    Example:
        >>> participation_ratio(np.array([4.0, 4.0, 0.0]))
        2.0
    """
    squares = float((powers**2).sum())
    return float(powers.sum() ** 2 / squares) if squares else float("nan")
