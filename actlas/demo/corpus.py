"""The demo corpus: parallel sentences in eight languages with exact concept labels, and documents made of them.

A `Meaning` is one combination of concept, frame, opener and name, and has exactly one sentence per language. So
sentences are parallel by construction and the concept of each is known, not guessed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import polars as pl

from actlas.demo.sentences import CATEGORIES, FRAMES, LANGUAGES, NAMES, NOUN_PHRASES, OPENERS, Frame
from actlas.errors import OptionError
from actlas.store.corpus.corpus import Corpus, corpus_from_frames

CONCEPTS: tuple[str, ...] = tuple(concept for concepts in CATEGORIES.values() for concept in concepts)
CATEGORY_OF = {concept: category for category, concepts in CATEGORIES.items() for concept in concepts}
#: The languages that the demo's models learn.
DEMO_LANGUAGES: tuple[str, ...] = ("en", "es", "fr", "de", "id")
#: Evaluation meanings per concept: 384 sentences per language.
HELD_OUT_PER_CONCEPT = 16

DocumentKind = Literal["mono", "para", "mixed"]

_ARTICLE = re.compile(r"^(?:the |el |la |le |lo |il |o |a |l'|der |die |das )")
_LANGUAGES_WITHOUT_ARTICLE = ("id", "sw")


@dataclass(frozen=True)
class Noun:
    """The three forms of a concept's noun in one language: bare, as a subject, as a direct object."""

    bare: str
    subject: str
    direct_object: str


@cache
def nouns(language: str) -> dict[str, Noun]:
    """Concept -> its noun in `language`."""
    phrases = NOUN_PHRASES[language].split(", ")
    return {c: _noun(language, c, phrase) for c, phrase in zip(CONCEPTS, phrases, strict=True)}


def _noun(language: str, concept: str, phrase: str) -> Noun:
    if language == "sw":
        return Noun(phrase, phrase, phrase)
    if language == "id":
        return Noun(phrase, f"{phrase} itu", f"{phrase} itu")
    bare = _ARTICLE.sub("", phrase, count=1)
    if language == "de" and phrase.startswith("der "):
        return Noun(bare, phrase, f"den {bare}")
    if language == "es" and CATEGORY_OF[concept] == "animal":
        return Noun(bare, phrase, f"al {bare}" if phrase.startswith("el ") else f"a {phrase}")
    return Noun(bare, phrase, phrase)


