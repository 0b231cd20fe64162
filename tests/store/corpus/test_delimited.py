from __future__ import annotations

import csv
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlas.errors import CorpusError
from actlas.store.corpus.cells import Table
from actlas.store.corpus.delimited import read_delimited

CHARACTERS = st.sampled_from(['"', '""', ",", "\t", "\n", "\r\n", "\u2028", "\x85", "\x0c", "a", " ", "é", "水", "\\", "'", "en"])
TEXTS = st.lists(st.lists(CHARACTERS, min_size=1, max_size=6).map("".join), min_size=1, max_size=6)


def texts(content: str, separator: str = "\t", **how: str) -> list[object]:
    return read_delimited(content, "f", separator, **how).columns["text"]


def attempt(content: str, separator: str, quoting: str) -> tuple[Table | None, str]:
    try:
        return read_delimited(content, "f", separator, quoting), ""
    except CorpusError as error:
        return None, str(error)


@given(TEXTS, st.sampled_from([",", "\t"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.booleans())
def test_what_a_writer_quotes_comes_back_or_is_refused(rows: list[str], separator: str, quoting: int, is_last: bool) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=separator, quoting=quoting, lineterminator="\r\n")
    writer.writerow(["language", "text"] if is_last else ["text", "language"])
    writer.writerows([["en", text] if is_last else [text, "en"] for text in rows])
    found, refusal = attempt(buffer.getvalue(), separator, "csv")
    if found is None:
        # a text that holds a whole row cannot be told from rows that a stray mark swallowed
        assert "reads as a row of its own" in refusal
        assert any(f"en{separator}" in text or f"{separator}en" in text for text in rows)
    else:
        assert found.columns["text"] == rows


@given(TEXTS, st.booleans())
def test_text_without_quoting_comes_back_as_it_is(rows: list[str], is_last: bool) -> None:
    rows = [text.replace("\t", "").replace("\r", "").replace("\n", "") or "x" for text in rows]
    lines = ["language\ttext", *(f"en\t{text}" for text in rows)] if is_last else ["text\tlanguage", *(f"{t}\ten" for t in rows)]
    content = "\n".join(lines) + "\n"
    assert texts(content, quoting="none") == rows
    table, refusal = attempt(content, "\t", "auto")
    if table is None:
        assert "say which they are" in refusal
    else:
        assert len(table.places) == len(rows)
        assert table.columns["text"] == rows or table.notes  # where marks are taken as quoting, the note says so


ROWS = [("true", "first"), ("false", '"Go home'), ("true", "middle"), ("true", 'he said"'), ("false", '"quoted whole"')]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_stray_quotation_marks_in_tsv_are_text(end: str) -> None:
    content = end.join(["language\twater\ttext", *(f"en\t{label}\t{text}" for label, text in ROWS)])
    assert texts(content) == [text for _, text in ROWS]
    content = end.join(["text\twater\tlanguage", *(f"{text}\t{label}\ten" for label, text in ROWS)])
    assert texts(content) == [text for _, text in ROWS]


@pytest.mark.parametrize(
    "content",
    [
        'language,water,text\nen,true,"Go home\nen,false,middle\nen,true,he said"\nen,true,last\n',
        'language,water,text\nen,true,"Go home\nen,true,he said"\nen,true,last\n',
        'text,language,water\n"Go home,en,true\nhe said",en,true\nlast,en,false\n',
        'language,text,water\nen,"Go home,true\nen,he said",false\nen,last,true\n',
        'text,language,water\n"Go home,en,true\nmiddle,en,true\nhe said",en,true\nlast,en,false\n',
        'text,language,water\nfirst,en,true\n"Va t\'en,fr,true\nassez,fr,false\nil dit",fr,true\nlast,en,false\n',
        'language,text\r\nen,"Go home\r\nen,he said"\r\nen,last\r\n',
    ],
)
def test_rows_that_a_stray_mark_swallows_in_csv_are_refused(content: str) -> None:
    with pytest.raises(CorpusError, match="f, line [23]: a quotation mark opens a cell that goes on over .* reads as a row"):
        texts(content, ",")


def test_line_ends_inside_of_quotation_marks_are_text() -> None:
    content = 'text,language\n"Two lines,\nsaid she, en\r\nand more",en\n"one ""marked""",en\n\nlast,en\n'
    table = read_delimited(content, "f", ",")
    assert table.columns["text"] == ["Two lines,\nsaid she, en\r\nand more", 'one "marked"', "last"]
    assert table.places == [2, 5, 7]
    assert table.n_blank == 1
    assert "1 rows hold line ends inside of quotation marks, the first begins in line 2" in table.notes[0]


@pytest.mark.parametrize(
    ("content", "separator", "message"),
    [
        ('text,language\n"a,en\nb,en\n', ",", "f, line 2: a quotation mark opens a cell and never closes"),
        ('text,language\n"a"b,en\n', ",", "f, line 2: text follows a closing quotation mark"),
        ("text,language\na,en\nb\nc,en\n", ",", "f, line 3: 1 cells, and the heading has 2"),
        ("text,language\na,en\nb,en,1\n", ",", "f, line 3: 3 cells, and the heading has 2"),
        ("text\tlanguage\na\ten\nb\n", "\t", "f, line 3: 1 cells, and the heading has 2"),
        ('text\tlanguage\n"a\ten\nb\n', "\t", 'never closes; quoting "none" takes quotation marks as text'),
        ("text,language\na\rb,en\n", ",", "line 2: a carriage return inside of a cell"),
        ("text\tlanguage\na\rb\ten\n", "\t", "line 2: a carriage return inside of a cell"),
        (",text,language\n0,a,en\n", ",", "column 1 has no name; an index .* index=False"),
        ("text,language,c,c\na,en,1,0\n", ",", "'c' heads more than one column"),
        ("text;language\na;en\n", ",", "the heading has one column, 'text;language'"),
        ("", ",", "the file is empty"),
        ("\n\n", "\t", "the file is empty"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(content: str, separator: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read_delimited(content, "f", separator)


def test_tsv_that_was_written_with_quoting_is_read_with_it() -> None:
    assert texts('text\tlanguage\n"c\td"\ten\n"e ""f"""\ten\n') == ["c\td", 'e "f"']
    assert texts('text\tlanguage\n"e ""f"""\ten\n') == ['e "f"']
    assert texts('"text"\t"language"\n"plain"\t"en"\n') == ["plain"]
    assert texts('text\tlanguage\n"e ""f"""\ten\n', quoting="none") == ['"e ""f"""']


def test_tsv_that_is_quoted_here_and_not_there_must_be_told() -> None:
    content = 'text\tlanguage\n"e ""f"""\ten\nhe "said"\ten\n'
    with pytest.raises(CorpusError, match="say which they are"):
        texts(content)
    content = 'text\tlanguage\n"e ""f"""\ten\n"Go home\ten\n'
    with pytest.raises(CorpusError, match=r"line 2 holds a quoted cell .* and line 3 one whose quotation marks are text"):
        texts(content)
    assert texts(content, quoting="none") == ['"e ""f"""', '"Go home']
    with pytest.raises(CorpusError, match="quoting 'maybe' is not known"):
        texts(content, quoting="maybe")


@pytest.mark.parametrize("cell", ['"' + '""' * 100_000, '"' + '""' * 100_000 + '"', '"' * 100_001 + "a"])
def test_many_marks_take_no_time(cell: str) -> None:
    start = time.monotonic()
    attempt(f"text\tlanguage\n{cell}\ten\n", "\t", "auto")
    assert time.monotonic() - start < 5


def test_long_cells_are_read_and_the_limit_of_others_stays() -> None:
    long = "x" * 300_000
    assert texts(f"text,language\r\n{long},en\r\nb,en", ",") == [long, "b"]
    assert csv.field_size_limit() < 300_000


@pytest.mark.parametrize(
    "content", ["text,language\na,en\r\nb,en\n", "text,language\r\na,en\nb,en\r\n", "text,language\na,en\nb,en\r"]
)
@pytest.mark.parametrize("separator", [",", "\t"])
def test_rows_that_end_in_different_ways_are_refused(content: str, separator: str) -> None:
    with pytest.raises(CorpusError, match=r"f, line [24]: rows before this one end in|f, line 3: rows before this one"):
        texts(content.replace(",", separator), separator)
