"""Loops that see every pooled value once and note per neuron what became of it; `extract.pooling.health` says what that means."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import types
from numpy.typing import NDArray

from actlas.compiled.jit import compiled_now, jit_kernel


@jit_kernel
def _tally(values: Any, low: Any, high: Any, n_zero: Any, n_lost: Any, zero: Any, normal: Any) -> None:
    for text in range(values.shape[0]):
        for neuron in range(values.shape[1]):
            value = values[text, neuron]
            size = abs(value)
            low[neuron] = min(low[neuron], value)
            high[neuron] = max(high[neuron], value)
            n_zero[neuron] += size <= zero
            n_lost[neuron] += (size < normal) & (value != 0)


@jit_kernel
def _tally_special(values: Any, tokens: Any, texts: Any, positions: Any, n_special: Any) -> None:
    first = 0
    while first < texts.shape[0]:
        text, last = texts[first], first + 1
        while last < texts.shape[0] and texts[last] == text:
            last += 1
        one = positions[first]
        if last - first <= 2:
            # before and behind a text, as almost every tokenizer has it
            other = positions[last - 1]
            for neuron in range(values.shape[1]):
                n_special[neuron] += max(tokens[text, one, neuron], tokens[text, other, neuron]) >= values[text, neuron]
        else:
            for neuron in range(values.shape[1]):
                largest = tokens[text, one, neuron]
                for place in range(first + 1, last):
                    largest = max(largest, tokens[text, positions[place], neuron])
                n_special[neuron] += largest >= values[text, neuron]
        first = last


_FLOATS, _COUNTS, _PLACES = types.Array(types.float32, 1, "C"), types.Array(types.int32, 1, "C"), types.Array(types.int64, 1, "C")


@cache
def _kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    values = types.Array(types.float32, 2, "A")
    ends = (_FLOATS, _FLOATS, _COUNTS, _COUNTS, types.float32, types.float32)
    special = (values, types.Array(types.float32, 3, "A"), _PLACES, _PLACES, _COUNTS)
    return compiled_now(_tally, (values, *ends)), compiled_now(_tally_special, special)


def tally(
    values: NDArray[Any], ends: tuple[NDArray[Any], ...], counts: tuple[NDArray[Any], ...], zero: float, normal: float
) -> None:
    """Note float32 values ``"texts neurons"``.

    Args:
        values: Pooled values.
        ends: Lowest and highest so far, float32 ``"neurons"`` each, changed in place.
        counts: Values that are kept as 0, and those that are not 0 and smaller than `normal`: int32 ``"neurons"`` each, likewise.
        zero: Largest size that is kept as 0.
        normal: Smallest size that is kept whole.

    Example:
        >>> ends = np.full(1, np.inf, np.float32), np.full(1, -np.inf, np.float32)
        >>> counts = np.zeros(1, np.int32), np.zeros(1, np.int32)
        >>> tally(np.array([[2.0], [0.0], [0.1]], np.float32), ends, counts, 0.0, 0.5)
        >>> [int(part[0]) for part in (*ends, *counts)]
        [0, 2, 1, 1]
    """
    _kernels()[0](values, *ends, *counts, zero, normal)


def tally_special(
    values: NDArray[Any], tokens: NDArray[Any], texts: NDArray[Any], positions: NDArray[Any], n_special: NDArray[Any]
) -> None:
    """Count the texts whose largest value is that of a special token.

    Args:
        values: Pooled values, float32 ``"texts neurons"``.
        tokens: Activations, float32 ``"texts tokens neurons"``.
        texts: Text of every special token, ascending, int64.
        positions: Its position.
        n_special: Changed in place, int32 ``"neurons"``.

    Example:
        >>> tokens, n_special = np.array([[[2.0], [1.0]], [[2.0], [3.0]]], np.float32), np.zeros(1, np.int32)
        >>> tally_special(tokens.max(1), tokens, np.array([0, 1]), np.array([0, 0]), n_special)
        >>> n_special.tolist()
        [1]
    """
    _kernels()[1](values, tokens, texts, positions, n_special)
