"""Bytes of a text file -> its characters and lines, with nothing replaced, merged or guessed."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from actlas.errors import CorpusError

_OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(path: Path) -> str:
    """The characters of a UTF-8 file, without the byte order mark that it may begin with.

    Raises:
        CorpusError: If there is no such file, or it is in another encoding, is not valid, or holds NUL characters; with the line.
    """
    if not path.is_file():
        raise CorpusError(f"no file {path}")
    data = path.read_bytes()
    for mark, encoding in _OTHER_ENCODINGS.items():
        if data.startswith(mark):
            raise CorpusError(f"{path.name}: this file is {encoding}; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # positions count from behind a byte order mark
        place = error.start + len(data) - len(error.object)
        line = data[:place].count(b"\n") + 1
        raise CorpusError(
            f"{path.name}, line {line}: not valid UTF-8 (byte 0x{data[place]:02x}) at byte {place + 1:,}; save the file as UTF-8"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise CorpusError(f"{path.name}, line {line}: a NUL character; is this UTF-16, or no text at all? Save it as UTF-8 text")
    return text


def split_lines(text: str) -> list[str]:
    r"""The lines of a text with their ends, which are \n or \r\n; \r where the text has no other.

    Other characters that `str.splitlines` cuts at, such as U+2028 and U+0085, occur inside texts.

    Example:
        >>> split_lines("one\r\ntwo\u2028three\n"), split_lines("one\rtwo")
        (['one\r\n', 'two\u2028three\n'], ['one\r', 'two'])
    """
    end = "\n" if "\n" in text or "\r" not in text else "\r"
    return re.findall(f"[^{end}]*{end}|[^{end}]+", text)


def without_end(line: str) -> str:
    r"""A line without the \n, \r\n or \r that ends it."""
    return line[:-2] if line.endswith("\r\n") else line[:-1] if line.endswith(("\n", "\r")) else line


def plain_lines(text: str, file: str) -> list[str]:
    r"""The lines of a text without their ends.

    Raises:
        CorpusError: If a \r stands inside a line: it ends lines in some editors, and would be part of a text here.
    """
    lines = [without_end(line) for line in split_lines(text)]
    for number, line in enumerate(lines, start=1):
        if "\r" in line:
            raise CorpusError(
                f"{file}, line {number}: a carriage return inside of the line; lines here end in different ways. Save the file "
                "with one kind of line end"
            )
    return lines
