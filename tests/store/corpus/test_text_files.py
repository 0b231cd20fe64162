from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlas.errors import CorpusError
from actlas.store.corpus.text_files import plain_lines, read_text, split_lines

CUT_BY_SPLITLINES = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]


@pytest.mark.parametrize("character", CUT_BY_SPLITLINES)
def test_only_newlines_end_a_line(character: str) -> None:
    assert split_lines(f"a{character}b\nc") == [f"a{character}b\n", "c"]
    assert plain_lines(f"a{character}b\r\nc\r\n", "f") == [f"a{character}b", "c"]


@given(st.text(max_size=30))
def test_lines_with_their_ends_are_the_text(text: str) -> None:
    assert "".join(split_lines(text)) == text


def test_files_of_carriage_returns_alone_have_lines_too() -> None:
    assert plain_lines("one\rtwo\r", "f") == ["one", "two"]
    with pytest.raises(CorpusError, match=r"f, line 2: a carriage return inside of the line"):
        plain_lines("one\ntwo\rthree\n", "f")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb\xe9c\n", r"f.txt, line 2: not valid UTF-8 \(byte 0xe9\) at byte 4"),
        (b"\xef\xbb\xbfa\n\xff", r"line 2: not valid UTF-8 \(byte 0xff\) at byte 6"),
        ("añb\n".encode("utf-16"), "f.txt: this file is UTF-16; save it as UTF-8"),
        ("añb\n".encode("utf-32"), "this file is UTF-32"),
        ("ab\ncd\n".encode("utf-16-le"), "line 1: a NUL character; is this UTF-16"),
        (b"a\nb\0\n", "line 2: a NUL character"),
    ],
)
def test_what_is_no_utf8_text_is_refused_with_its_place(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "f.txt").write_bytes(data)
    with pytest.raises(CorpusError, match=message):
        read_text(tmp_path / "f.txt")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_bytes(b"\xef\xbb\xbfone\n")
    assert read_text(tmp_path / "f.txt") == "one\n"
