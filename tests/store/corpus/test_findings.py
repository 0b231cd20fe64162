from __future__ import annotations

import polars as pl
import pytest

from actlas.store import Corpus, corpus_from_frames


def corpus(*rows: tuple[str, str, object], concept: str = "sea") -> Corpus:
    texts = pl.DataFrame([row[:2] for row in rows], schema=["text", "language"], orient="row")
    labels = pl.DataFrame({"text_id": range(len(rows)), "concept": concept, "is_concept": [row[2] for row in rows]})
    return corpus_from_frames(texts, labels)


def test_repeated_contradictory_and_unlabelled_texts_are_counted_and_named() -> None:
    found = corpus(
        ("wave", "en", True), ("wave", "en", False), ("wave", "en", True), ("sand", "en", False), ("rock", "en", None),
        ("wave", "es", False), ("roca", "es", True), ("roca", "es", True),
    )  # fmt: skip
    assert found.counts == {
        "read": 8,
        "kept": 8,
        "repeated": 3,
        "contradictory": 1,
        "unlabelled": 1,
        "dropped": 0,
    }
    assert found.warnings == (
        "en: 2 of 5 texts repeat another one ('wave' 3 times); they may stand on both sides of a split",
        "en: 1 texts are labelled both true and false for a concept ('wave' for sea); both labels count",
        "es: 1 of 3 texts repeat another one ('roca' 2 times); they may stand on both sides of a split",
    )


def test_a_text_of_two_languages_repeats_nothing() -> None:
    assert corpus(("a", "en", True), ("b", "en", False), ("a", "es", False), ("c", "es", True)).warnings == ()


def test_many_are_summed_up() -> None:
    rows = [(f"text {n % 20}", "en", n < 20) for n in range(40)]
    first, second = corpus(*rows).warnings
    assert "20 of 40 texts repeat" in first
    assert "'text 4' 2 times and 15 more" in first
    assert "20 texts are labelled both true and false" in second


@pytest.mark.parametrize("other", ["EN", "en ", " en"])
def test_names_that_differ_in_nothing_to_see_are_warned_of(other: str) -> None:
    found = corpus(("a", "en", True), ("b", "en", False), ("c", other, True), ("d", other, False))
    assert found.warnings == (f"languages 'en', {other!r} differ in case, blanks or accents' form alone",)


def test_concepts_whose_names_are_the_same_in_another_form_are_warned_of() -> None:
    texts = pl.DataFrame({"text": ["a", "b"], "language": "en"})
    rows = [(0, "café", True), (1, "café", False), (0, "cafe\u0301", False), (1, "cafe\u0301", True)]
    (line,) = corpus_from_frames(texts, pl.DataFrame(rows, schema=["text_id", "concept", "is_concept"], orient="row")).warnings
    assert line == "concepts 'cafe\u0301', 'café' differ in case, blanks or accents' form alone"


def test_names_in_warnings_say_nothing_to_a_terminal() -> None:
    found = corpus(("a", "e\x1b]0;t\x07", True), ("a", "e\x1b]0;t\x07", False), concept="c\u202e\r")
    assert len(found.warnings) == 2
    assert all(line.isprintable() for line in found.warnings)


def test_traces_of_damage_in_texts_are_warned_of() -> None:
    first, second = corpus(("caf\ufffd", "en", True), ("\ufeffsea", "en", False)).warnings
    assert "1 texts hold U+FFFD" in first
    assert "1 texts hold U+FEFF" in second
    assert "text 1" in second


def test_one_file_given_for_two_languages_is_warned_of() -> None:
    rows = [(text, language, text == "a") for language in ("en", "es", "fr") for text in ("a", "b" if language != "fr" else "c")]
    assert corpus(*rows).warnings == ("languages en, es have the same texts",)
