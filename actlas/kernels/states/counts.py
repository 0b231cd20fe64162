"""Active tokens per language."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from actlas.kernels.inputs import HostValues
from actlas.kernels.states.texts import (
    Floats,
    Ints,
    merged,
)


@dataclass
class CountState:
    """Active tokens per threshold, language and neuron: what LAPE and language activation probability are made from.

    Attributes:
        thresholds: A token is active above each of these, float64 "thresholds".
        active: Active tokens, int64 "thresholds languages neurons".
        n_tokens: Tokens that were seen, int64 "languages".

    Example:
        >>> state = CountState.init(n_languages=2, n_neurons=1, thresholds=(0.0, 1.0))
        >>> _ = state.update(np.array([[0.5, 2.0, -1.0]], np.float32), language=0)
        >>> state.active[:, 0, 0].tolist(), state.n_tokens.tolist()
        ([2, 1], [3, 0])
    """

    thresholds: Floats
    active: Ints
    n_tokens: Ints

    @classmethod
    def init(cls, n_languages: int, n_neurons: int, thresholds: Iterable[float] = (0.0,)) -> CountState:
        """A state that has seen nothing.

        Args:
            n_languages: Languages of the tokens to come.
            n_neurons: Neurons of a block.
            thresholds: Values above which a token counts as active, each counted for itself.

        Returns:
            The state.

        Example:
            >>> CountState.init(n_languages=2, n_neurons=3).active.shape
            (1, 2, 3)
        """
        above = np.array([*thresholds], np.float64)
        return cls(above, np.zeros((above.size, n_languages, n_neurons), np.int64), np.zeros(n_languages, np.int64))

    def update(self, values: Any, language: int) -> CountState:
        """Counts a block of tokens of one language; pads have to be left out before.

        Args:
            values: Activations "neurons tokens": float16, bfloat16 or float32; numpy or torch.
            language: Its number.

        Returns:
            The same state, changed.

        Raises:
            KernelInputError: If a value is NaN or infinite.

        Example:
            >>> state = CountState.init(n_languages=1, n_neurons=1)
            >>> state.update(np.array([[0.5, -1.0]], np.float16), language=0).active.tolist()
            [[[1]]]
        """
        block = HostValues.of(values)
        block.refuse_not_finite()
        numbers = block.numbers()
        for i, threshold in enumerate(self.thresholds):
            # compared in float64: a threshold that the values' dtype cannot hold must not be rounded to one that it can
            self.active[i, language] += np.array([np.count_nonzero(x.astype(np.float64) > threshold) for x in numbers], np.int64)
        self.n_tokens[language] += numbers.shape[1]
        return self

    def merge(self, other: CountState) -> CountState:
        """A state that has seen what either has; neither of them changes.

        Args:
            other: With the same thresholds, languages and neurons.

        Returns:
            A new state.

        Raises:
            KernelInputError: If thresholds or shapes differ.

        Example:
            >>> block = np.array([[0.5, -1.0]], np.float16)
            >>> one, two = (CountState.init(1, 1).update(block, 0) for _ in range(2))
            >>> one.merge(two).n_tokens.tolist()
            [4]
        """
        return merged(self, other, fixed=("thresholds",))

    def finish(self) -> Floats:
        """What the counts say.

        Returns:
            Share of active tokens, float64 "thresholds languages neurons"; NaN for a language without tokens.

        Example:
            >>> CountState.init(1, 1).update(np.array([[0.5, -1.0]], np.float16), 0).finish().tolist()
            [[[0.5]]]
        """
        with np.errstate(invalid="ignore"):
            return self.active / self.n_tokens[:, None]
