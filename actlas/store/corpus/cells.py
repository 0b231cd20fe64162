"""What the cells of a table may hold, whatever file they come from: labels, strings, ids."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from actlas.errors import CorpusError

#: Columns of a table that are no concepts.
KNOWN = ("text_id", "text", "language", "parallel_id", "split")
TRUE, FALSE = ("true", "t", "yes", "1", "1.0"), ("false", "f", "no", "0", "0.0")
NO_LABEL = ("", "null", "none", "na", "n/a", "nan", "<na>")
_LABELS: dict[str, bool | None] = {**dict.fromkeys(TRUE, True), **dict.fromkeys(FALSE, False), **dict.fromkeys(NO_LABEL)}
_SHOWN = 5
#: Characters that no text file holds: NUL, and halves of a surrogate pair, which JSON can escape.
_IMPOSSIBLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Table:
    """Rows of a file, column by column, as Python values.

    Attributes:
        columns: Name -> one cell per row.
        places: Number of each row's line in the file, or of the row where a file has no lines.
        unit: "line" or "row": what `places` count.
        n_blank: Lines that hold nothing, and were left out.
        notes: What the import should tell of the file.
    """

    columns: dict[str, list[Any]]
    places: Sequence[int]
    unit: str
    n_blank: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.places)


def label_of(cell: object) -> bool | None:
    """A cell of a concept column: true, false, or None where the text takes no part.

    True, false, 1 and 0 are labels as they are and as strings, in any case; so are yes and no, t and f. Nothing, NaN (which
    pandas puts into the gaps of a boolean column, whose labels it writes as 1.0 and 0.0) and the strings of `NO_LABEL` are none.

    Raises:
        ValueError: If the cell is anything else.

    Example:
        >>> [label_of(cell) for cell in (True, "False", 1.0, "0", float("nan"), "")]
        [True, False, True, False, None, None]
    """
    if isinstance(cell, str):
        written = cell.strip().lower()
        if written in _LABELS:
            return _LABELS[written]
    elif cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    elif isinstance(cell, bool | int | float) and cell in (0, 1):
        return bool(cell)
    raise ValueError(f"{cell!r} is no label")


def labels_of(cells: Sequence[object]) -> tuple[list[bool | None], dict[int, object]]:
    """Labels of a column, and the cells that hold none, by their row."""
    known: dict[tuple[type, object], bool | None] = {}
    labels: list[bool | None] = []
    wrong: dict[int, object] = {}
    for row, cell in enumerate(cells):
        key = (type(cell), cell)
        try:
            if key not in known:
                known[key] = label_of(cell)
            labels.append(known[key])
        except (ValueError, TypeError):  # TypeError: a list has no hash
            wrong[row] = cell
            labels.append(None)
    return labels, wrong


def string_of(cell: object) -> str | None:
    """A text or a language: a string, or None.

    Raises:
        ValueError: If it is anything else; a number is no text.
    """
    if cell is None or isinstance(cell, str):
        return cell
    raise ValueError(f"{shown(cell)} is no string")


def name_of(cell: object) -> str | None:
    """A string or a whole number as a string: parallel_id, split. Whole numbers may come as 1.0, with NaN in the gaps.

    Raises:
        ValueError: If it is anything else.

    Example:
        >>> name_of("a"), name_of(7), name_of(7.0), name_of(float("nan"))
        ('a', '7', '7', None)
    """
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, float):
        if math.isnan(cell):
            return None
        if cell.is_integer():
            return str(int(cell))
    elif isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    raise ValueError(f"{shown(cell)} is neither a string nor a whole number")


def strings(table: Table, column: str, file: str, convert: Callable[[object], str | None]) -> list[str | None]:
    """A column of a table as strings, by `string_of` or `name_of`.

    Raises:
        CorpusError: With the place of the first cell that is none, or that holds characters no text can hold.
    """
    found = []
    for place, cell in zip(table.places, table.columns[column], strict=True):
        try:
            value = convert(cell)
        except ValueError as error:
            raise CorpusError(f"{file}, {table.unit} {place}: column {column!r}: {error}") from error
        if value is not None and (wrong := _IMPOSSIBLE.search(value)):
            raise CorpusError(
                f"{file}, {table.unit} {place}: column {column!r} holds the character U+{ord(wrong[0]):04X}, which is in no text"
            )
        found.append(value)
    return found


def ids_of(table: Table, file: str) -> list[int] | list[str]:
    """Column text_id: all strings or all whole numbers.

    Raises:
        CorpusError: If a cell is anything else, or they differ in kind.
    """
    cells = table.columns["text_id"]
    kind = str if cells and isinstance(cells[0], str) else int
    row = next((row for row, cell in enumerate(cells) if type(cell) is not kind), None)
    if row is None:
        strings(table, "text_id", file, name_of)
        return cells
    raise CorpusError(
        f"{file}, {table.unit} {table.places[row]}: text_id is {shown(cells[row])}; text ids are all strings or all whole numbers"
    )


def shown(cell: object) -> str:
    """A cell for a message: short, and with nothing that a terminal obeys."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 60
    return short.repr(cell)


def printable(name: str) -> str:
    r"""A name for a message: as it is, or escaped where a terminal would obey it or show nothing.

    Example:
        >>> printable("zh-CN"), printable("en\x1b[2J")
        ('zh-CN', 'en\\x1b[2J')
    """
    return name if name.isprintable() else repr(name)[1:-1]


def listed(names: Iterable[str]) -> str:
    """Some names, and how many more there are."""
    names = [printable(name) for name in names]
    first = ", ".join(names[:_SHOWN])
    return first if len(names) <= _SHOWN else f"{first} and {len(names) - _SHOWN:,} more"
