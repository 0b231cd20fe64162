"""Texts per 8-bit code: rank statistics that are exact for the codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import KernelInputError
from actlas.kernels.inputs import HostValues
from actlas.kernels.labels import has_answer
from actlas.kernels.states.texts import (
    CHUNK_VALUES,
    Floats,
    Ints,
    checked_block,
    member_sets_of,
    merged,
    refuse_others,
    text_sets_of,
)
from actlas.kernels.stats import checked_stats, quantile_of

#: What the state answers; any other quantile too.
HISTOGRAM_STATS = ("ap", "ap_anti", "auroc", "best_f1", "median", "n_member", "n_positive", "p90")


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
        which = member_sets_of(n_concepts, member_set)
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
        block, positive, member = checked_block(values, is_concept, is_member, (n_neurons, self.member_set.size))
        sets = text_sets_of(positive, member, self.member_set)
        counted = self.count + sets.sum(0)
        _refuse_too_many(counted)
        self.count[:] = counted
        rows = [np.flatnonzero(texts) for texts in sets.T]
        step = max(1, CHUNK_VALUES // block.bits.shape[1])
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
        both = merged(self, other, fixed=("low", "high", "member_set"))
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
        refuse_others(names, HISTOGRAM_STATS, has_quantiles=True)
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

    def ap_slack(self) -> Floats:
        """How far AP may be from what `finish` says, for texts that share a code are tied and their values were not.

        Returns:
            Largest AP that the codes allow less the smallest, float64 "neurons concepts"; NaN where a concept has no
            positive or no negative text.

        Example:
            >>> values, labels = np.array([[0.9, 0.2, 0.1]], np.float32), np.array([[True], [False], [True]])
            >>> fine = HistogramState.init(np.array([0.0]), np.array([1.0]), n_concepts=1).update(values, labels)
            >>> coarse = HistogramState.init(np.array([0.0]), np.array([200.0]), n_concepts=1).update(values, labels)
            >>> fine.ap_slack().round(3).tolist(), coarse.ap_slack().round(3).tolist()
            ([[0.0]], [[0.167]])
        """
        n_concepts = self.member_set.size
        n, n_member = self.count[:n_concepts].astype(np.float64), self.count[n_concepts:][self.member_set].astype(np.float64)
        slack = np.full((self.low.size, n_concepts), np.nan)
        for concept in np.flatnonzero(has_answer(n, n_member)):
            members = self.codes[n_concepts + self.member_set[concept]]
            slack[:, concept] = _OfConcept.of(self.codes[concept], members).ap_slack()
        return slack


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

    def ap_slack(self) -> Floats:
        """AP is largest where the positives of a code are tied before its others, smallest where they follow one by one."""
        before, behind = self.n_found - self.n_at, self.n_members_found - self.n_at
        with np.errstate(divide="ignore", invalid="ignore"):
            largest = np.nansum(self.n_at * (self.n_found / (self.n_members_found - self.n_members_at + self.n_at)), -1)
        # sum over i = 1..p of (F + i) / (M + i): one, less (M - F) of each M + i
        sums = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int(self.n_members_found.max(initial=0)) + 1))])
        harmonic = sums[self.n_members_found.astype(np.int64)] - sums[behind.astype(np.int64)]
        smallest = (self.n_at + (before - behind) * harmonic).sum(-1)
        slack: Floats = np.maximum(largest - smallest, 0.0) / self.n[:, 0]  # rounding may put one just past the other
        return slack

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
