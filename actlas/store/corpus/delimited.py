"""CSV and TSV: every row of the file is a row of the table, or the file is refused with its line."""

from __future__ import annotations

import csv
import re
import sys
from typing import Any

from actlas.errors import CorpusError
from actlas.names import QUOTINGS
from actlas.store.corpus.cells import KNOWN, Table, labels_of, listed, shown
from actlas.store.corpus.text_files import split_lines, without_end

#: A cell between quotation marks, its own marks doubled.
_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
#: What the name of a language looks like: en, zh-CN, spa_Latn.
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*")
_REASONS = {
    "unexpected end of data": "a quotation mark opens a cell and never closes",
    "expected after": "text follows a closing quotation mark (a mark that belongs to the text is doubled, and its cell quoted)",
    "new-line character": "a carriage return inside of a cell that is not quoted",
}

#: A row's first line, and its cells; none where the line is blank.
Row = tuple[int, list[str]]


def read_delimited(text: str, file: str, separator: str, quoting: str = "auto") -> Table:
    """Rows of a CSV or TSV file, cells as strings, None where a cell is empty.

    Args:
        text: What the file holds.
        file: Its name, for messages.
        separator: What stands between cells.
        quoting: "csv": cells may stand in quotation marks as RFC 4180 has it, and then hold separators and line ends. "none":
            a quotation mark is a character like any other. "auto": "csv" for commas; for tabs see `_is_quoted`.

    Returns:
        The table; blank lines are left out and counted.

    Raises:
        CorpusError: With a line, if a row has more or fewer cells than the heading, a quotation mark never closes, or it swallows
            whole rows; if a column has no name, or two have one.
    """
    if quoting not in QUOTINGS:
        raise CorpusError(f"quoting {quoting!r} is not known; choose one of {', '.join(QUOTINGS)}")
    lines = split_lines(text)
    notes: list[str] = []
    if quoting == "none":
        rows = _plain_rows(lines, file, separator)
    elif quoting == "csv" or separator == ",":
        rows = _quoted_rows(lines, file, separator)
    elif _is_quoted(lines, file):
        rows = _quoted_tsv(lines, file)
        notes.append("quotation marks are taken as those of quoted cells; --quoting none keeps them as text")
    else:
        rows = _plain_rows(lines, file, separator)
    _refuse_mixed_ends(lines, [line for line, _ in rows], file)
    n_blank = sum(not cells for _, cells in rows)
    rows = [row for row in rows if row[1]]
    if not rows:
        raise CorpusError(f"{file}: the file is empty")
    (_, heading), *rows = rows
    if len(heading) == 1 and "language" in heading[0]:
        raise CorpusError(f"{file}: the heading has one column, {heading[0]!r}; cells of such a file stand between {separator!r}")
    check_names(heading, file)
    for line, cells in rows:
        if len(cells) != len(heading):
            raise CorpusError(f"{file}, line {line}: {len(cells)} cells, and the heading has {len(heading)}")
    several = [row for row in rows if any("\n" in cell or "\r" in cell for cell in row[1])]
    if several:
        _refuse_swallowed(several, rows, heading, separator, file)
        notes.append(f"{len(several):,} rows hold line ends inside of quotation marks, the first begins in line {several[0][0]}")
    columns: dict[str, list[Any]] = {name: [cells[column] or None for _, cells in rows] for column, name in enumerate(heading)}
    return Table(columns, [line for line, _ in rows], "line", n_blank, tuple(f"{file}: {note}" for note in notes))


def _plain_rows(lines: list[str], file: str, separator: str) -> list[Row]:
    rows = []
    for number, line in enumerate(lines, start=1):
        content = without_end(line)
        if "\r" in content:
            raise CorpusError(f"{file}, line {number}: {_REASONS['new-line character'].replace(' that is not quoted', '')}")
        rows.append((number, content.split(separator) if content else []))
    return rows


def _quoted_rows(lines: list[str], file: str, separator: str) -> list[Row]:
    rows: list[Row] = []
    longest = csv.field_size_limit(sys.maxsize)
    try:
        reader = csv.reader(lines, delimiter=separator, strict=True)
        while True:
            first = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return rows
            except csv.Error as error:
                reason = next((own for theirs, own in _REASONS.items() if theirs in str(error)), str(error))
                raise CorpusError(f"{file}, line {first}: {reason}") from error
            rows.append((first, cells))
    finally:
        csv.field_size_limit(longest)


