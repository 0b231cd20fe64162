from __future__ import annotations

import time
import unicodedata

import pytest

from actlas.errors import CorpusError
from actlas.store.corpus.patterns import matches


def found(expression: str, *lines: str) -> list[bool]:
    return matches("c", expression, lines)[0]


def warned(expression: str, *lines: str) -> str:
    (line,) = matches("c", expression, lines)[1]
    return line


@pytest.mark.parametrize("expression", [r"(a+)+$", r"(a|aa)+$", r"(.*a){12}$", r"^(\w+\s?)*$"])
def test_no_expression_runs_on(expression: str) -> None:
    start = time.monotonic()
    assert found(expression, "a" * 40 + "!", "b") == [False, expression.endswith("?)*$")]
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_accents_match_however_they_are_written(form: str, written: str) -> None:
    expression = unicodedata.normalize(written, r"\bcafé\b")
    assert found(expression, *(unicodedata.normalize(form, line) for line in ("Un CAFÉ.", "cafe", "cafés"))) == [
        True,
        False,
        False,
    ]
    # the accent is part of the word, in either form
    assert found(r"\bcafe\b", unicodedata.normalize(form, "café")) == [False]


def test_case_is_no_matter_unless_it_is_said() -> None:
    assert found("istanbul", "ISTANBUL", "İstanbul", "istanbul") == [True, True, True]
    assert found("(?-i:US)", "US", "us") == [True, False]
    assert found("straße", "STRASSE") == [False]


def test_vowel_signs_are_part_of_words() -> None:
    assert found(r"\bपानी\b", "पानी है", "यह पानी", "पानीदार") == [True, True, False]


def test_word_boundaries_in_scripts_without_blanks_are_warned_of() -> None:
    lines = ["中国", "在中国的人", "他说中国话", "nothing here"]
    assert found(r"\b中国\b", *lines) == [True, False, False, False]
    line = warned(r"\b中国\b", *lines)
    assert r"concept c: '\b中国\b' is found in 1 lines, and without its word boundaries in 3, such as '在中国的人'" in line
    assert "Han text has no blanks" in line
    assert "with blanks beside that script in 1" in warned(r"\bdog\b", "一只dog在", "hotdog")
    for text, script in (("ผมดื่มน้ำทุกวัน", "Thai"), ("ຂ້ອຍດື່ມນ້ຳ", "Lao"), ("水をのむ", "kana")):
        assert script in warned(rf"\b{text[3:5] if script != 'kana' else 'のむ'[:1]}\b", text)


@pytest.mark.parametrize("expression", [r"(^|\W)中国(\W|$)", r"\s中国\s", r"(?:^|\W+)中国\b"])
def test_boundaries_written_out_are_boundaries(expression: str) -> None:
    assert "without its word boundaries in 2" in warned(expression, "在中国的人", "他说中国话", "没有")
    assert "with blanks beside that script in 1" in warned(expression.replace("中国", "dog"), "一只dog在", "hotdog")


def test_no_warning_where_boundaries_do_no_harm() -> None:
    for expression, lines in (
        ("中国", ["在中国的人"]),
        (r"\bdog\b", ["a dog", "hotdog", "在中国"]),
        (r"\\bdog", ["在中国dog"]),
        (r"\bводa\b", ["a"]),
    ):
        assert matches("c", expression, lines)[1] == ()


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("(", r"concept 'c': '\(' is not a regular expression: unclosed group"),
        (r"(?<!a)b", "lookaround or a backreference"),
        (r"(a)\1", "lookaround or a backreference"),
        (r"a{5000}{5000}", "too large an expression"),
    ],
)
def test_what_the_engine_cannot_search_is_refused(expression: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        found(expression, "a")
    assert "\n" not in str(caught.value)
