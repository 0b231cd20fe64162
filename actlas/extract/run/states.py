"""States that a run keeps where it keeps no cube: how values are added, how large they are, what is measured beforehand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.compiled.bfloat16 import bfloat16_to_float32
from actlas.extract.backends.base import ModelSession
from actlas.extract.inputs.token_choice import scramble
from actlas.extract.inputs.tokens import TokenisedCorpus
from actlas.kernels import HistogramState, MomentState
from actlas.names import StateRules
from actlas.store.corpus.corpus import Corpus
from actlas.store.corpus.text_sets import LanguageSets
from actlas.store.states import Arrays, Ranges, StatePlan
from actlas.store.values import Shapes

#: Codes reach this share of the width between a neuron's lowest and highest value below and above them: values of texts that
#: were not among those that the range was found on have to fit as well.
RANGE_MARGIN = 0.25
#: Texts of the range that are in memory at a time.
_TEXTS_AT_ONCE = 256
#: 256 codes, one bit each.
_CODE_BYTES = 32


@dataclass(frozen=True)
class KernelAccumulator:
    """Adds values to moments, histograms or both: the arithmetic of `actlas.kernels` on the arrays that the store keeps.

    See `actlas.store.states.Accumulator`.

    Attributes:
        kinds: "moments", "histogram" or both.
        threshold: A value above it is active.
    """

    kinds: tuple[str, ...]
    threshold: float = 0.0

    def shapes(self, n_sets: int, n_neurons: int) -> Mapping[str, tuple[int, ...]]:
        """See `Accumulator`."""
        sums = {"active": (n_sets, n_neurons), "total": (3, n_sets, n_neurons), "squares": (5, n_sets, n_neurons)}
        codes = {"codes": (n_sets, n_neurons, 256)}
        return {**(sums if "moments" in self.kinds else {}), **(codes if "histogram" in self.kinds else {})}

    def add(self, arrays: Arrays, sets: LanguageSets, texts: slice, values: NDArray[Any], ends: NDArray[np.float64]) -> None:
        """See `Accumulator`."""
        numbers = np.ascontiguousarray(bfloat16_to_float32(values) if values.dtype == np.uint16 else values)
        is_concept, is_member = sets.is_concept[texts], sets.is_member[texts]
        for state in self._states(arrays, sets, ends):
            state.update(numbers, is_concept, is_member)
            seen = state.count
        arrays["count"][:] = seen

    def merge(self, one: Arrays, other: Arrays) -> Arrays:
        """See `Accumulator`."""
        both = {name: one[name] + other[name] for name in one}
        if "moments" in self.kinds:
            none = np.zeros(0, np.int64)
            # digits of a sum are brought into the one form that equal numbers have
            parts = [(none, *(part[name] for name in ("count", "active", "total", "squares"))) for part in (one, other)]
            state = MomentState(np.array(0.0), *parts[0]).merge(MomentState(np.array(0.0), *parts[1]))
            both |= {"total": state.total, "squares": state.squares}
        return both

    def ap_slack(self, arrays: Arrays, sets: LanguageSets, ends: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Accumulator`."""
        state = HistogramState(ends[0], ends[1], sets.member_set, arrays["count"].copy(), arrays["codes"])
        slack: NDArray[np.float64] = np.nan_to_num(state.ap_slack()).max(axis=1, initial=0.0)
        return slack

    def _states(self, arrays: Arrays, sets: LanguageSets, ends: NDArray[np.float64]) -> list[MomentState | HistogramState]:
        """States whose counters are `arrays`, updated in place; each has a count of texts of its own."""
        states: list[MomentState | HistogramState] = []
        if "moments" in self.kinds:
            sums = (arrays[name] for name in ("active", "total", "squares"))
            states.append(MomentState(np.array(self.threshold), sets.member_set, arrays["count"].copy(), *sums))
        if "histogram" in self.kinds:
            states.append(HistogramState(ends[0], ends[1], sets.member_set, arrays["count"].copy(), arrays["codes"]))
        return states


