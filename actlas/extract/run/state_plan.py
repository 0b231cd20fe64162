"""What a run keeps where it keeps no cube: which states, how large they are, and what is measured before the first block."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from actlas.extract.backends.base import ModelSession
from actlas.extract.inputs.token_choice import scramble
from actlas.extract.inputs.tokens import TokenisedCorpus
from actlas.extract.run.states import KernelFold, ranges_of
from actlas.names import StateRules
from actlas.store.corpus.corpus import Corpus
from actlas.store.states import Ranges, StatePlan
from actlas.store.values import Shapes

#: Texts of the range that are in memory at a time.
_TEXTS_AT_ONCE = 256
#: 256 codes, one bit each.
_CODE_BYTES = 32


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
    return StatePlan(shapes, KernelFold(rules.kinds, rules.threshold), find_ranges, memory)


def memory_warning(plan: StatePlan, corpus: Corpus) -> str | None:
    """What has to be said where the states of one language do not fit into memory together."""
    sets = max(corpus.text_sets, key=plan.language_bytes)
    size = plan.language_bytes(sets)
    if size <= plan.memory_bytes:
        return None
    return (
        f"states of {sets.language} take {size / 1e6:,.1f} MB and {plan.memory_bytes / 1e6:,.1f} MB may be used, so they go "
        "through the disk with every block; take fewer sites or concepts, leave out the histogram, or allow more (--state-memory)"
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
