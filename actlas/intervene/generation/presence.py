"""Whether a text is about a concept: by the words that the concept has in the text's language, and by a probe."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from actlas.errors import QueryError
from actlas.intervene.generation.values import pooled_values
from actlas.names import Recipe
from actlas.query.questions.interventions.concept_probe import ConceptProbe

if TYPE_CHECKING:
    from actlas.intervene.live import LiveModel

#: First words of the Unicode names of characters that are written without spaces between words.
_WITHOUT_SPACES = frozenset(("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"))


def has_word(texts: Sequence[str], languages: Sequence[str | None], words: Mapping[str, Sequence[str]]) -> pl.Series:
    """Whether each text has one of a concept's words of its own language.

    Upper and lower case are one. A word, or several in a row, has to stand there whole: "rain" is neither in "train" nor in
    "rains", so inflected forms are listed like other words. In scripts without spaces between words it may stand anywhere.

    Args:
        texts: What was written.
        languages: Of each text, in the codes of `words`; null where it could not be told: then words of any language count.
        words: Language -> words of the concept, in all their forms.

    Returns:
        True or False per text, null where the concept has no words in its language.

    Example:
        >>> has_word(["Le pain!", "the pain", "12"], ["fr", "en", None], {"fr": ["pain"], "en": ["bread"]}).to_list()
        [True, False, False]
    """
    own: dict[str | None, _Finder] = {language: _Finder(forms) for language, forms in words.items() if forms}
    if own:
        own[None] = _Finder(form for forms in words.values() for form in forms)
    found = [own[language].is_in(text) if language in own else None for text, language in zip(texts, languages, strict=True)]
    return pl.Series("has_word", found, dtype=pl.Boolean)


def probe_texts(live: LiveModel, recipe: Recipe, probe: ConceptProbe, texts: Sequence[str]) -> pl.Series:
    """How probable it is that each text has a concept, by a probe that was trained on a store's values.

    The texts are read by the model as it is: nothing may be forced meanwhile, or the probe would find what was put there.

    Args:
        live: The checkpoint that the probe was trained on.
        recipe: Of the store that it was trained on.
        probe: See `train_concept_probe`.
        texts: What was written.

    Returns:
        A probability per text; null for a text without a token of its own, and for all texts where the probe is not above chance.

    Raises:
        QueryError: If the probe is one of another checkpoint.
        SiteNotProved: If the model has no such site that was proved.
    """
    if probe.checkpoint != live.checkpoint:
        raise QueryError(f"a probe for values of {probe.checkpoint} says nothing of those of {live.checkpoint}")
    if not probe.is_above_chance:
        return pl.Series("probe_p", [None] * len(texts), dtype=pl.Float64)
    values = pooled_values(live, recipe, texts, probe.site, probe.layer)
    return pl.Series("probe_p", probe.probabilities(values), dtype=pl.Float64).fill_nan(None)


class _Finder:
    """Finds words of one language in texts."""

    def __init__(self, words: Iterable[str]) -> None:
        plain = [_plain(word) for word in words if _spaced(word).strip()]
        self._anywhere = [word for word in plain if any(map(_has_no_spaces, word))]
        self._whole = [_spaced(word) for word in plain if word not in self._anywhere]

    def is_in(self, text: str) -> bool:
        """Whether any of the words stands in a text."""
        text = _plain(text)
        spaced = _spaced(text)
        return any(word in text for word in self._anywhere) or any(word in spaced for word in self._whole)


def _plain(text: str) -> str:
    """A text in one of the ways in which it can be written: no case, one form of every character, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def _spaced(text: str) -> str:
    """The words of a text with one space around each: letters, their marks and numbers; anything else ends a word."""
    kept = (character if unicodedata.category(character)[0] in "LMN" else " " for character in text)
    return f" {' '.join(''.join(kept).split())} "


def _has_no_spaces(character: str) -> bool:
    return unicodedata.name(character, "").partition(" ")[0] in _WITHOUT_SPACES
