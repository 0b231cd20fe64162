"""Language activation probability entropy (LAPE) from counts of active tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actlas.errors import KernelInputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class LapeResult:
    """Which neurons are active for few languages.

    Attributes:
        p_active: Share of a language's tokens at which a neuron is active, "languages neurons".
        entropy: Of `p_active` normalised over languages, in nats, "neurons"; NaN for a neuron that is never active.
        bar: A language counts for a neuron when its `p_active` is above this.
        selected: The language-specific neurons, "neurons".
        languages_of: "languages neurons": selected, and above the bar in that language.
    """

    p_active: Floats
    entropy: Floats
    bar: float
    selected: Bools
    languages_of: Bools


def lape(
    active: NDArray[np.integer], n_tokens: NDArray[np.integer], *, share: float = 0.01, bar_quantile: float = 0.95
) -> LapeResult:
    """Language-specific neurons: those of lowest entropy among the ones that are often active in some language.

    The bar is a quantile of *all* probabilities, every neuron and language together: of n, the one of rank `round(quantile * n)`,
    as in the published code. Neurons that are above it in no language are dropped, and so are neurons that are never active:
    their entropy is undefined, not 0. Of the rest, the `round(share * neurons)` with the lowest entropy are selected; where
    entropies are equal, the lower index goes first.

    Args:
        active: Tokens at which each neuron was active, integers "languages neurons". What active means was decided when counting.
        n_tokens: Tokens per language, "languages".
        share: Share of all neurons to select.
        bar_quantile: Quantile of all probabilities that makes the bar.

    Returns:
        Probabilities, entropies, the bar and the selection.

    Raises:
        KernelInputError: If shapes do not fit, a language has no tokens, or a count is outside 0..n_tokens.

    Source: Tang et al. 2024, and its published code.

    Example:
        >>> result = lape(np.array([[90, 50, 0, 3], [0, 50, 0, 2]]), np.array([100, 100]), share=0.25, bar_quantile=0.5)
        >>> result.entropy.round(3).tolist(), result.selected.tolist()
        ([0.0, 0.693, nan, 0.673], [True, False, False, False])
    """
    counts, totals = np.asarray(active), np.asarray(n_tokens)
    if counts.ndim != 2 or totals.shape != counts.shape[:1] or not counts.size:
        raise KernelInputError(
            f"active must be [languages, neurons] and n_tokens [languages]; got {counts.shape} and {totals.shape}"
        )
    if (totals <= 0).any():
        raise KernelInputError(
            f"language {int(np.flatnonzero(totals <= 0)[0])} has no tokens, so no neuron has a probability there"
        )
    if (counts < 0).any() or (counts > totals[:, None]).any():
        language, neuron = np.argwhere((counts < 0) | (counts > totals[:, None]))[0]
        raise KernelInputError(
            f"neuron {neuron} is active at {counts[language, neuron]} of {totals[language]} tokens of language {language}"
        )
    for name, number in (("share", share), ("bar_quantile", bar_quantile)):
        if not 0 <= number <= 1:
            raise KernelInputError(f"{name} must lie between 0 and 1; got {number}")
    p_active = counts / totals[:, None]
    mass = p_active.sum(0)
    is_alive = mass > 0
    q = np.divide(p_active, mass, out=np.zeros_like(p_active), where=is_alive)
    terms = q * np.log(q, out=np.zeros_like(q), where=q > 0)
    entropy = np.where(is_alive, np.maximum(-terms.sum(0), 0.0), np.nan)
    rank = max(1, round(bar_quantile * p_active.size))
    bar = float(np.partition(p_active, rank - 1, axis=None)[rank - 1])
    is_above = p_active > bar
    candidates = np.flatnonzero(is_alive & is_above.any(0))
    # entropies that differ by rounding alone are equal: sums over permuted languages must not change the selection
    selected = np.zeros(counts.shape[1], np.bool_)
    selected[candidates[_lowest(entropy[candidates].round(12), round(share * counts.shape[1]))]] = True
    return LapeResult(p_active, entropy, bar, selected, is_above & selected)


def _lowest(values: Floats, n: int) -> NDArray[np.int64]:
    """Positions of the n lowest values; of equal ones at the cut, the first."""
    if n >= values.size:
        return np.arange(values.size)
    if n == 0:
        return np.empty(0, dtype=np.int64)
    bar = np.partition(values, n - 1)[n - 1]
    below, equal = np.flatnonzero(values < bar), np.flatnonzero(values == bar)
    return np.concatenate([below, equal[: n - below.size]])