def ranges_of(parts: Iterable[Mapping[str, NDArray[Any]]]) -> Ranges:
    """The range that each neuron's codes divide: from the lowest to the highest of some values, and a margin on both sides.

    Args:
        parts: site -> ``"layers neurons texts"``, for some texts at a time.

    Returns:
        site -> float64 ``"2 layers neurons"``; the lower end is below the upper one also for a neuron that never changes.

    Example:
        >>> ranges_of([{"mlp_pre": np.array([[[0.0, 1.0]]])}, {"mlp_pre": np.array([[[4.0]]])}])["mlp_pre"].ravel().tolist()
        [-1.0, 5.0]
    """
    ranges: Ranges = {}
    for part in parts:
        for site, values in part.items():
            numbers = bfloat16_to_float32(values) if values.dtype == np.uint16 else values
            ends = np.stack([numbers.min(axis=2), numbers.max(axis=2)]).astype(np.float64)
            low, high = ranges.get(site, ends)
            ranges[site] = np.stack([np.minimum(low, ends[0]), np.maximum(high, ends[1])])
    for low, high in ranges.values():
        margin = np.maximum(RANGE_MARGIN * (high - low), 1e-3 * np.maximum(np.abs(high), 2.0**-10))
        low -= margin
        high += margin
    return ranges


def drawn_texts(corpus: Corpus, n_texts: int, seed: int) -> NDArray[np.int64]:
    """Rows of the text axis, ascending: as many of every language, drawn by seed and text_id alone.

    Args:
        corpus: The texts.
        n_texts: How many in all, rounded up to a multiple of the languages; fewer where a language has fewer.
        seed: Of the draw.
    """
    each = -(-n_texts // len(corpus.languages))
    draw = scramble(scramble(corpus.texts["text_id"].to_numpy().astype(np.uint64), seed), seed)
    rows = []
    for language in corpus.languages:
        part = corpus.language_slice(language)
        rows.append(part.start + np.argsort(draw[part], kind="stable")[:each])
    return np.sort(np.concatenate(rows)).astype(np.int64)


def state_plan(
    rules: StateRules, texts: TokenisedCorpus, session: ModelSession, shapes: Shapes, memory_bytes: int | None
) -> StatePlan:
    """What the store's writer has to know to keep states.

    Args:
        rules: Of the recipe.
        texts: The corpus.
        session: Runs the texts that ranges are found on, when the writer asks for them.
        shapes: site -> (layers, neurons) of the sites that states are kept of.
        memory_bytes: States in memory at most; None for half of this machine's.
    """

    def find_ranges() -> Ranges:
        if "histogram" not in rules.kinds:
            # nothing is coded
            return {site: np.stack([np.zeros(shape), np.ones(shape)]) for site, shape in shapes.items()}
        rows = drawn_texts(texts.corpus, rules.range_texts, rules.range_seed)
        parts = (rows[at : at + _TEXTS_AT_ONCE] for at in range(0, len(rows), _TEXTS_AT_ONCE))
        return ranges_of(session.run_block(texts.block(part, is_check=True)).collect().cubes for part in parts)

    memory = memory_bytes or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return StatePlan(shapes, KernelAccumulator(rules.kinds, rules.threshold), find_ranges, memory)


def memory_warning(plan: StatePlan, corpus: Corpus) -> str | None:
    """What has to be said where the states of one language do not fit into memory together."""
    sets = max(corpus.text_sets, key=plan.language_bytes)
    size = plan.language_bytes(sets)
    if size <= plan.memory_bytes:
        return None
    return (
        f"states of {sets.language} take {size / 1e6:,.1f} MB and {plan.memory_bytes / 1e6:,.1f} MB may be used, so they go "
        "through the disk with every block; take fewer sites or concepts, leave out the histogram, or allow more (state_bytes)"
    )


def disk_bytes(rules: StateRules, shapes: Shapes, corpus: Corpus) -> int:
    """Bytes that the states of one checkpoint take at most, while they are written and after.

    256 counts of at most n texts have no more than 32 bytes for every binary digit of n once their bits are put side by side.
    """
    per_neuron = 0
    for sets in corpus.text_sets:
        if "moments" in rules.kinds:
            per_neuron += 9 * 8 * sets.n_sets
        if "histogram" in rules.kinds:
            per_neuron += sum(_CODE_BYTES * int(n).bit_length() for n in sets.n_texts)
    # two versions on disk before a commit, then one beside the arrays of the store
    return 2 * per_neuron * sum(layers * neurons for layers, neurons in shapes.values())
