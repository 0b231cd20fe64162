"""Overlaps of experts for labels that mean nothing: what languages share without a concept.

Every repeat moves the labels of all concepts at once, by one permutation, so that concepts stay to each other what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from actlas.query.blocks import StepProgress, Steps, language_slices
from actlas.query.experts.sets import ExpertSets
from actlas.query.neurons import NeuronAxis
from actlas.query.permutations import Meanings
from actlas.query.questions.controls import Labels, best_under, corpus_labels, half_labels
from actlas.query.splits import split_halves
from actlas.store.store import Store

#: Experts and labels of the repeats that one pass over a cube ranks, in bytes.
PASS_BYTES = 256 << 20
#: Seeds of the two kinds of permutation, which must not draw the same numbers.
_TOGETHER, _APART = 1, 2


@dataclass(frozen=True)
class NullRanking:
    """Which experts a null is about.

    Attributes:
        store: With cubes.
        checkpoint: Which.
        axis: The neurons that are ranked.
        languages: Of the labels.
        concepts: Of the labels.
        k: Experts per language and concept.
        seed: Of the permutations, and of the halves.
    """

    store: Store
    checkpoint: str
    axis: NeuronAxis
    languages: tuple[str, ...]
    concepts: tuple[str, ...]
    k: int
    seed: int

    @cached_property
    def meanings(self) -> Meanings:
        return Meanings.of(self.store, self.languages)

    def n_passes(self, n_repeats: int, n_variants: int = 1) -> int:
        """Passes over the cubes that this many repeats take."""
        return -(-n_repeats // self._repeats_per_pass(n_variants))

    def _repeats_per_pass(self, n_variants: int) -> int:
        n_texts = self.store.corpus.n_texts
        per_repeat = n_variants * len(self.concepts) * (3 * 8 * self.k * len(self.languages) + 2 * n_texts)
        return max(1, PASS_BYTES // max(1, per_repeat))

    def together(self, n_repeats: int, steps: Steps) -> Iterator[list[ExpertSets]]:
        """Experts for labels that move among meanings, translations together: some repeats at a time."""
        yield from self._passes(n_repeats, 1, self._moved_together(), steps, "permuted labels")

    def halves(self, n_repeats: int, steps: Steps) -> Iterator[tuple[ExpertSets, ExpertSets]]:
        """Experts on either half of the texts, for the same labels as `together` gives repeat by repeat."""
        in_second, rows = split_halves(self.store.corpus.texts, self.seed), language_slices(self.store)
        moved = self._moved_together()

        def on_halves(repeat: int) -> dict[str, tuple[Labels, ...]]:
            return dict(half_labels({language: own for language, (own,) in moved(repeat).items()}, in_second, rows))

        for drawn in self._passes(n_repeats, 2, on_halves, steps, "permuted labels on halves"):
            yield from zip(drawn[::2], drawn[1::2], strict=True)

    def apart(self, n_repeats: int, steps: Steps) -> Iterator[list[ExpertSets]]:
        """Experts for labels that move in each language by itself: some repeats at a time."""
        labels = corpus_labels(self.store, self.languages, self.concepts)
        meanings = {language: Meanings.of(self.store, [language]) for language in self.languages}
        number = {language: position for position, language in enumerate(self.store.corpus.languages)}

        def moved(repeat: int) -> dict[str, tuple[Labels, ...]]:
            orders = {
                language: own.permutation(np.random.default_rng([self.seed, _APART, repeat, number[language]]))[language]
                for language, own in meanings.items()
            }
            return _in_order(labels, orders)

        yield from self._passes(n_repeats, 1, moved, steps, "labels permuted by language")

    def _moved_together(self) -> Callable[[int], dict[str, tuple[Labels, ...]]]:
        labels, meanings = corpus_labels(self.store, self.languages, self.concepts), self.meanings

        def moved(repeat: int) -> dict[str, tuple[Labels, ...]]:
            return _in_order(labels, meanings.permutation(np.random.default_rng([self.seed, _TOGETHER, repeat])))

        return moved

    def _passes(
        self, n_repeats: int, n_variants: int, labels: Callable[[int], Mapping[str, tuple[Labels, ...]]], steps: Steps, what: str
    ) -> Iterator[list[ExpertSets]]:
        per_pass = self._repeats_per_pass(n_variants)
        for first in range(0, n_repeats, per_pass):
            drawn = [labels(repeat) for repeat in range(first, min(first + per_pass, n_repeats))]
            variants = {language: [own for one in drawn for own in one[language]] for language in self.languages}
            yield best_under(self.store, self.checkpoint, self.axis, variants, self.concepts, self.k, steps, what)


def null_steps(ranking: NullRanking, progress: StepProgress | None, n_passes: int) -> Steps:
    """Counts the neurons of that many passes."""
    return Steps(progress, ranking.axis.n_neurons * n_passes)


def _in_order(labels: Mapping[str, Labels], orders: Mapping[str, NDArray[np.int64]]) -> dict[str, tuple[Labels, ...]]:
    return {
        language: ((is_concept[orders[language]], is_member[orders[language]]),)
        for language, (is_concept, is_member) in labels.items()
    }
