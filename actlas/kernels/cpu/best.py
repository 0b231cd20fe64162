"""A running choice of the best scores: those that reach what is best so far are put beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import typeof
from numpy.typing import NDArray

from actlas.compiled.jit import compiled_now, jit_kernel
from actlas.errors import QueryError
from actlas.names import RANK_DECIMALS

#: A key of 64 bits holds a score of so many decimals, from 0 to 1, and which neuron it is.
INDEX_BITS = 24
SCALE = 10.0**RANK_DECIMALS
_LAST = (1 << INDEX_BITS) - 1
#: The bits of 2.0: no larger number is a score, nor is what has a sign or is NaN.
_TWO = np.uint64(0x4000000000000000)
_SHIFT, _ONE = np.uint64(INDEX_BITS), np.uint64(1)


class Held(NamedTuple):
    """What is best so far, per question.

    Attributes:
        keys: ``"questions room"``: score and neuron as one number, no two of which are equal.
        scores: The scores of the keys.
        n_held: ``"questions"``: how many keys there are.
        bar: ``"questions"``: a key up to here is not among the best.
        floor: ``"questions"``: a score below here has no key above the bar.
        n_unfit: ``"questions"``: scores that were not there, or no more than a guess.
    """

    keys: NDArray[np.uint64]
    scores: NDArray[np.float64]
    n_held: NDArray[np.int64]
    bar: NDArray[np.uint64]
    floor: NDArray[np.float64]
    n_unfit: NDArray[np.int64]


@jit_kernel
def _take_in(scores: Any, bits: Any, first: int, guesses: Any, slack: Any, held: Any, row: int, column: int, end: int) -> int:
    """Take in scores ``"questions neurons"`` of the questions `row` to `end`, from `column` of the first one on.

    Returns:
        Where there was no room for more, as row times columns plus column; -1 where all were taken in.
    """
    n_columns = scores.shape[1]
    room = held.keys.shape[1]
    last = _LAST - first
    for question in range(row, end):
        guess, margin, floor, bar = guesses[question], slack[question], held.floor[question], held.bar[question]
        n_held, n_unfit = held.n_held[question], held.n_unfit[question]
        for at in range(column, n_columns):
            score = scores[question, at]
            if bits[question, at] > _TWO or not abs(score - guess) > margin:
                n_unfit += 1
            elif score >= floor:
                # a score of 0 keeps a bit, for a key of 0 says that there is no neuron
                key = ((np.uint64(np.rint(score * SCALE)) + _ONE) << _SHIFT) | np.uint64(last - at)
                if key > bar:
                    if n_held == room:
                        held.n_held[question], held.n_unfit[question] = n_held, n_unfit
                        return int(question * n_columns + at)
                    held.keys[question, n_held] = key
                    held.scores[question, n_held] = score
                    n_held += 1
        held.n_held[question], held.n_unfit[question] = n_held, n_unfit
        column = 0
    return -1


@cache
def _compiled_loop() -> Callable[..., int]:
    """The compiled loop."""
    floats, keys, counts = np.zeros((1, 1)), np.zeros((1, 1), np.uint64), np.zeros(1, np.int64)
    held = Held(keys, floats, counts, np.zeros(1, np.uint64), np.zeros(1), counts)
    arguments = (floats, keys, 0, np.zeros(1), np.zeros(1), held, 0, 0, 0)
    kernel: Callable[..., int] = _take_in
    return compiled_now(kernel, tuple(typeof(argument) for argument in arguments))


#: Neurons that one ranking can take: what is left of a key's 64 bits beside a score of `RANK_DECIMALS` decimals.
MOST_NEURONS = 1 << INDEX_BITS
#: Scores that are held beside the best ones, and what they may take in all.
_MORE, _MORE_BYTES = 2048, 32 << 20


class RunningBest:
    """The k best neurons of several questions, out of scores from 0 to 1 that come block by block, in any order.

    Score and neuron are one key: the larger score first, and among equal ones the neuron that comes first. No two keys are equal,
    so that a partition finds the k best, whatever it does with ties.

    Args:
        guesses: For every question the score of a neuron that gives all texts one value; who has it is not ranked.
        tolerance: Scores closer to a guess than this, relative to it, are a guess.
        k: How many.
        n_neurons: How many will come.

    Raises:
        QueryError: If there are more neurons than a key can tell apart.
    """

    def __init__(self, guesses: NDArray[np.float64], tolerance: float, k: int, n_neurons: int) -> None:
        if n_neurons > MOST_NEURONS:
            raise QueryError(f"{n_neurons:,} neurons cannot be ranked together, only {MOST_NEURONS:,}; choose fewer sites")
        self.k = k
        self._take_in = _compiled_loop()
        n = guesses.size
        more = max(k, min(_MORE, _MORE_BYTES // (16 * max(1, n))))
        room = max(k, min(k + more, n_neurons))
        self._guesses = np.nan_to_num(guesses)
        # nothing is further than infinity from a guess that is not known
        self._slack = np.where(np.isnan(guesses), np.inf, tolerance * self._guesses)
        self._held = Held(
            keys=np.zeros((n, room), dtype=np.uint64),
            scores=np.zeros((n, room)),
            n_held=np.zeros(n, dtype=np.int64),
            bar=np.zeros(n, dtype=np.uint64),
            floor=np.zeros(n),
            n_unfit=np.zeros(n, dtype=np.int64),
        )

    def add(self, first: int, scores: NDArray[np.float64], questions: slice = slice(None)) -> None:
        """Take in neurons `first` and following.

        Args:
            first: Number of the first one.
            scores: ``"questions neurons"``, C-contiguous; NaN is never among the best.
            questions: Those to do it for; threads may do it for different ones at the same time.
        """
        row, end, _ = questions.indices(len(scores))
        column, bits = 0, scores.view(np.uint64)
        while (stop := self._take_in(scores, bits, first, self._guesses, self._slack, self._held, row, column, end)) >= 0:
            row, column = divmod(stop, scores.shape[1])
            self._keep_best(row)

    def _keep_best(self, question: int) -> None:
        """Drop what is no longer among the k best of a question."""
        held, n_held = self._held, int(self._held.n_held[question])
        if n_held <= self.k:
            return
        keys, scores = held.keys[question], held.scores[question]
        best = np.argpartition(keys[:n_held], n_held - self.k)[n_held - self.k :]
        keys[: self.k], scores[: self.k] = keys[best], scores[best]
        held.n_held[question] = self.k
        held.bar[question] = bar = keys[: self.k].min()
        # well below the score of the bar, of which only the first decimals are known
        held.floor[question] = (int(bar) >> INDEX_BITS) / SCALE - 4 / SCALE

    @property
    def n_unfit(self) -> NDArray[np.int64]:
        """Per question, how many scores so far were NaN or no more than a guess."""
        return self._held.n_unfit

    def best(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The best neurons and their scores, best first, ``"questions k"``; -1 and NaN where there are no more."""
        held, k = self._held, self.k
        for question in np.flatnonzero(held.n_held > k).tolist():
            self._keep_best(question)
        keys = np.where(np.arange(k) < held.n_held[:, np.newaxis], held.keys[:, :k], 0)
        order = np.argsort(keys, axis=1)[:, ::-1]
        keys = np.take_along_axis(keys, order, axis=1)
        found = (MOST_NEURONS - 1) - (keys & np.uint64(MOST_NEURONS - 1)).astype(np.int64)
        scores = np.take_along_axis(held.scores[:, :k], order, axis=1)
        return np.where(keys > 0, found, -1), np.where(keys > 0, scores, np.nan)
