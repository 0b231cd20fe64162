"""Labels and statistics of a call, prepared once for any number of blocks of neurons over the same texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from actlas.kernels import cpu_concepts as inner
from actlas.kernels.cpu_intrinsics import LANES
from actlas.kernels.inputs import Bools, member_sets
from actlas.kernels.stats import quantile_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """Time of the sparse way's parts, in steps of the dense walk (one rank for 16 concepts).

    Measured by `python -m benchmarks.bench_kernels costs`. Being off by a third costs a few percent: where the choice is
    close, both ways take about as long.
    """

    mark: float = 0.30  # per positive: its rank and the end of its group
    word: float = 0.55  # per word of the bitmap
    count: float = 0.30  # per positive: positives up to its group's end
    precision: float = 0.22  # per positive: one term of average precision
    middle: float = 0.38  # per positive: one term of AUROC
    weigh: float = 0.50  # per rank, once for all concepts, if any group takes the dense way


COST = Cost()

SLOTS = {
    "ap": inner.AP,
    "ap_anti": inner.AP_ANTI,
    "auroc": inner.AUROC,
    "p_active": inner.P_ACTIVE,
    "p_active_off": inner.P_ACTIVE_OFF,
    "mean": inner.MEAN,
    "mean_off": inner.MEAN_OFF,
    "std": inner.STD,
    "best_f1": inner.BEST_F1,
    "best_f1_threshold": inner.BEST_F1_THRESHOLD,
}
_MOMENTS = {"p_active", "p_active_off", "mean", "mean_off", "std"}
_F1 = {"best_f1", "best_f1_threshold"}


@dataclass(frozen=True)
class Plan:
    """What the inner loops of the CPU engine read, apart from values and scratch."""

    stats: tuple[str, ...]
    n_texts: int
    n_positive: NDArray[np.int64]
    n_member: NDArray[np.int64]
    labels: inner.Labels
    wanted: inner.Wanted

    @classmethod
    def of(cls, is_concept: Bools, is_member: Bools | None, stats: tuple[str, ...], threshold: float) -> Plan:
        """Concepts without an answer are left out; the same members, then many positives, stand together."""
        positive = is_concept if is_member is None else is_concept & is_member
        n_texts, n_concepts = positive.shape
        n_positive = positive.sum(0, dtype=np.int64)
        n_member = np.full(n_concepts, n_texts, np.int64) if is_member is None else is_member.sum(0, dtype=np.int64)
        answerable = np.flatnonzero((n_positive > 0) & (n_positive < n_member)).astype(np.int64)
        which, sets = member_sets(is_member, answerable)
        order = np.lexsort((-n_positive[answerable], which))
        concepts, which = answerable[order], which[order]
        texts = [np.flatnonzero(positive[:, concept]).astype(np.uint32) for concept in concepts]
        quantiles = [q for stat in stats if (q := quantile_of(stat)) is not None]
        words, cost = _dense_groups(positive, concepts[which < 0], n_positive, _costs(set(stats), bool(quantiles)))
        labels = inner.Labels(
            concepts, _starts(texts), _joined(texts), which, _starts(sets), _joined(sets), words, cost, COST.weigh
        )
        asked = set(stats)
        slot = np.zeros(inner.N_SLOTS, np.bool_)
        slot[[SLOTS[stat] for stat in stats if stat in SLOTS]] = True
        wanted = inner.Wanted(
            needs_rank=bool(asked - _MOMENTS - {"n_positive", "n_member"}),
            needs_texts=bool(quantiles) or bool(asked & {"ap", "auroc"} and (cost > 0).any()),
            needs_values=bool(quantiles) or bool(asked & (_MOMENTS | {"best_f1_threshold"})),
            slot=slot,
            quantiles=np.array(quantiles, np.float64),
            threshold=float(threshold),
        )
        return cls(stats, n_texts, n_positive, n_member, labels, wanted)

    @cached_property
    def inverse(self) -> Floats:
        """1 / i for every number of texts."""
        return 1.0 / np.maximum(np.arange(self.n_texts + 2), 1)

    @cached_property
    def slots(self) -> dict[str, int]:
        """Where the inner loops leave each statistic that depends on values."""
        quantiles = [stat for stat in self.stats if quantile_of(stat) is not None]
        fixed = {stat: SLOTS[stat] for stat in self.stats if stat in SLOTS}
        return fixed | {stat: inner.N_SLOTS + i for i, stat in enumerate(quantiles)}


def _starts(lists: list[NDArray[np.uint32]]) -> NDArray[np.int64]:
    return np.cumsum([0, *(part.size for part in lists)], dtype=np.int64)


def _joined(lists: list[NDArray[np.uint32]]) -> NDArray[np.uint32]:
    return np.concatenate([*lists, np.zeros(0, np.uint32)])


def _costs(stats: set[str], has_quantiles: bool) -> tuple[float, float]:
    """Cost per positive and per word that the dense way saves: where others need the bitmap, the sums alone."""
    per_positive = per_word = 0.0
    needs_marks = has_quantiles or bool(stats & (_F1 | {"ap_anti"}))
    if "ap" in stats:
        per_positive += COST.precision + (0.0 if stats & _F1 else COST.count)
    if "auroc" in stats:
        per_positive += COST.middle
    if per_positive and not needs_marks:
        per_positive += COST.mark
        per_word = COST.word
    return per_positive, per_word


def _dense_groups(
    positive: Bools, concepts: NDArray[np.int64], n_positive: NDArray[np.int64], costs: tuple[float, float]
) -> tuple[NDArray[np.uint16], Floats]:
    """Label words of the dense walk, and the cost of the sparse way per group of concepts."""
    n_texts = positive.shape[0]
    groups = [concepts[start : start + LANES] for start in range(0, concepts.size, LANES)]
    words = np.zeros((len(groups), n_texts), np.uint16)
    cost = np.zeros(len(groups))
    for g, group in enumerate(groups):
        words[g] = positive[:, group] @ (np.uint16(1) << np.arange(group.size, dtype=np.uint16))
        cost[g] = costs[0] * n_positive[group].sum() + costs[1] * ((n_texts + 63) // 64) * group.size
    return words, cost
