"""Sums of values and of their squares, exact, as integers of several digits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from actlas.errors import KernelInputError
from actlas.kernels.labels import has_answer
from actlas.kernels.states.texts import (
    Floats,
    Ints,
    checked_block,
    chunks,
    member_sets_of,
    merged,
    refuse_others,
    text_sets_of,
)
from actlas.kernels.stats import checked_stats

#: What the state answers.
MOMENT_STATS = ("mean", "mean_off", "n_member", "n_positive", "p_active", "p_active_off", "std")

#: Values are reckoned in multiples of 2**-24, the smallest step of float16, and kept in digits of 20 bits.
_STEP_BITS = 24
_DIGIT_BITS = 20
_LARGEST = 65536.0


def _carried(digits: Ints) -> Ints:
    """The same numbers with every digit but the last within 0..2**20-1, so that equal numbers have equal digits."""
    for i in range(len(digits) - 1):
        digits[i + 1] += digits[i] >> _DIGIT_BITS
        digits[i] &= (1 << _DIGIT_BITS) - 1
    return digits


def _as_float(digits: Ints) -> Floats:
    total = np.zeros(digits.shape[1:])
    for i in reversed(range(len(digits))):
        total += np.ldexp(digits[i].astype(np.float64), _DIGIT_BITS * i)
    return total


def _as_int(digits: Ints) -> int:
    return sum(int(digit) << (_DIGIT_BITS * i) for i, digit in enumerate(digits))


@dataclass
class MomentState:
    """Sums, sums of squares and active texts, over sets of texts: the positives of each concept, then the members.

    Concepts that are counted among the same texts can share a member set, which is then kept once.

    Attributes:
        threshold: A value above it is active.
        member_set: Per concept the number of the member set that it is counted among, int64 "concepts".
        count: Texts of each set, int64 "sets".
        active: Of these the active ones, int64 "sets neurons".
        total: Digits of the sum of values in steps of 2**-24, int64 "3 sets neurons".
        squares: Digits of the sum of squares in squared steps, int64 "5 sets neurons".

    Example:
        >>> labels = np.array([[True], [True], [False]])
        >>> state = MomentState.init(n_neurons=1, n_concepts=1).update(np.array([[1.0, 3.0, -1.0]], np.float16), labels)
        >>> {name: scores.item() for name, scores in state.finish(("mean", "std", "mean_off")).items()}
        {'mean': 2.0, 'std': 1.0, 'mean_off': -1.0}
    """

    threshold: Floats
    member_set: Ints
    count: Ints
    active: Ints
    total: Ints
    squares: Ints

    @classmethod
    def init(cls, n_neurons: int, n_concepts: int, threshold: float = 0.0, member_set: Any | None = None) -> MomentState:
        """A state that has seen nothing.

        Args:
            n_neurons: Neurons of a block.
            n_concepts: Concepts of its labels.
            threshold: A value above it is active.
            member_set: "concepts", from 0: concepts with one number have the same is_member. None: each has its own.

        Returns:
            The state.

        Raises:
            KernelInputError: If `member_set` is not one number per concept, counted from 0.

        Example:
            >>> MomentState.init(n_neurons=4, n_concepts=2, member_set=[0, 0]).count.tolist()
            [0, 0, 0]
        """
        which = member_sets_of(n_concepts, member_set)
        shape = (n_concepts + int(which.max(initial=-1)) + 1, n_neurons)
        empty = [np.zeros(part, np.int64) for part in (shape[:1], shape, (3, *shape), (5, *shape))]
        return cls(np.array(threshold, np.float64), which, *empty)

    def update(self, values: Any, is_concept: Any, is_member: Any | None = None) -> MomentState:
        """Adds a block of texts.

        Args:
            values: Pooled activations "neurons texts": float16, bfloat16 or float32; numpy or torch.
            is_concept: True where a text expresses a concept, bool "texts concepts".
            is_member: Which texts take part per concept, same shape; None: all of them.

        Returns:
            The same state, changed.

        Raises:
            KernelInputError: If shapes do not fit, a value is not finite or not below 65536 in magnitude, or concepts of one
                member set differ in their members.

        Example:
            >>> state = MomentState.init(n_neurons=1, n_concepts=1)
            >>> state.update(np.array([[1.0, -2.0]], np.float16), np.array([[True], [False]])).count.tolist()
            [1, 2]
        """
        n_concepts = self.member_set.size
        block, positive, member = checked_block(values, is_concept, is_member, (self.active.shape[1], n_concepts))
        sets = text_sets_of(positive, member, self.member_set)
        numbers = block.numbers()
        largest = max((float(np.abs(x).max(initial=0.0)) for x in numbers), default=0.0)
        if largest >= _LARGEST:
            raise KernelInputError(f"a value of magnitude {largest} is outside of what a moment state holds (below 65536)")
        self.count += sets.sum(0)
        labels = sets.astype(np.float64)
        for neurons, texts in chunks(*numbers.shape):
            x = numbers[neurons, texts].astype(np.float64)
            steps = np.rint(np.ldexp(x, _STEP_BITS))
            high = np.floor(np.ldexp(steps, -_DIGIT_BITS))
            low = steps - np.ldexp(high, _DIGIT_BITS)
            y = labels[texts]

            def sums(part: Floats, y: Floats = y) -> Ints:
                # integers below 2**53 throughout, so the product is exact in any order of summation
                return (part @ y).astype(np.int64).T

            self.active[:, neurons] += sums((x > self.threshold).astype(np.float64))
            for state, digits in ((self.total, (low, high)), (self.squares, (low * low, 2.0 * high * low, high * high))):
                part = state[:, :, neurons]
                for i, digit in enumerate(digits):
                    part[i] += sums(digit)
                _carried(part)
        return self

    def merge(self, other: MomentState) -> MomentState:
        """A state that has seen what either has; neither of them changes.

        Args:
            other: With the same threshold, member sets, neurons and concepts.

        Returns:
            A new state.

        Raises:
            KernelInputError: If these differ.

        Example:
            >>> labels = np.array([[True], [False]])
            >>> one, two = (MomentState.init(1, 1).update(np.array([[x, 0]], np.float16), labels) for x in (1, 2))
            >>> one.merge(two).finish(("mean",))["mean"].tolist()
            [[1.5]]
        """
        both = merged(self, other, fixed=("threshold", "member_set"))
        _carried(both.total)
        _carried(both.squares)
        return both

    def finish(self, stats: Iterable[str] = MOMENT_STATS) -> dict[str, Floats]:
        """What the state says.

        Args:
            stats: Any of `MOMENT_STATS`.

        Returns:
            Per statistic float64 "neurons concepts"; NaN where a concept has no positive or no negative text. The counts are
            always numbers.

        Raises:
            KernelInputError: If this state cannot answer a statistic.

        Example:
            >>> values, labels = np.array([[3.0, 1.0, -1.0]], np.float16), np.array([[True], [True], [False]])
            >>> MomentState.init(1, 1).update(values, labels).finish(("std",))["std"].tolist()
            [[1.0]]
        """
        names = checked_stats(stats)
        refuse_others(names, MOMENT_STATS)
        n_concepts = self.member_set.size
        n_member = self.count[n_concepts:][self.member_set].astype(np.float64)
        n = self.count[:n_concepts].astype(np.float64)
        n_off = n_member - n
        shape = (self.active.shape[1], n_concepts)
        total, active = (part[..., :n_concepts, :].swapaxes(-1, -2) for part in (self.total, self.active))
        total_all, active_all = (part[..., n_concepts:, :][..., self.member_set, :] for part in (self.total, self.active))
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.ldexp(_as_float(total), -_STEP_BITS) / n
            answers = {"mean": mean, "p_active": active / n}
            if "mean_off" in names:
                off = _carried(total_all.swapaxes(-1, -2) - total)
                answers["mean_off"] = np.ldexp(_as_float(off), -_STEP_BITS) / n_off
            if "p_active_off" in names:
                answers["p_active_off"] = (active_all.swapaxes(-1, -2) - active) / n_off
            if "std" in names:
                answers["std"] = self._std(mean, n)
        for name in answers:
            answers[name] = np.where(has_answer(n, n_member), answers[name], np.nan)
        answers["n_positive"] = np.broadcast_to(n, shape).copy()
        answers["n_member"] = np.broadcast_to(n_member, shape).copy()
        return {name: answers[name] for name in names}

    def _std(self, mean: Floats, n: Floats) -> Floats:
        square = np.ldexp(_as_float(self.squares[:, : n.size].swapaxes(-1, -2)), -2 * _STEP_BITS) / n
        variance = square - mean * mean
        # where mean and spread differ this much, the difference has lost its digits: do it in whole numbers
        for neuron, concept in np.argwhere((variance < 1e-3 * square) & (n > 0)):
            count = int(self.count[concept])
            total, squares = _as_int(self.total[:, concept, neuron]), _as_int(self.squares[:, concept, neuron])
            variance[neuron, concept] = (count * squares - total * total) / (count * count) / 4.0**_STEP_BITS
        return np.sqrt(np.maximum(variance, 0.0))
