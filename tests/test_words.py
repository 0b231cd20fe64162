"""Names and texts in messages."""

from __future__ import annotations

import json
import unicodedata

import pytest

from actlas.errors import ActlasError, CorpusError, CubeNotFound
from actlas.words import listed, no_such, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb\nc\td", "a\\rb\\nc\\td"),
        ("\x9b31m\x85", "\\x9b31m\\x85"),
        ("\u202eevil\u2066x\u2069\u200f", "\\u202eevil\\u2066x\\u2069\\u200f"),
        ("a\u2028b\u2029", "a\\u2028b\\u2029"),
        ("zero\u200bwidth\ufeff\xad", "zero\\u200bwidth\\ufeff\\xad"),
        ("\U000e0041\ud800", "\\U000e0041\\ud800"),
    ],
)
def test_what_a_terminal_would_act_on_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_everything_that_is_seen_stays() -> None:
    text = "naïve 水 مرحبا नमस्ते می‌خواهم 👩‍🔬 C:\\x1b"
    assert printable(text) == text


def test_no_control_or_direction_is_left_out() -> None:
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category in ("Cc", "Zl", "Zp", "Cs") or unicodedata.bidirectional(chr(code)) in (
            *("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"),
        ):
            assert printable(chr(code)) != chr(code), hex(code)


def test_json_keeps_the_string() -> None:
    text = "\x9b\u202e\U000e0041"
    assert json.loads(f'"{printable(text, lambda one: json.dumps(one)[1:-1])}"') == text


def test_every_error_of_ours_is_one_printable_line() -> None:
    for kind in (ActlasError, CorpusError, CubeNotFound):
        assert str(kind("no text\n\x1b[2J in", "x")) == "no text\\n\\x1b[2J in x"


def test_the_nearest_name_comes_first() -> None:
    many = [f"name{number:02}" for number in range(40)]
    message = no_such("language", ["engl"], [*many, "eng"], "s")
    assert message.startswith("no language 'engl' in s; did you mean 'eng'? it has name00")
    assert message.endswith(" and 29 more")
    assert no_such("concept", ["x"], [], "s") == "no concept 'x' in s; it has none"
    assert listed(many[:12]).count(",") == 11
