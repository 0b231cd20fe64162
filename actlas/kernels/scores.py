"""`concept_scores`: one call for every statistic of every neuron and concept, whichever backend computes it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any

from actlas.errors import KernelInputError
from actlas.kernels.inputs import HostValues, check_values, is_on_gpu
from actlas.kernels.labels import ConceptLabels, prepare_labels
from actlas.kernels.stats import DEFAULT_STATS, checked_stats

logger = logging.getLogger("actlas.kernels")

BACKENDS = ("auto", "reference", "cpu", "gpu")
_announced: set[str] = set()


def concept_scores(
    values: Any,
    is_concept: Any,
    stats: Iterable[str] = DEFAULT_STATS,
    is_member: Any | None = None,
    threshold: float = 0.0,
    backend: str = "auto",
    *,
    threads: int | None = None,
) -> dict[str, Any]:
    """Exact statistics of every neuron for every concept, as scikit-learn and numpy define them.

    A neuron's texts are ranked once for all concepts. Texts with equal values share one rank, and -0.0 equals 0.0.

    Args:
        values: One number per neuron and text, shape "neurons texts": float16, bfloat16 or float32; numpy, or torch on any
            device.
        is_concept: True where a text expresses a concept, shape "texts concepts"; or what `prepare_labels` made of that, which
            saves preparing the same labels for every block of neurons.
        stats: Any of `actlas.kernels.NAMED_STATS`, and quantiles of the positives such as "q0.25". `ap_anti` is the average
            precision of the negated values; `std` divides by the number of positives; `_off` means over negatives. Where
            several thresholds reach the best F1 of "value >= threshold", `best_f1_threshold` is the highest.
        is_member: Which texts take part per concept, same shape as `is_concept`; None: all of them, or those that prepared labels
            name.
        threshold: A text is active above this value.
        backend: "cpu" and "gpu" are the same statistics on either device, "reference" their definition in plain numpy. "auto"
            goes where `values` are and logs it once. One that is named never falls back to another.
        threads: Threads of the cpu backend; None: one per core.

    Returns:
        Per statistic an array "neurons concepts": numpy float64 from "cpu" and "reference", a float32 tensor on the device
        from "gpu". NaN where a concept has no positive or no negative text; the counts `n_positive` and `n_member` are always
        numbers.

    Raises:
        KernelInputError: If a value is NaN or infinite (the first is named), or shapes, dtypes or a statistic's name do not fit.
        BackendUnavailable: If the named backend cannot run here.

    Source: Suau et al. 2022, section 4.1, for average precision of neurons as detectors of concepts; scikit-learn's
    `average_precision_score` and `roc_auc_score` for how ties count.

    Example:
        >>> import numpy as np
        >>> values = np.array([[3, 2, 1, 0], [0, 2, 2, 1]], dtype=np.float16)
        >>> is_concept = np.array([[True], [False], [True], [False]])
        >>> scores = concept_scores(values, is_concept, stats=("ap", "median"), backend="reference")
        >>> scores["ap"].round(4).tolist(), scores["median"].tolist()
        ([[0.8333], [0.5]], [[2.0], [1.0]])
    """
    names = checked_stats(stats)
    if backend not in BACKENDS:
        raise KernelInputError(f"backend {backend!r} is not known; choose one of {', '.join(BACKENDS)}")
    if not math.isfinite(threshold):
        raise KernelInputError(f"threshold {threshold} is not a number that values can be compared with")
    labels = is_concept if isinstance(is_concept, ConceptLabels) else prepare_labels(is_concept, is_member)
    if labels is is_concept and is_member is not None:
        raise KernelInputError("prepared labels know their members; give is_member to prepare_labels")
    check_values(values, labels.n_texts)
    chosen = backend
    if backend == "auto":
        chosen = "gpu" if is_on_gpu(values) else "cpu"
        if chosen not in _announced:
            _announced.add(chosen)
            logger.info("kernels backend: %s, where the values are", chosen)
    if chosen == "gpu":
        from actlas.kernels.gpu.engine import concept_scores_gpu

        return dict(concept_scores_gpu(values, labels, names, threshold))
    host = HostValues.of(values)
    if chosen == "reference":
        from actlas.kernels.reference import concept_scores_reference

        host.refuse_not_finite()
        return dict(concept_scores_reference(host.numbers(), labels.is_concept, labels.is_member, names, threshold))
    from actlas.kernels.cpu.engine import concept_scores_cpu

    return dict(concept_scores_cpu(host, labels, names, threshold, threads))
