"""Labels without meaning: those of a corpus, moved among its texts, with translations kept together or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actlas.query.blocks import language_slices
from actlas.query.splits import text_groups
from actlas.store.store import Store

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Meanings:
    """What the texts of some languages say, by numbers: translations and repetitions of each other have the same one.

    Labels move from meaning to meaning, in all languages at once, and only between meanings that the same languages express by
    the same number of texts. So each language keeps as many positives as it has, every text of a meaning still shares its labels
    with its translations, and all such permutations are equally likely where labels mean nothing. Of a meaning that
    no other is like, labels stay; a text without translations moves in its language.

    Attributes:
        of_text: language -> number of the meaning of each of its texts.
        class_of: Of each meaning the number of its class: labels move inside a class.
    """

    of_text: dict[str, Indices]
    class_of: Indices

    @classmethod
    def of(cls, store: Store, languages: Sequence[str]) -> Meanings:
        """The meanings of a corpus in some of its languages."""
        rows = language_slices(store)
        groups = text_groups(store.corpus.texts)
        chosen = np.concatenate([groups[rows[language]] for language in languages])
        _, meaning = np.unique(chosen, return_inverse=True)
        starts = np.cumsum([0] + [rows[language].stop - rows[language].start for language in languages])
        parts = dict(zip(languages, np.split(meaning.astype(np.int64), starts[1:-1]), strict=True))
        counts = np.stack([np.bincount(own, minlength=int(meaning.max(initial=-1)) + 1) for own in parts.values()], axis=1)
        _, class_of = np.unique(counts, axis=0, return_inverse=True)
        return cls(parts, class_of.reshape(-1).astype(np.int64))

    @property
    def are_shared(self) -> bool:
        """Whether any meaning is expressed in two languages; otherwise texts move in their languages, each by itself."""
        return sum(np.unique(own).size for own in self.of_text.values()) > self.class_of.size

    @property
    def share_moving(self) -> float:
        """Share of texts whose labels can move at all."""
        can_move = (np.bincount(self.class_of) > 1)[self.class_of]
        texts = np.concatenate(list(self.of_text.values()))
        return float(can_move[texts].mean())

    def permutation(self, rng: np.random.Generator) -> dict[str, Indices]:
        """Which text of its language each text takes its labels from, drawn at random: language -> rows.

        Example:
            >>> meanings = Meanings({"en": np.array([0, 1, 2]), "fr": np.array([2, 0, 1])}, np.zeros(3, dtype=np.int64))
            >>> drawn = meanings.permutation(np.random.default_rng(3))
            >>> drawn["en"].tolist(), drawn["fr"].tolist()
            ([2, 1, 0], [1, 0, 2])
        """
        n_meanings = self.class_of.size
        taken = np.empty(n_meanings, dtype=np.int64)
        taken[np.argsort(self.class_of, kind="stable")] = np.lexsort((rng.permutation(n_meanings), self.class_of))
        orders = {}
        for language, meaning in self.of_text.items():
            rows = np.argsort(meaning, kind="stable")
            n_texts = np.bincount(meaning, minlength=n_meanings)
            starts = np.cumsum(n_texts) - n_texts
            place = np.arange(meaning.size) - starts[meaning[rows]]
            orders[language] = np.empty(meaning.size, dtype=np.int64)
            orders[language][rows] = rows[starts[taken[meaning[rows]]] + place]
        return orders
