"""Words are found whole, whatever their case and form, in the language of the text alone."""

from __future__ import annotations

import pytest

from actlas.intervene.generation.presence import has_word

RAIN = {
    "en": ["rain", "rains", "acid rain"],
    "fr": ["pluie"],
    "zh": ["雨"],
    "th": ["ฝน"],
    "hi": ["पान"],
    "de": ["Straße", "Wasser"],
}


@pytest.mark.parametrize(
    ("text", "language", "is_there"),
    [
        ("The RAIN.", "en", True),
        ("(rain)", "en", True),
        ("It rains", "en", True),
        ("the train rained", "en", False),
        ("rain_coat", "en", True),
        ("l'eau de pluie", "fr", True),
        ("d'une pluie-là", "fr", True),
        ("la pluie", "en", False),
        ("La pluie", None, True),
        ("rien", None, False),
        ("今天下雨了", "zh", True),
        ("今天", "zh", False),
        ("เมื่อวานฝนตก", "th", True),
        # the vowel sign belongs to the word: this one is "water"
        ("पानी", "hi", False),
        ("पान ।", "hi", True),
        ("STRASSE", "de", True),
        ("Wasserfall", "de", False),
        ("ｒａｉｎ", "en", True),
        ("rain", "es", None),
        ("", "en", False),
    ],
)
def test_a_word_is_there_or_not(text: str, language: str | None, is_there: bool | None) -> None:
    assert has_word([text], [language], RAIN).to_list() == [is_there]


def test_words_of_several_parts_stand_in_a_row() -> None:
    words = {"en": ["ice cream"]}
    texts = ["Ice-cream!", "ice\ncream", "ice and cream", "nice creams"]
    assert has_word(texts, ["en"] * 4, words).to_list() == [True, True, False, False]


def test_accents_are_found_however_they_are_written() -> None:
    assert has_word(["cafe\u0301", "café", "cafe"], ["fr"] * 3, {"fr": ["café"]}).to_list() == [True, True, False]


def test_without_words_nothing_is_known() -> None:
    assert has_word(["rain", "rain"], ["en", None], {}).to_list() == [None, None]
    assert has_word(["rain"], ["en"], {"en": []}).to_list() == [None]
    assert has_word(["", "rain"], ["en", "en"], {"en": ["", "-"]}).to_list() == [False, False]
    assert has_word([], [], RAIN).is_empty()
