"""Statistics of texts that pass by once: states that are updated block by block, merged across processes, then finished.

Every state holds integers, so blocks in any order, on any number of machines, merged in any order give the same state and the
same answer, bit for bit. What the answers are worth differs:

* `CountState` (active tokens per language) and `MomentState` (`mean`, `std`, `p_active` and their `_off`) are exact for float16.
  Values of other dtypes are rounded to multiples of 2**-24 one by one, before anything is added; counts are always exact.
* `HistogramState` (`ap`, `ap_anti`, `auroc`, `best_f1`, quantiles) is exact for the 8-bit codes: the statistics of the values
  rounded to 256 levels, in which texts of one level are tied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from actlas.errors import KernelInputError
from actlas.kernels.inputs import Bools, HostValues, check_labels, check_values, to_numpy
from actlas.kernels.labels import has_answer
from actlas.kernels.stats import checked_stats, quantile_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: What each state answers.
MOMENT_STATS = ("mean", "mean_off", "n_member", "n_positive", "p_active", "p_active_off", "std")
HISTOGRAM_STATS = ("ap", "ap_anti", "auroc", "best_f1", "median", "n_member", "n_positive", "p90")

#: Values are reckoned in multiples of 2**-24, the smallest step of float16, and kept in digits of 20 bits.
_STEP_BITS = 24
_DIGIT_BITS = 20
_LARGEST = 65536.0
#: Texts per matrix product: products of two digits, this many of them added, stay below 2**53, where float64 holds integers.
_CHUNK_TEXTS = 4096
_CHUNK_VALUES = 1 << 20

State = TypeVar("State", "CountState", "MomentState", "HistogramState")


def _member_sets(n_concepts: int, member_set: Any | None) -> Ints:
    """For every concept the number of the set of texts that it is counted among."""
    if member_set is None:
        return np.arange(n_concepts)
    which = np.asarray(member_set, np.int64)
    if which.shape != (n_concepts,) or not np.array_equal(np.unique(which), np.arange(which.max(initial=-1) + 1)):
        raise KernelInputError(
            f"member_set must be one number per concept, counted from 0; got {which} for {n_concepts} concepts"
        )
    return which


def _text_sets(positive: Bools, member: Bools, member_set: Ints) -> Bools:
    """Texts of every set, "texts sets": the positives of each concept, then the members that concepts share."""
    first = np.unique(member_set, return_index=True)[1]
    if not np.array_equal(member, member[:, first][:, member_set]):
        raise KernelInputError("concepts that share a member set differ in is_member")
    return np.concatenate([positive, member[:, first]], axis=1)


def _merged(one: State, other: State, fixed: tuple[str, ...]) -> State:
    """A state that has seen what either has; counters add up, everything in `fixed` has to agree."""
    parts: dict[str, Any] = {}
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name in fixed:
            if not np.array_equal(a, b):
                raise KernelInputError(f"states with different {field.name} do not merge: {a} and {b}")
            parts[field.name] = a
        elif a.shape != b.shape:
            raise KernelInputError(f"states of shape {a.shape} and {b.shape} do not merge")
        else:
            parts[field.name] = a + b
    return type(one)(**parts)


def _checked(values: Any, is_concept: Any, is_member: Any | None, shape: tuple[int, int]) -> tuple[HostValues, Bools, Bools]:
    """The values, their positives and their members, as numpy."""
    check_labels(is_concept, is_member)
    check_values(values, is_concept.shape[0])
    n_neurons, n_concepts = values.shape[0], is_concept.shape[1]
    if (n_neurons, n_concepts) != shape:
        raise KernelInputError(f"this state is for {shape[0]} neurons and {shape[1]} concepts; got {n_neurons} and {n_concepts}")
    positive = to_numpy(is_concept, "is_concept")
    member = np.ones_like(positive) if is_member is None else to_numpy(is_member, "is_member")
    block = HostValues.of(values)
    block.refuse_not_finite()
    return block, positive & member, member


def _chunks(n_neurons: int, n_texts: int) -> Iterator[tuple[slice, slice]]:
    n_rows = max(1, _CHUNK_VALUES // min(n_texts, _CHUNK_TEXTS))
    for text in range(0, n_texts, _CHUNK_TEXTS):
        for neuron in range(0, n_neurons, n_rows):
            yield slice(neuron, neuron + n_rows), slice(text, text + _CHUNK_TEXTS)


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
        return _merged(self, other, fixed=("thresholds",))

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
        which = _member_sets(n_concepts, member_set)
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
        block, positive, member = _checked(values, is_concept, is_member, (self.active.shape[1], n_concepts))
        sets = _text_sets(positive, member, self.member_set)
        numbers = block.numbers()
        largest = max((float(np.abs(x).max(initial=0.0)) for x in numbers), default=0.0)
        if largest >= _LARGEST:
            raise KernelInputError(f"a value of magnitude {largest} is outside of what a moment state holds (below 65536)")
        self.count += sets.sum(0)
        labels = sets.astype(np.float64)
        for neurons, texts in _chunks(*numbers.shape):
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
        both = _merged(self, other, fixed=("threshold", "member_set"))
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
        _refuse_others(names, MOMENT_STATS)
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


@dataclass
class HistogramState:
    """Texts per 8-bit code, over sets of texts: the positives of each concept, then the members; rank statistics of the codes.

    A neuron's codes divide `low`..`high` evenly into 256 levels; values outside fall into the outermost ones. Concepts that are
    counted among the same texts can share a member set, which is then kept once.

    Attributes:
        low: Lower end of each neuron's codes, float64 "neurons".
        high: Their upper end.
        member_set: Per concept the number of the member set that it is counted among, int64 "concepts".
        count: Texts of each set, int64 "sets".
        codes: Texts of each set that have each code, uint32 "sets neurons 256".

    Example:
        >>> state = HistogramState.init(low=np.array([0.0]), high=np.array([1.0]), n_concepts=1)
        >>> _ = state.update(np.array([[0.9, 0.8, 0.3, 0.1]], np.float32), np.array([[True], [False], [True], [False]]))
        >>> state.finish(("ap",))["ap"].round(4).tolist()
        [[0.8333]]
    """

    low: Floats
    high: Floats
    member_set: Ints
    count: Ints
    codes: NDArray[np.uint32]

    @classmethod
    def init(cls, low: Floats, high: Floats, n_concepts: int, member_set: Any | None = None) -> HistogramState:
        """A state that has seen nothing; `low` and `high` are fixed before the first text, for instance from a pilot run.

        Args:
            low: Lower end of the codes, "neurons".
            high: Their upper end.
            n_concepts: Concepts of the labels.
            member_set: "concepts", from 0: concepts with one number have the same is_member. None: each has its own.

        Returns:
            The state.

        Raises:
            KernelInputError: If a neuron's range is empty, or `member_set` is not one number per concept, counted from 0.

        Example:
            >>> HistogramState.init(np.array([-1.0]), np.array([1.0]), n_concepts=2).codes.shape
            (4, 1, 256)
        """
        lowest, highest = np.asarray(low, np.float64), np.asarray(high, np.float64)
        if lowest.shape != highest.shape or lowest.ndim != 1 or not (lowest < highest).all():
            raise KernelInputError("low and high must be [neurons] with low < high everywhere")
        which = _member_sets(n_concepts, member_set)
        n_sets = n_concepts + int(which.max(initial=-1)) + 1
        return cls(lowest, highest, which, np.zeros(n_sets, np.int64), np.zeros((n_sets, lowest.size, 256), np.uint32))

    def code(self, values: Any, neurons: slice = slice(None)) -> NDArray[np.uint8]:
        """8-bit codes of values; a higher value never has a lower code.

        Args:
            values: Pooled activations "neurons texts": float16, bfloat16 or float32; numpy or torch.
            neurons: Which neurons these are of.

        Returns:
            uint8 "neurons texts".

        Example:
            >>> state = HistogramState.init(np.array([0.0]), np.array([1.0]), n_concepts=1)
            >>> state.code(np.array([[-1.0, 0.0, 0.5, 1.0]], np.float16)).tolist()
            [[0, 0, 128, 255]]
        """
        low, high = self.low[neurons, None], self.high[neurons, None]
        level = (HostValues.of(values).numbers().astype(np.float64) - low) * (256.0 / (high - low))
        return np.clip(level, 0.0, 255.0).astype(np.uint8)

    def update(self, values: Any, is_concept: Any, is_member: Any | None = None) -> HistogramState:
        """Adds a block of texts.

        Args:
            values: Pooled activations "neurons texts": float16, bfloat16 or float32; numpy or torch.
            is_concept: True where a text expresses a concept, bool "texts concepts".
            is_member: Which texts take part per concept, same shape; None: all of them.

        Returns:
            The same state, changed.

        Raises:
            KernelInputError: If shapes do not fit, a value is not finite, or concepts of one member set differ in their members.

        Example:
            >>> state = HistogramState.init(np.array([0.0]), np.array([1.0]), n_concepts=1)
            >>> state.update(np.array([[0.5, 0.0]], np.float16), np.array([[True], [False]])).count.tolist()
            [1, 2]
        """
        n_neurons = self.low.size
        block, positive, member = _checked(values, is_concept, is_member, (n_neurons, self.member_set.size))
        sets = _text_sets(positive, member, self.member_set)
        counted = self.count + sets.sum(0)
        _refuse_too_many(counted)
        self.count[:] = counted
        rows = [np.flatnonzero(texts) for texts in sets.T]
        step = max(1, _CHUNK_VALUES // block.bits.shape[1])
        for start in range(0, n_neurons, step):
            neurons = slice(start, min(start + step, n_neurons))
            n_rows = neurons.stop - start
            places = self.code(values[neurons], neurons).T + 256 * np.arange(n_rows)
            for i, texts in enumerate(rows):
                if texts.size:
                    counts = np.bincount(places[texts].ravel(), minlength=256 * n_rows)
                    self.codes[i, neurons] += counts.reshape(n_rows, 256).astype(np.uint32)
        return self

    def merge(self, other: HistogramState) -> HistogramState:
        """A state that has seen what either has; neither of them changes.

        Args:
            other: With the same ranges, member sets, neurons and concepts.

        Returns:
            A new state.

        Raises:
            KernelInputError: If these differ, or a count leaves 32 bits.

        Example:
            >>> labels = np.array([[True], [False]])
            >>> ranges = np.array([0.0]), np.array([1.0])
            >>> one, two = (HistogramState.init(*ranges, 1).update(np.array([[x, 0]], np.float16), labels) for x in (1, 0.5))
            >>> one.merge(two).count.tolist()
            [2, 4]
        """
        both = _merged(self, other, fixed=("low", "high", "member_set"))
        _refuse_too_many(both.count)
        return both

    def finish(self, stats: Iterable[str] = HISTOGRAM_STATS) -> dict[str, Floats]:
        """What the state says.

        Args:
            stats: Any of `HISTOGRAM_STATS`, and quantiles such as "q0.25".

        Returns:
            Per statistic float64 "neurons concepts"; NaN where a concept has no positive or no negative text. A
            quantile is given as the middle of its level.

        Raises:
            KernelInputError: If this state cannot answer a statistic.

        Example:
            >>> values, labels = np.array([[0.9, 0.2, 0.1]], np.float16), np.array([[True], [False], [True]])
            >>> state = HistogramState.init(np.array([0.0]), np.array([1.0]), n_concepts=1).update(values, labels)
            >>> state.finish(("auroc",))["auroc"].tolist()
            [[0.5]]
        """
        names = checked_stats(stats)
        _refuse_others(names, HISTOGRAM_STATS)
        n_concepts = self.member_set.size
        n = self.count[:n_concepts].astype(np.float64)
        n_member = self.count[n_concepts:][self.member_set].astype(np.float64)
        answers: dict[str, Floats] = {name: np.full((self.low.size, n_concepts), np.nan) for name in names}
        for concept in np.flatnonzero(has_answer(n, n_member)):
            rank = _OfConcept.of(self.codes[concept], self.codes[n_concepts + self.member_set[concept]])
            for name in names:
                if (q := quantile_of(name)) is not None:
                    width = (self.high - self.low) / 256.0
                    answers[name][:, concept] = self.low + (rank.quantile(q) + 0.5) * width
                elif name not in ("n_positive", "n_member"):
                    answers[name][:, concept] = getattr(rank, name)()
        for name, count in (("n_positive", n), ("n_member", n_member)):
            if name in names:
                answers[name][:] = count
        return answers


@dataclass(frozen=True)
class _OfConcept:
    """Rank statistics of one concept out of texts per code; arrays "neurons 256", from the highest code to the lowest."""

    n_at: Floats  # positives with the code
    n_found: Floats  # positives with this code or a higher one
    n_members_at: Floats  # the same of members
    n_members_found: Floats

    @classmethod
    def of(cls, positives: NDArray[np.uint32], members: NDArray[np.uint32]) -> _OfConcept:
        n_at, n_members_at = (np.flip(codes, -1).astype(np.float64) for codes in (positives, members))
        return cls(n_at, n_at.cumsum(-1), n_members_at, n_members_at.cumsum(-1))

    @property
    def n(self) -> Floats:
        return self.n_found[:, -1:]

    def ap(self) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            precision: Floats = np.nansum(self.n_at * (self.n_found / self.n_members_found), -1) / self.n[:, 0]
        return precision

    def ap_anti(self) -> Floats:
        n_found_up = self.n - self.n_found + self.n_at
        n_members_up = self.n_members_found[:, -1:] - self.n_members_found + self.n_members_at
        with np.errstate(divide="ignore", invalid="ignore"):
            precision: Floats = np.nansum(self.n_at * (n_found_up / n_members_up), -1) / self.n[:, 0]
        return precision

    def auroc(self) -> Floats:
        off = self.n_members_at - self.n_at
        lost = (off * (self.n - self.n_found + 0.5 * self.n_at)).sum(-1)
        n, n_member = self.n[:, 0], self.n_members_found[:, -1]
        area: Floats = 1.0 - lost / (n * (n_member - n))
        return area

    def best_f1(self) -> Floats:
        best: Floats = (2.0 * (self.n_found / (self.n + self.n_members_found))).max(-1)
        return best

    def quantile(self, q: float) -> Floats:
        """In codes, linear between order statistics."""
        place = q * (self.n - 1)
        below = np.floor(place)
        n_up_to = np.flip(self.n_at, -1).cumsum(-1)
        low_code = (n_up_to <= below).sum(-1)
        high_code = (n_up_to <= np.minimum(below + 1, self.n - 1)).sum(-1)
        code: Floats = low_code + (high_code - low_code) * (place - below)[:, 0]
        return code


def _refuse_too_many(count: Ints) -> None:
    if count.max(initial=0) >= 1 << 32:
        raise KernelInputError(f"{count.max():,} texts are more than a histogram state counts (below {1 << 32:,})")


def _refuse_others(names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known and not (known is HISTOGRAM_STATS and quantile_of(name) is not None):
            raise KernelInputError(f"statistic {name!r} does not come out of this state, which answers {', '.join(known)}")
