"""The few texts that a checkpoint is tried on: of every language and every length."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray


def choose_texts(lengths: NDArray[np.integer], language: NDArray[np.integer], n_texts: int, seed: int = 0) -> NDArray[np.int64]:
    """Rows of some texts: the longest one, then one language after the other, each time of another part of its lengths.

    Args:
        lengths: Tokens of each text.
        language: Number of each text's language.
        n_texts: How many to choose; all where there are fewer. Every language is among them unless there are more languages.
        seed: Which languages and lengths go together is drawn.

    Returns:
        Rows, ascending; the same arguments give the same ones.

    Example:
        >>> choose_texts(np.array([9, 2, 3, 8, 20, 7]), np.array([0, 0, 0, 1, 1, 2]), 3)
        array([1, 4, 5])
    """
    n_texts = min(n_texts, len(lengths))
    if n_texts == 0:
        return np.zeros(0, dtype=np.int64)
    rng = np.random.default_rng(seed)
    order = np.argsort(lengths, kind="stable")
    first = int(language[order[-1]])
    others = rng.permutation(np.setdiff1d(language, [first]))
    # the rows of each language, shortest text first, in the order in which languages take turns
    turns = deque(order[language[order] == each].tolist() for each in (first, *others.tolist()))
    places = np.linspace(0, 1, n_texts)
    chosen = []
    for place in (1.0, *rng.permutation(places[:-1]).tolist()):
        rows = turns.popleft()
        chosen.append(rows.pop(round(place * (len(rows) - 1))))
        if rows:
            turns.append(rows)
    return np.sort(np.array(chosen, dtype=np.int64))