def concept_words(concept: str, languages: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The noun of `concept` in some languages; it has one form in each.

    Example:
        >>> concept_words("cow", ["en", "fr"])
        {'en': ('cow',), 'fr': ('vache',)}
    """
    return {language: (nouns(language)[concept].bare,) for language in languages}


@dataclass(frozen=True, order=True)
class Meaning:
    """What one sentence says, apart from the language it says it in.

    Attributes:
        concept: The one concept that the sentence expresses.
        frame: Index into `FRAMES`.
        opener: Index into `OPENERS` of the frame's kind.
        name: Who is named; empty where the frame names no person.

    Example:
        >>> meaning = Meaning("river", frame=8, opener=3)
        >>> meaning.text("en"), meaning.text("de")
        ('It is true: from here I do not see the river.', 'Es stimmt: Von hier sehe ich den Fluss nicht.')
    """

    concept: str
    frame: int
    opener: int
    name: str = ""

    def text(self, language: str) -> str:
        """The sentence in `language`, one of `LANGUAGES`."""
        frame = FRAMES[self.frame]
        noun = nouns(language)[self.concept]
        sentence = frame.texts[language].format(N=noun.bare, D=noun.subject, A=noun.direct_object, P=self.name)
        opener = OPENERS[frame.kind][self.opener][language]
        # German writes a whole sentence after a colon with a capital, the other languages do not.
        if not opener or (language == "de" and opener.endswith(":")):
            sentence = _capitalised(sentence)
        return f"{opener} {sentence}".lstrip()


def _capitalised(sentence: str) -> str:
    first = next(i for i, letter in enumerate(sentence) if letter.isalpha())
    return sentence[:first] + sentence[first].upper() + sentence[first + 1 :]


def frames_for(concept: str) -> list[tuple[int, Frame]]:
    """The frames that make sense with `concept`, with their index into `FRAMES`."""
    fitting = ("any", CATEGORY_OF[concept])
    return [(index, frame) for index, frame in enumerate(FRAMES) if frame.category in fitting]


def all_meanings() -> list[Meaning]:
    """Every distinct meaning, in a fixed order."""
    return [
        Meaning(concept, index, opener, name)
        for concept in CONCEPTS
        for index, frame in frames_for(concept)
        for opener in range(len(OPENERS[frame.kind]))
        for name in (NAMES if frame.has_person else ("",))
    ]


def split_meanings(seed: int = 0) -> tuple[list[Meaning], list[Meaning]]:
    """Training meanings and held-out meanings; `HELD_OUT_PER_CONCEPT` of every concept are held out.

    Args:
        seed: Decides which meanings are held out and the order of both lists.

    Returns:
        Two disjoint lists that together are `all_meanings()`.
    """
    shuffled = all_meanings()
    random.Random(seed).shuffle(shuffled)
    training: list[Meaning] = []
    held_out: list[Meaning] = []
    room = dict.fromkeys(CONCEPTS, HELD_OUT_PER_CONCEPT)
    for meaning in shuffled:
        if room[meaning.concept]:
            room[meaning.concept] -= 1
            held_out.append(meaning)
        else:
            training.append(meaning)
    return training, held_out


class DocumentSampler:
    """Draws documents of three sentences from training meanings.

    - ``mono``: one language, one concept, three meanings
    - ``para``: one meaning in three languages
    - ``mixed``: one concept, three meanings, a language drawn for each

    Args:
        meanings: What sentences may say.
        languages: Languages drawn from, all equally often.
        shares: Kind -> how often it is drawn, relative to the others.
        seed: Seed of every draw.

    Raises:
        ValueError: If parallel documents are asked of fewer than three languages.
    """

    SENTENCES = 3

    def __init__(
        self, meanings: Sequence[Meaning], languages: Sequence[str], shares: dict[DocumentKind, float], seed: int
    ) -> None:
        if shares.get("para") and len(languages) < self.SENTENCES:
            raise OptionError(f"parallel documents need {self.SENTENCES} languages; there are {', '.join(languages)}")
        self._random = random.Random(seed)
        self._meanings = list(meanings)
        self._languages = list(languages)
        self._kinds = list(shares)
        self._weights = list(shares.values())
        self._by_concept: dict[str, list[Meaning]] = {}
        for meaning in self._meanings:
            self._by_concept.setdefault(meaning.concept, []).append(meaning)

    def draw(self) -> list[tuple[Meaning, str]]:
        """One document: sentences in reading order, each a meaning and a language."""
        kind = self._random.choices(self._kinds, self._weights)[0]
        first = self._random.choice(self._meanings)
        if kind == "para":
            return [(first, language) for language in self._random.sample(self._languages, self.SENTENCES)]
        meanings = [first, *self._random.choices(self._by_concept[first.concept], k=self.SENTENCES - 1)]
        if kind == "mono":
            language = self._random.choice(self._languages)
            return [(meaning, language) for meaning in meanings]
        return [(meaning, self._random.choice(self._languages)) for meaning in meanings]


def demo_corpus(languages: Sequence[str] = DEMO_LANGUAGES, seed: int = 0) -> Corpus:
    """The held-out sentences as a corpus of a store: every text labelled for all 24 concepts, translations linked.

    Args:
        languages: Order of the text axis.
        seed: As in `split_meanings`.

    Returns:
        384 texts per language. `parallel_id` is shared by the translations of one meaning.

    Raises:
        ValueError: If a language is not one of `LANGUAGES`.
    """
    unknown = [language for language in languages if language not in LANGUAGES]
    if unknown:
        raise OptionError(f"no demo sentences in {', '.join(unknown)}; there are {', '.join(LANGUAGES)}")
    _, held_out = split_meanings(seed)
    rows = [(language, number, meaning) for language in languages for number, meaning in enumerate(held_out)]
    texts = pl.DataFrame(
        {
            "text_id": range(len(rows)),
            "text": [meaning.text(language) for language, _, meaning in rows],
            "language": [language for language, _, _ in rows],
            "parallel_id": [f"m{number:03d}" for _, number, _ in rows],
            "split": pl.Series([None] * len(rows), dtype=pl.Utf8),
        },
        schema_overrides={"text_id": pl.Int64},
    )
    expressed = pl.Series([meaning.concept for _, _, meaning in rows])
    labels = pl.concat(
        pl.DataFrame({"text_id": texts["text_id"], "concept": [concept] * len(rows), "is_concept": expressed == concept})
        for concept in CONCEPTS
    )
    return corpus_from_frames(texts, labels)
