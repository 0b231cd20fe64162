"""Labels and statistics of a call in the form that the inner loops of the CPU engine read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.compiled.vectors import LANES
from actlas.kernels.cpu import neuron
from actlas.kernels.cpu.registers import COST
from actlas.kernels.inputs import Bools
from actlas.kernels.labels import ConceptLabels, engine_form
from actlas.kernels.stats import quantile_of

Floats = NDArray[np.float64]

SLOTS = {
    "ap": neuron.AP,
    "ap_anti": neuron.AP_ANTI,
    "auroc": neuron.AUROC,
    "p_active": neuron.P_ACTIVE,
    "p_active_off": neuron.P_ACTIVE_OFF,
    "mean": neuron.MEAN,
    "mean_off": neuron.MEAN_OFF,
    "std": neuron.STD,
    "best_f1": neuron.BEST_F1,
    "best_f1_threshold": neuron.BEST_F1_THRESHOLD,
}
_MOMENTS = {"p_active", "p_active_off", "mean", "mean_off", "std"}
_COUNTS = {"n_positive", "n_member"}
_F1 = {"best_f1", "best_f1_threshold"}


@dataclass(frozen=True)
class Plan:
    """What the inner loops of the CPU engine read, apart from values and scratch.

    Attributes:
        call: Labels, statistics and the inverses of 1, 2, 3 and so on.
        slots: Where the inner loops leave each statistic that depends on values.
    """

    call: neuron.Call
    slots: dict[str, int]

    @classmethod
    def of(cls, labels: ConceptLabels, stats: tuple[str, ...], threshold: float, *, wide: bool = False) -> Plan:
        """The plan for some statistics; `wide`: texts are numbered by 32 bits, not 16."""
        quantiles = [stat for stat in stats if quantile_of(stat) is not None]
        slots = {stat: SLOTS[stat] for stat in stats if stat in SLOTS}
        slots |= {stat: neuron.N_SLOTS + i for i, stat in enumerate(quantiles)}
        # whole words of ranks are weighed, so there are up to 63 more than are ever used
        inverse = 1.0 / np.maximum(np.arange(labels.n_texts + 66), 1)
        return cls(neuron.Call(_arrays(labels, set(stats), wide), _request(stats, threshold), inverse), slots)


def _request(stats: tuple[str, ...], threshold: float) -> neuron.Request:
    asked = set(stats)
    quantiles = [q for stat in stats if (q := quantile_of(stat)) is not None]
    return neuron.Request(
        ap="ap" in asked,
        ap_anti="ap_anti" in asked,
        auroc="auroc" in asked,
        mean_off="mean_off" in asked,
        std="std" in asked,
        best_f1=bool(asked & _F1),
        best_f1_threshold="best_f1_threshold" in asked,
        quantiles=np.array(quantiles, np.float64),
        threshold=float(threshold),
        needs_rank=bool(asked - _MOMENTS - _COUNTS),
        needs_values=bool(quantiles) or bool(asked & (_MOMENTS | {"best_f1_threshold"})),
        needs_list=_needs_list(asked),
        needs_moments=bool(asked & _MOMENTS),
        needs_off=bool(asked & {"p_active_off", "mean_off"}),
    )


def _needs_list(stats: set[str]) -> bool:
    """Whether a statistic other than average precision needs the ends of the positives' groups of ties."""
    return bool(stats & (_F1 | {"ap_anti"})) or any(quantile_of(stat) is not None for stat in stats)


def _arrays(labels: ConceptLabels, stats: set[str], wide: bool) -> neuron.LabelArrays:
    index: Any = np.uint32 if wide else np.uint16
    # positives are listed only where these statistics visit them
    visits_positives = bool(stats & (_MOMENTS | {"auroc"}))
    words, member_words = engine_form(labels, "words", lambda: _words(labels))
    sparse_cost, dense_cost, adds_all = _group_costs(stats, labels.n_positive[labels.order[: labels.n_whole]], labels.n_texts)
    return neuron.LabelArrays(
        concept=labels.order,
        starts=labels.starts,
        positives=labels.positives.astype(index) if visits_positives else np.zeros(0, index),
        member_set=labels.member_set,
        member_starts=labels.member_starts,
        members=labels.members.astype(index),
        n_whole=labels.n_whole,
        words=words,
        member_words=member_words,
        sparse_cost=sparse_cost,
        dense_cost=dense_cost,
        weigh_cost=COST.weigh,
        end_cost=COST.end,
        adds_all=adds_all,
    )


def _words(labels: ConceptLabels) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Label words of the concepts in their order, and of the member sets."""
    is_in_set = np.zeros((labels.n_texts, len(labels.sets)), np.bool_)
    for place, members in enumerate(labels.sets):
        is_in_set[members, place] = True
    return _label_words(labels.is_positive, labels.order), _label_words(is_in_set, np.arange(len(labels.sets)))


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


def _sparse_costs(stats: set[str]) -> tuple[float, float, float]:
    """Cost per positive, per 32 ranks, and per rank and 8 concepts, that the dense way saves: only the sums where other
    statistics need the list of ends."""
    if "ap" not in stats:
        return 0.0, 0.0, 0.0
    if _needs_list(stats):
        return COST.precision, 0.0, 0.0
    return COST.precision, COST.half, COST.transpose


def _group_costs(stats: set[str], n_positive: NDArray[np.int64], n_texts: int) -> tuple[Floats, Floats, Bools]:
    """Per group: cost of the sparse way, of the dense way per rank, and `adds_all`."""
    per_positive, per_half, per_rank = _sparse_costs(stats)
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
