"""JSON as rows: one object per line, or an array of objects; nothing that a parser would pass over in silence."""

from __future__ import annotations

import json
from typing import Any

from actlas.errors import CorpusError
from actlas.store.corpus.cells import Table, shown
from actlas.store.corpus.text_files import split_lines


def read_json_lines(text: str, file: str) -> Table:
    """One object per line.

    Raises:
        CorpusError: With the line, if it holds anything else.
    """
    rows, places, n_blank = [], [], 0
    for number, line in enumerate(split_lines(text), start=1):
        if not line.strip(" \t\r\n"):
            n_blank += 1
            continue
        rows.append(_checked_row(parse(line, f"{file}, line {number}"), f"{file}, line {number}"))
        places.append(number)
    return Table(_columns(rows), places, "line", n_blank)


def read_json_array(text: str, file: str) -> Table:
    """An array of objects.

    Raises:
        CorpusError: With the row, if it is anything else.
    """
    content = parse(text, file)
    if not isinstance(content, list):
        raise CorpusError(f"{file}: expected an array of objects, each with a text and a language; got {shown(content)}")
    rows = [_checked_row(row, f"{file}, row {number}") for number, row in enumerate(content, start=1)]
    return Table(_columns(rows), range(1, len(rows) + 1), "row")


def parse(text: str, place: str) -> Any:
    """JSON without keys that repeat and without infinity. NaN is read: Python writes gaps so.

    Raises:
        CorpusError: Saying where.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        within = f", line {error.lineno}" if "\n" in text.rstrip() else ""
        raise CorpusError(f"{place}{within}: not valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise CorpusError(f"{place}: JSON nested too deeply to be a table") from error
    except ValueError as error:
        raise CorpusError(f"{place}: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} stands twice in one object")
    return row


def _constant(name: str) -> float:
    if name == "NaN":
        return float("nan")
    raise ValueError(f"not valid JSON: {name}")


def _checked_row(row: object, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise CorpusError(f"{place}: expected an object with a text and a language, got {shown(row)}")
    for name, cell in row.items():
        if isinstance(cell, list | dict):
            kind = "a list" if isinstance(cell, list) else "an object"
            raise CorpusError(f"{place}: {name!r} is {kind}; a cell is a string, a number, true, false or nothing")
        if not name.strip():
            raise CorpusError(f"{place}: {name!r} is no name of a column")
    return row


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Cells by column, in the order in which columns first appear; None where a row lacks one."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
