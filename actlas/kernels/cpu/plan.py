"""Labels and statistics of a call, prepared once for any number of blocks of neurons over the same texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.compiled.vectors import IS_WIDE, LANES
from actlas.kernels.cpu import neuron as inner
from actlas.kernels.inputs import Bools, member_sets
from actlas.kernels.stats import quantile_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """Nanoseconds of the parts of the two ways to rank statistics; only their proportions matter.

    `python -m benchmarks.bench_kernels costs` shows whether the choice that follows from them is the faster one. Being off by a
    third costs a few percent: where the choice is close, both ways take about as long.
    """

    precision: float = 0.55  # sparse, per positive: one term of average precision
    half: float = 4.0  # sparse, per 32 ranks and concept: positives brought together
    turn: float = 0.12  # sparse, per rank and 8 concepts: labels to bitmaps
    end: float = 0.4  # sparse, per rank, once for all concepts
    walk: tuple[float, ...] = (1.9, 3.9, 5.8, 7.7)  # dense, per rank: up to 8, 16, 24, 32 concepts
    weigh: float = 0.45  # dense, per rank, once for all concepts
    gather: float = 0.35  # AUROC, per positive, where positives are visited
    add: float = 1.5  # AUROC, per text and 32 concepts, where all texts are


#: Measured on a processor whose vector registers hold four float64, and on one where they hold eight and push marked entries
#: together; what is not named there is taken to be the same.
COSTS = {
    False: Cost(),
    True: Cost(walk=(1.4, 1.9, 2.8, 3.6), weigh=0.4, precision=0.4, half=1.0, end=0.3, add=1.0),
}
COST = COSTS[IS_WIDE]

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
    def of(
        cls,
        is_concept: Bools,
        is_member: Bools | None,
        stats: tuple[str, ...],
        threshold: float,
        *,
        lists_positives: bool = False,
    ) -> Plan:
        """Concepts without an answer are left out; the same members, then many positives, stand together.

        Positives are listed where the CPU engine visits them for these statistics, or always if `lists_positives`.
        """
        positive = is_concept if is_member is None else is_concept & is_member
        n_texts, n_concepts = positive.shape
        n_positive = positive.sum(0, dtype=np.int64)
        n_member = np.full(n_concepts, n_texts, np.int64) if is_member is None else is_member.sum(0, dtype=np.int64)
        answerable = np.flatnonzero((n_positive > 0) & (n_positive < n_member)).astype(np.int64)
        which, sets = member_sets(is_member, answerable)
        order = np.lexsort((-n_positive[answerable], which))
        concepts, which = answerable[order], which[order]
        listed = concepts if lists_positives or set(stats) & (_MOMENTS | {"auroc"}) else concepts[:0]
        texts = [np.flatnonzero(positive[:, concept]).astype(np.uint32) for concept in listed]
        quantiles = [q for stat in stats if (q := quantile_of(stat)) is not None]
        whole = concepts[which < 0]
        words = _label_words(positive, concepts)
        is_in_set = np.zeros((n_texts, len(sets)), np.bool_)
        for place, members in enumerate(sets):
            is_in_set[members, place] = True
        member_words = _label_words(is_in_set, np.arange(len(sets)))
        sparse_cost, dense_cost, adds_all = _group_costs(set(stats), bool(quantiles), n_positive[whole], n_texts)
        labels = inner.Labels(
            concept=concepts,
            starts=_starts(n_positive[concepts]),
            positives=np.concatenate([*texts, np.zeros(0, np.uint32)]),
            member_set=which,
            member_starts=_starts([members.size for members in sets]),
            members=np.concatenate([*sets, np.zeros(0, np.uint32)]),
            n_whole=whole.size,
            words=words,
            member_words=member_words,
            sparse_cost=sparse_cost,
            dense_cost=dense_cost,
            weigh_cost=COST.weigh,
            end_cost=COST.end,
            adds_all=adds_all,
        )
        asked = set(stats)
        slot = np.zeros(inner.N_SLOTS, np.bool_)
        slot[[SLOTS[stat] for stat in stats if stat in SLOTS]] = True
        wanted = inner.Wanted(
            needs_rank=bool(asked - _MOMENTS - {"n_positive", "n_member"}),
            needs_values=bool(quantiles) or bool(asked & (_MOMENTS | {"best_f1_threshold"})),
            slot=slot,
            quantiles=np.array(quantiles, np.float64),
            threshold=float(threshold),
        )
        return cls(stats, n_texts, n_positive, n_member, labels, wanted)

    def labels_for(self, wide: bool) -> inner.Labels:
        """The labels with text numbers of 32 or of 16 bits."""
        index: Any = np.uint32 if wide else np.uint16
        labels = self.labels
        return labels._replace(positives=labels.positives.astype(index), members=labels.members.astype(index))

    @cached_property
    def inverse(self) -> Floats:
        """1 / i for every number of texts."""
        # whole words of ranks are weighed, so there are up to 63 more than are ever used
        return 1.0 / np.maximum(np.arange(self.n_texts + 66), 1)

    @cached_property
    def slots(self) -> dict[str, int]:
        """Where the inner loops leave each statistic that depends on values."""
        quantiles = [stat for stat in self.stats if quantile_of(stat) is not None]
        fixed = {stat: SLOTS[stat] for stat in self.stats if stat in SLOTS}
        return fixed | {stat: inner.N_SLOTS + i for i, stat in enumerate(quantiles)}


def _starts(sizes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def _sparse_costs(stats: set[str], has_quantiles: bool) -> tuple[float, float, float]:
    """Cost per positive, per 32 ranks, and per rank and 8 concepts, that the dense way saves: only the sums where other
    statistics need the list of ends."""
    if "ap" not in stats:
        return 0.0, 0.0, 0.0
    if has_quantiles or stats & (_F1 | {"ap_anti"}):
        return COST.precision, 0.0, 0.0
    return COST.precision, COST.half, COST.turn


def _label_words(positive: Bools, concepts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Labels of 32 concepts in the bits of a word, "groups texts"."""
    n_groups = -(-concepts.size // LANES)
    words = np.empty((n_groups, positive.shape[0]), np.uint32)
    lanes = np.zeros((positive.shape[0], LANES), np.bool_)
    for g, group in enumerate(concepts[start : start + LANES] for start in range(0, concepts.size, LANES)):
        lanes[:, group.size :] = False
        lanes[:, : group.size] = positive[:, group]
        words[g] = np.packbits(lanes.ravel(), bitorder="little").view("<u4")
    return words


def _group_costs(
    stats: set[str], has_quantiles: bool, n_positive: NDArray[np.int64], n_texts: int
) -> tuple[Floats, Floats, Bools]:
    """Per group: cost of the sparse way, of the dense way per rank, and `adds_all`."""
    per_positive, per_half, per_rank = _sparse_costs(stats, has_quantiles)
    starts = range(0, n_positive.size, LANES)
    groups = [n_positive[start : start + LANES] for start in starts]
    planes = [-(-group.size // 8) for group in groups]
    n_halves = (n_texts + 31) // 32
    sparse = np.array(
        [
            per_positive * group.sum() + per_half * n_halves * group.size + per_rank * n_texts * n
            for group, n in zip(groups, planes, strict=True)
        ]
    )
    dense = np.array([COST.walk[n - 1] for n in planes])
    adds_all = np.array([COST.gather * group.sum() > COST.add * n_texts for group in groups], np.bool_)
    return sparse, dense, adds_all
