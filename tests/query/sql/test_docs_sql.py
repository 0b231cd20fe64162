"""docs/sql.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actlas.query.atlas import Atlas
from actlas.query.schema import TABLES
from actlas.query.sql.guard import TABLE_FUNCTIONS
from actlas.query.sql.macro import macros

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sql.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_every_table_and_macro_stands_on_the_page_of_questions() -> None:
    text = (PAGE.parent / "questions.md").read_text(encoding="utf-8")
    for table in TABLES.values():
        part = text.split(f"### {table.name}\n")[1].split("###")[0]
        assert re.findall(r"^\| `(\w+)`", part, re.M) == list(table.columns)
    for macro in macros().values():
        assert f"| `FROM {macro.call}` | {macro.about} |" in text


def test_the_limit_and_the_functions_are_those_of_the_code(page: str, asked: Atlas) -> None:
    assert f"| {asked.max_answer:,} |" in page
    assert set(re.findall(r"`(\w+)`", page.split("Table functions are")[1].split("Behind that check")[0])) == TABLE_FUNCTIONS


def test_its_sql_runs(page: str, asked: Atlas) -> None:
    shell = re.findall(r'^actlas sql \S+ "([^"$]+)"(?! --(?:table|with))', page, re.M)
    blocks = re.findall(r"```sql\n(.+?)```", page, re.S)
    calls = re.findall(r"`(FROM .+?)`", page)
    assert (len(shell), len(blocks), len(calls)) == (2, 4, 2)
    for query in [*shell, *blocks, *calls]:
        # six experts are kept there
        asked.sql(query.replace("xglm-step1024", "planted-step128").replace("k := 20", "k := 6"))
