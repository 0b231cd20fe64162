"""The definitions: plain numpy in float64, one concept at a time, slow and obvious. Every other backend is held to this file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.kernels.labels import has_answer
from actlas.kernels.stats import quantile_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def threshold_counts(x: Floats, is_positive: Bools) -> tuple[Floats, NDArray[Any], NDArray[Any]]:
    """Distinct values of `x` from the highest down, and at each the texts and the positives with at least that value.

    Example:
        >>> [part.tolist() for part in threshold_counts(np.array([3.0, 1.0, 3.0]), np.array([True, True, False]))]
        [[3.0, 1.0], [2, 3], [1, 2]]
    """
    order = np.argsort(-x, kind="stable")
    ranked = x[order]
    last_of_tie = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return ranked[last_of_tie], last_of_tie + 1, np.cumsum(is_positive[order])[last_of_tie]


def average_precision(x: Floats, is_positive: Bools) -> float:
    """Average precision of one neuron as a detector of one concept.

    Precision is averaged over the thresholds at which recall rises, weighted by the rise. Texts with equal values are passed
    together, so the answer does not depend on their order (as in `sklearn.metrics.average_precision_score`).

    Example:
        >>> average_precision(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False]))
        0.8333333333333333
    """
    _, n_texts, n_found = threshold_counts(x, is_positive)
    rises = np.diff(n_found, prepend=0)
    return float(np.sum(rises * (n_found / n_texts)) / is_positive.sum())


def auroc(x: Floats, is_positive: Bools) -> float:
    """Probability that a random positive text has a higher value than a random negative one; a tie counts one half.

    Example:
        >>> auroc(np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False]))
        0.875
    """
    _, n_texts, n_found = threshold_counts(x, is_positive)
    false_alarms = np.diff(n_texts - n_found, prepend=0)
    n_positive = int(is_positive.sum())
    below = n_positive - n_found  # positives that a negative text at this threshold outranks
    ties = np.diff(n_found, prepend=0)
    lost = np.sum(false_alarms * (below + 0.5 * ties))
    return float(1.0 - lost / (n_positive * (x.size - n_positive)))


def best_f1(x: Floats, is_positive: Bools) -> tuple[float, float]:
    """Highest F1 of "value >= threshold" over all thresholds, and that threshold (the highest one, where several are equally
    good).

    Example:
        >>> best_f1(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False]))
        (0.8, 0.3)
    """
    thresholds, n_texts, n_found = threshold_counts(x, is_positive)
    f1 = 2.0 * (n_found / (is_positive.sum() + n_texts))
    best = int(np.argmax(f1))
    return float(f1[best]), float(thresholds[best])


@dataclass(frozen=True)
class _Question:
    """One neuron and one concept: values and labels of the member texts only."""

    x: Floats
    is_positive: Bools
    threshold: float


_STATS: dict[str, Callable[[_Question], float]] = {
    "ap": lambda q: average_precision(q.x, q.is_positive),
    "ap_anti": lambda q: average_precision(-q.x, q.is_positive),
    "auroc": lambda q: auroc(q.x, q.is_positive),
    "best_f1": lambda q: best_f1(q.x, q.is_positive)[0],
    "best_f1_threshold": lambda q: best_f1(q.x, q.is_positive)[1],
    "mean": lambda q: float(np.mean(q.x[q.is_positive])),
    "mean_off": lambda q: float(np.mean(q.x[~q.is_positive])),
    "p_active": lambda q: float(np.mean(q.x[q.is_positive] > q.threshold)),
    "p_active_off": lambda q: float(np.mean(q.x[~q.is_positive] > q.threshold)),
    "std": lambda q: float(np.std(q.x[q.is_positive])),
}


def concept_scores_reference(
    values: NDArray[np.floating], is_concept: Bools, is_member: Bools | None, stats: tuple[str, ...], threshold: float
) -> dict[str, Floats]:
    """Every statistic of every neuron and concept, by the definitions above.

    Args:
        values: Finite numbers, shape "neurons texts".
        is_concept: Shape "texts concepts".
        is_member: Which texts take part per concept; None: all.
        stats: Names, see `actlas.kernels.stats`.
        threshold: A value above it is active.

    Returns:
        Per statistic an array "neurons concepts". NaN where a concept has no positive or no negative text among its members.
    """
    shape = (values.shape[0], is_concept.shape[1])
    scores = {stat: np.full(shape, np.nan) for stat in stats}
    wide = values.astype(np.float64)
    for concept in range(shape[1]):
        members = np.ones(values.shape[1], bool) if is_member is None else is_member[:, concept]
        is_positive = is_concept[members, concept]
        n_positive, n_member = int(is_positive.sum()), int(members.sum())
        for stat in stats:
            if stat in ("n_positive", "n_member"):
                scores[stat][:, concept] = n_positive if stat == "n_positive" else n_member
        if not has_answer(n_positive, n_member):
            continue
        for neuron in range(shape[0]):
            question = _Question(wide[neuron, members], is_positive, threshold)
            for stat in stats:
                if (q := quantile_of(stat)) is not None:
                    scores[stat][neuron, concept] = np.quantile(question.x[is_positive], q)
                elif stat in _STATS:
                    scores[stat][neuron, concept] = _STATS[stat](question)
    return scores


def lape_reference(
    active: NDArray[np.int64], n_tokens: NDArray[np.int64], share: float, bar_quantile: float
) -> tuple[Floats, float, set[int]]:
    """Entropy per neuron (NaN where never active), the bar, and the selected neurons: one neuron and one language at a time.

    Example:
        >>> entropy, bar, selected = lape_reference(np.array([[9, 5], [0, 5]]), np.array([10, 10]), 0.5, 0.5)
        >>> entropy.round(3).tolist(), bar, selected
        ([0.0, 0.693], 0.5, {0})
    """
    n_languages, n_neurons = active.shape
    p = np.array([[active[a, i] / n_tokens[a] for i in range(n_neurons)] for a in range(n_languages)])
    entropy = np.full(n_neurons, np.nan)
    for i in range(n_neurons):
        if p[:, i].sum() > 0:
            shares = p[:, i] / p[:, i].sum()
            entropy[i] = sum(-q * np.log(q) for q in shares if q > 0) + 0.0
    bar = float(sorted(p.ravel())[max(1, round(bar_quantile * p.size)) - 1])
    candidates = [i for i in range(n_neurons) if np.isfinite(entropy[i]) and p[:, i].max() > bar]
    candidates.sort(key=lambda i: (round(float(entropy[i]), 12), i))
    return entropy, bar, set(candidates[: round(share * n_neurons)])
