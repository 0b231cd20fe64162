"""Names of the statistics, and which of them need the texts of a neuron in order."""

from __future__ import annotations

import re
from collections.abc import Iterable

from actlas.errors import KernelInputError

#: Statistics that `concept_scores` returns by default.
DEFAULT_STATS = ("ap", "auroc", "p_active", "p_active_off", "mean", "std", "median", "p90", "best_f1")
#: Every statistic that has a name of its own; other quantiles are called "q0.25" and the like.
NAMED_STATS = (
    "ap",
    "ap_anti",
    "auroc",
    "best_f1",
    "best_f1_threshold",
    "mean",
    "mean_off",
    "median",
    "n_member",
    "n_positive",
    "p90",
    "p_active",
    "p_active_off",
    "std",
)

_QUANTILE = re.compile(r"q(0(?:\.\d+)?|1(?:\.0+)?)")
_NAMED_QUANTILES = {"median": 0.5, "p90": 0.9}


def quantile_of(stat: str) -> float | None:
    """The quantile that a statistic's name stands for, or None.

    Example:
        >>> quantile_of("median"), quantile_of("q0.25"), quantile_of("ap")
        (0.5, 0.25, None)
    """
    if stat in _NAMED_QUANTILES:
        return _NAMED_QUANTILES[stat]
    match = _QUANTILE.fullmatch(stat)
    return float(match[1]) if match else None


def checked_stats(stats: Iterable[str]) -> tuple[str, ...]:
    """`stats` without repeats, in the order given.

    Raises:
        KernelInputError: If one is not known.
    """
    names = (stats,) if isinstance(stats, str) else tuple(dict.fromkeys(stats))
    for name in names:
        if name not in NAMED_STATS and quantile_of(name) is None:
            known = ", ".join(NAMED_STATS)
            raise KernelInputError(f"statistic {name!r} is not known (known: {known}, and quantiles such as q0.25)")
    return names
