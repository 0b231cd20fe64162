"""`ModelPlan`: which neurons detect which concept in which language at which step, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import polars as pl

from actlas.store.corpus.corpus import Corpus
from actlas.testing.planted_gpt2.words import LANGUAGES, NOUNS, noun, sentences

N_LAYERS, WIDTH, N_HIDDEN, N_HEADS, N_POSITIONS = 4, 128, 96, 4, 128
#: Blocks: the one that finds the language of a text, the one whose MLP detects concepts, the one whose attention carries a
#: concept from its noun to later tokens, the one whose MLP has the neurons of languages.
FIND_LANGUAGE, DETECT, CARRY, SPEAK = 0, 1, 2, 3
#: A detector's value is `STEEP` times how far its word is above `BAR`, of 1.
STEEP, BAR, HINT = 10.0, 0.8, 0.6
ON_VALUE = STEEP * (1 - BAR)


@dataclass(frozen=True)
class ModelPlan:
    """What is planted in a series of checkpoints.

    Every concept has two detectors in every language, at `mlp_pre` of block 1. At first both are the language's own, and the
    first of them writes the concept for that language alone, and the language. From the step of `shared_from` on its place is
    taken by a neuron that all languages share, which writes the concept for every language and says nothing of which. The second
    detects and writes nothing, at every step.

    Attributes:
        steps: One checkpoint each.
        shared_from: concept -> the step from which its first detector is shared; a concept that is not there never shares.
        shares: language -> its share of texts that are begun without anything that speaks for a language.
        n_groups: Texts per language; with few, other neurons tell a concept apart by chance.
        seed: Of the sentences, of the places of neurons, and of all weights that are not planned.
        k: Neurons per concept and language: as many experts recover the plan.
        lape_share: Share of the neurons that are those of languages, for `language_neurons`.
        patch_layer: The last block whose output at a noun decides which concept is said later.

    Raises:
        ValueError: If a concept or language is not one of the model's, or if at some step a single concept is not shared.
    """

    steps: tuple[int, ...] = (0, 64, 128)
    shared_from: Mapping[str, int] = field(default_factory=lambda: {"boat": 0, "water": 64, "horse": 64, "cheese": 128})
    shares: Mapping[str, float] = field(default_factory=lambda: {"de": 0.1, "en": 0.7, "es": 0.1, "fr": 0.1})
    n_groups: int = 48
    seed: int = 0
    k: ClassVar[int] = 2
    lape_share: ClassVar[float] = 2 * len(LANGUAGES) / (N_LAYERS * N_HIDDEN)
    patch_layer: ClassVar[int] = CARRY - 1

    def __post_init__(self) -> None:
        unknown = set(self.shared_from) - set(NOUNS)
        if unknown or set(self.shares) != set(LANGUAGES):
            raise ValueError(f"concepts are {', '.join(NOUNS)}, and languages, all of which need a share, {', '.join(LANGUAGES)}")
        for step in self.steps:
            own = [concept for concept in self.concepts if not self.is_shared(concept, step)]
            if len(own) == 1:
                raise ValueError(
                    f"at step {step} {own[0]} alone has detectors of its own in every language, and what they write of the "
                    "language would detect it too; share all concepts, or leave two of them"
                )

    @property
    def concepts(self) -> tuple[str, ...]:
        """Concepts, in the order of the plan."""
        return tuple(NOUNS)

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages, in the order of the text axis."""
        return LANGUAGES

    def checkpoint(self, step: int) -> str:
        """Id of the checkpoint of a step, where the series is in a folder named ``planted``.

        Args:
            step: One of `steps`.

        Returns:
            The id under which a store lists it.

        Example:
            >>> ModelPlan().checkpoint(64)
            'planted-step64'
        """
        return f"planted-step{step}"

    def is_shared(self, concept: str, step: int) -> bool:
        """Whether the languages share a detector of a concept.

        Args:
            concept: One of `concepts`.
            step: One of `steps`.

        Returns:
            True from the step of `shared_from` on.

        Example:
            >>> [ModelPlan().is_shared("water", step) for step in (0, 64)]
            [False, True]
        """
        return concept in self.shared_from and step >= self.shared_from[concept]

    def overlap(self, concept: str, step: int) -> float:
        """Overlap of the experts of any two languages.

        Args:
            concept: One of `concepts`.
            step: One of `steps`.

        Returns:
            Half of them, or none.

        Example:
            >>> [ModelPlan().overlap("water", step) for step in (0, 64)]
            [0.0, 0.5]
        """
        return 1 / self.k if self.is_shared(concept, step) else 0.0

    def experts(self, step: int) -> pl.DataFrame:
        """The neurons that detect concepts at a step.

        Args:
            step: One of `steps`.

        Returns:
            concept, language, site, layer, neuron, is_shared (the same neuron in all languages), writes (whether setting it to
            `value` makes the model say the concept) and value (about what it has at the noun).

        Example:
            >>> ModelPlan().experts(64).filter(concept="water", language="fr", writes=True)["is_shared"].to_list()
            [True]
        """
        place = places(self.seed)
        rows = []
        for concept in self.concepts:
            is_shared = self.is_shared(concept, step)
            for language in self.languages:
                first = place["shared", concept] if is_shared else place["own", concept, language]
                rows.append((concept, language, "mlp_pre", DETECT, first, is_shared, True, ON_VALUE))
                second = place["silent", concept, language]
                rows.append((concept, language, "mlp_pre", DETECT, second, False, False, ON_VALUE))
        columns = ["concept", "language", "site", "layer", "neuron", "is_shared", "writes", "value"]
        return pl.DataFrame(rows, schema=columns, orient="row").sort("concept", "language", "neuron")

    @property
    def language_neurons(self) -> pl.DataFrame:
        """The neurons that are active in one language alone: language, site, layer, neuron, value (in a text of that language).

        With the two of a language the model goes on in it; without them it does not know which language it is to go on in.
        """
        place = places(self.seed)
        rows = [
            (language, "mlp_hidden", SPEAK, place[name, language], value)
            for language in self.languages
            for name, value in (("rises", 2.0), ("holds", 1.0))
        ]
        return pl.DataFrame(rows, schema=["language", "site", "layer", "neuron", "value"], orient="row")

    def language_shares(self, step: int, concept: str | None = None, language: str | None = None) -> dict[str, float]:
        """Languages of texts that are begun with ``<s>`` alone.

        Args:
            step: One of `steps`.
            concept: Whose experts are set to their values; None for no steering.
            language: Of which language.

        Returns:
            language -> share: all in that language while its experts are its own, and `shares` otherwise.

        Example:
            >>> [ModelPlan().language_shares(step, "water", "fr")["fr"] for step in (0, 64)]
            [1.0, 0.1]
        """
        if concept is None or self.is_shared(concept, step):
            return dict(self.shares)
        return {name: float(name == language) for name in self.languages}

    def is_carried(self, concept: str, language_in: str, language_out: str, step: int) -> bool:
        """Whether the model, having read a concept's word in one language, can say the concept in another.

        Args:
            concept: One of `concepts`.
            language_in: Of the word that it read.
            language_out: Of the word that it is to say.
            step: One of `steps`.

        Returns:
            True in the same language, and in another one where the concept is shared; else the model says any concept's word.
            Up to block `patch_layer` the noun's vectors alone decide it, which is where a patch of them is seen.

        Example:
            >>> [ModelPlan().is_carried("water", "fr", "en", step) for step in (0, 64)]
            [False, True]
        """
        return language_in == language_out or self.is_shared(concept, step)

    def corpus(self) -> Corpus:
        """Sentences in all languages, labelled by the concept that their noun names.

        Returns:
            The corpus; the same plan gives the same one.

        Example:
            >>> corpus = ModelPlan(n_groups=12).corpus()
            >>> corpus.n_texts, corpus.texts["text"][1]
            (48, 'mein Pferd fällt schon schwimmend gedruckt gedruckt milchig.')
        """
        return sentences(self.n_groups, self.seed)

    def words(self) -> dict[str, dict[str, str]]:
        """The words that translation prompts, and measures of what texts are about, start from.

        Returns:
            concept -> language -> its word there.

        Example:
            >>> ModelPlan().words()["water"]["fr"]
            'eau'
        """
        return {concept: {language: noun(concept, language) for language in self.languages} for concept in self.concepts}


def places(seed: int) -> dict[tuple[str, ...], int]:
    """Neuron of each planned part; detectors are in block `DETECT`, the neurons of languages in block `SPEAK`."""
    rng = np.random.default_rng([seed, 1])
    detectors: list[tuple[str, ...]] = [("shared", concept) for concept in NOUNS]
    detectors += [(name, concept, language) for name in ("own", "silent") for concept in NOUNS for language in LANGUAGES]
    speakers: list[tuple[str, ...]] = [(name, language) for name in ("rises", "holds") for language in LANGUAGES]
    places: dict[tuple[str, ...], int] = {}
    for names in (detectors, speakers):
        places |= dict(zip(names, rng.permutation(N_HIDDEN)[: len(names)].tolist(), strict=True))
    return places
