"""Scores out of states: what sums and 8-bit codes answer where no cube was kept, and how exact each answer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.names import StateRules
from actlas.store.corpus.text_sets import LanguageSets
from actlas.store.cube import StateArrays
from actlas.store.layout import CHUNK_CODE_NEURONS
from actlas.store.store import Store
from actlas.store.write.score_writer import ScoreWriter

#: What a statistic is worth, by where it comes from.
EXACT = "exact"
ROUNDED = "of values rounded to 2^-24"
CODES = "of 8-bit codes"


def stats_of_states(rules: StateRules, asked: Sequence[str], *, is_default: bool) -> tuple[str, ...]:
    """The statistics that come out of states, in the order asked.

    Args:
        rules: What is kept.
        asked: Statistics wanted.
        is_default: These were not asked for by name; what states cannot answer is left out.

    Raises:
        QueryError: If one that was asked for by name cannot be answered, or none can.
    """
    lacking = [stat for stat in asked if _kind_of(rules, stat) is None]
    answered = tuple(stat for stat in asked if stat not in lacking)
    if (lacking and not is_default) or not answered:
        needed = "a histogram" if "histogram" not in rules.kinds else "moments"
        raise QueryError(
            f"{', '.join(lacking)} does not come out of {' and '.join(rules.kinds)}, all that is kept of "
            f"{', '.join(rules.sites)}; extract with {needed} too (stats_only), or keep cubes"
        )
    return answered


def exactness_of(rules: StateRules, stats: Sequence[str], dtype: str) -> dict[str, str]:
    """For every statistic how exact it is.

    Args:
        rules: What is kept.
        stats: Statistics, each of which states can answer.
        dtype: Dtype of the values that went into the states.
    """
    exactness = {}
    for stat in stats:
        is_sum = stat in ("mean", "mean_off", "std")
        exactness[stat] = EXACT if _kind_of(rules, stat) == "moments" else CODES
        if stat in ("n_positive", "n_member"):
            exactness[stat] = EXACT
        elif is_sum and dtype != "float16":
            exactness[stat] = ROUNDED
    return exactness


def _kind_of(rules: StateRules, stat: str) -> str | None:
    from actlas.kernels.states import HISTOGRAM_STATS, MOMENT_STATS
    from actlas.kernels.stats import quantile_of

    if "moments" in rules.kinds and stat in MOMENT_STATS:
        return "moments"
    if "histogram" in rules.kinds and (stat in HISTOGRAM_STATS or quantile_of(stat) is not None):
        return "histogram"
    return None


def score_states(
    store: Store, states: StateArrays, writer: ScoreWriter, rules: StateRules, finish: Callable[[int, str], None]
) -> None:
    """Score the neurons of a site from its states, layer by layer; `finish` is called with the neurons of each."""
    _, n_neurons = store.shape(states.checkpoint, states.site)
    concepts = store.corpus.concepts
    for layer in writer.pending_layers():
        shape = (len(states.sets), len(concepts), n_neurons)
        scores = {stat: np.full(shape, np.nan) for stat in writer.stats}
        for position, sets in enumerate(states.sets):
            _label_counts(store, sets, {stat: values[position] for stat, values in scores.items()})
            columns = [concepts.index(concept) for concept in sets.concepts]
            if not columns:
                continue
            for start in range(0, n_neurons, CHUNK_CODE_NEURONS):
                neurons = slice(start, min(start + CHUNK_CODE_NEURONS, n_neurons))
                for stat, values in _finished(states, sets, layer, neurons, rules, writer.stats).items():
                    scores[stat][position, columns, neurons] = values.T
        writer.write_layer(layer, scores)
        finish(n_neurons, f"{states.checkpoint} {states.site}")


def _label_counts(store: Store, sets: LanguageSets, scores: Mapping[str, NDArray[np.float64]]) -> None:
    """Counts of texts, which concepts have that cannot be scored, too."""
    is_concept, is_member = store.corpus.concept_matrix(sets.language)
    for stat, counted in (("n_positive", is_concept & is_member), ("n_member", is_member)):
        if stat in scores:
            scores[stat][:] = counted.sum(axis=0)[:, np.newaxis]


def _finished(
    states: StateArrays, sets: LanguageSets, layer: int, neurons: slice, rules: StateRules, stats: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    from actlas.kernels import HistogramState, MomentState

    def read(name: str) -> NDArray[Any]:
        return states.read(name, layer, slice(sets.first, sets.first + sets.n_sets), neurons)

    stats_of_kind = {
        kind: tuple(stat for stat in stats if _kind_of(rules, stat) == kind and stat not in ("n_positive", "n_member"))
        for kind in rules.kinds
    }
    answers: dict[str, NDArray[np.float64]] = {}
    if stats_of_kind.get("moments"):
        sums = (read(name) for name in ("active", "total", "squares"))
        answers |= MomentState(np.array(rules.threshold), sets.member_set, sets.n_texts, *sums).finish(stats_of_kind["moments"])
    if stats_of_kind.get("histogram"):
        low, high = read("range")
        answers |= HistogramState(low, high, sets.member_set, sets.n_texts, read("codes")).finish(stats_of_kind["histogram"])
    return answers