def _quoted_tsv(lines: list[str], file: str) -> list[Row]:
    """Rows of a TSV file that quotes; where it cannot be read so, the message says both readings."""
    try:
        return _quoted_rows(lines, file, "\t")
    except CorpusError as error:
        raise CorpusError(f'{error}; quoting "none" takes quotation marks as text') from error


def _is_quoted(lines: list[str], file: str) -> bool:
    """Whether quotation marks in a TSV file quote cells, as some writers do, or are text, as the format has it.

    They quote where all of the heading is quoted, where without quoting some line has too many or too few cells, or where every
    cell that holds a mark is quoted and has its own marks doubled. Otherwise they are text, also around a whole cell.

    Raises:
        CorpusError: If some cells are quoted for certain and others hold a mark that no writer would have left so.
    """
    rows = [(number, without_end(line).split("\t")) for number, line in enumerate(lines, start=1) if without_end(line)]
    marked = [(number, cell) for number, cells in rows for cell in cells if '"' in cell]
    if not marked:
        return False
    heading = rows[0][1]
    if all(_QUOTED.fullmatch(cell) for cell in heading) or any(len(cells) != len(heading) for _, cells in rows):
        return True
    is_doubled = ['""' in cell[1:-1] and _QUOTED.fullmatch(cell) is not None for _, cell in marked]
    doubled = [item for item, is_it in zip(marked, is_doubled, strict=True) if is_it]
    if doubled and len(doubled) < len(marked):
        other = marked[is_doubled.index(False)]
        raise CorpusError(
            f"{file}: line {doubled[0][0]} holds a quoted cell ({shown(doubled[0][1])}), and line {other[0]} one whose quotation "
            f"marks are text ({shown(other[1])}); say which they are: --quoting csv or --quoting none"
        )
    return bool(doubled)


def _refuse_mixed_ends(lines: list[str], first: list[int], file: str) -> None:
    r"""Refuse rows that end in \r\n here and in \n there: some writers leave a \r at the end of a text bare."""
    ends: dict[str, int] = {}
    for number in [*(number - 1 for number in first[1:]), len(lines)]:
        if number and (end := lines[number - 1][len(without_end(lines[number - 1])) :]):
            ends.setdefault(end, number)
    if len(ends) > 1:
        end, other = sorted(ends, key=lambda end: ends[end])[:2]
        raise CorpusError(
            f"{file}, line {ends[other]}: rows before this one end in {end!r} and this one in {other!r}, so a '\\r' at the end "
            "of a text could not be told from a line end; save the file with one kind of line end"
        )


def check_names(names: list[str], file: str) -> None:
    """Refuse columns without a name, and two of one name.

    Raises:
        CorpusError: Naming them.
    """
    unnamed = [str(place) for place, name in enumerate(names, start=1) if not name.strip()]
    if unnamed:
        raise CorpusError(
            f"{file}: column {listed(unnamed)} has no name; an index that was written with the table (pandas: index=False leaves "
            "it out) is no concept. Name it or leave it out"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CorpusError(f"{file}: {listed(map(repr, twice))} heads more than one column; a column needs a name of its own")


def _refuse_swallowed(several: list[Row], rows: list[Row], heading: list[str], separator: str, file: str) -> None:
    """Refuse a quoted cell that holds a line which reads as a row: a stray mark opened it."""
    if "language" not in heading:
        return
    place, several_lines = heading.index("language"), {line for line, _ in several}
    languages = {cells[place] for line, cells in rows if line not in several_lines} or {cells[place] for _, cells in rows}
    concepts = [column for column, name in enumerate(heading) if name not in KNOWN]

    def is_row(cells: list[str]) -> bool:
        if cells[place] in languages:
            return True
        labels, wrong = labels_of([cells[column] for column in concepts])
        return bool(_LANGUAGE.fullmatch(cells[place])) and not wrong and labels != [None] * len(labels)

    for line, cells in several:
        for column, cell in enumerate(cells):
            parts = re.split("\r\n|\n|\r", cell)
            for number, part in enumerate(parts if len(parts) > 1 else []):
                inside = part.split(separator)
                before = cells[:column] if number == 0 else []
                after = cells[column + 1 :] if number == len(parts) - 1 else []
                # the language must stand in the part, not in the cells beside it
                is_there = len(before) <= place < len(before) + len(inside)
                if is_there and len(before) + len(inside) + len(after) == len(heading) and is_row([*before, *inside, *after]):
                    raise CorpusError(
                        f"{file}, line {line}: a quotation mark opens a cell that goes on over {len(parts)} lines and holds what "
                        f"reads as a row of its own ({shown(part)}). A mark that belongs to the text is doubled, and its cell "
                        "quoted; or save the table as JSONL"
                    )
