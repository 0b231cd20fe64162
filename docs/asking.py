"""The page of everything that a store can be asked: questions in their three forms, and every table with its columns."""

from __future__ import annotations

import inspect
from itertools import groupby

PAGE = "docs/questions.md"

_HEAD = """# Questions and tables of a store

<!-- made by python docs/build.py; changes belong into actlas/query/index.py, schema and sql/macros -->

Every question has three forms that give the same rows, types included: SQL (`actlas sql STORE "FROM ..."`, or `store.sql`;
[SQL over a store](sql.md) tells how), a function of [`actlas.query`](api/query.md), and a command line. A question that SQL asks
with arguments is a macro; `store.ask(name, **arguments)` and `actlas ask STORE NAME NAME=VALUE ...` ask any of these by its name.

A macro reads tables that are kept, and refuses what they do not reach, such as a larger k, with the command that does. A function
whose table is not kept, or does not reach, computes the answer where it takes what decides it.
"""
_TABLES = """## Tables

A table that was not computed yet is refused with the command that computes it. Further tables appear as they are published, with
a `checkpoint` column like the others. More columns may follow those named here. `DESCRIBE overlap` shows what the columns of a
table mean, and `SHOW TABLES` what each table holds.
"""


def page() -> str:
    """The text of the page."""
    return "\n".join([_HEAD, *_questions(), *_tables()]).rstrip() + "\n"


def _questions() -> list[str]:
    from actlas.query.index import QUESTIONS
    from actlas.query.sql.macro import macros

    lines = ["## Questions\n"]
    for topic, questions in groupby(QUESTIONS, lambda question: question.topic):
        lines += [f"### {_sentence(topic)}\n", "| SQL | answer | Python | `actlas` | reads |", "|---|---|---|---|---|"]
        for question in questions:
            function = f"[`{question.function}`](api/query.md#{question.function})"
            reads = ", ".join(map(_link, macros()[question.name].reads)) if question.is_macro else _link(question.name)
            lines.append(f"| `{question.sql}` | {question.about} | {function} | `{question.verb}` | {reads} |")
        lines.append("")
    return lines


def _link(table: str) -> str:
    return f"[{table}](#{table})"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _tables() -> list[str]:
    from actlas.query.schema import TABLES
    from actlas.query.schema.meanings import meaning

    lines = [_TABLES]
    for table in TABLES.values():
        made_by = f"Made by `{table.command}`." if table.command else "Every store has it."
        lines += [f"### {table.name}\n", f"{_sentence(table.about)}. {made_by}\n", "| column | type | meaning |", "|---|---|---|"]
        for name, dtype in table.columns.items():
            kind = dtype() if inspect.isclass(dtype) else dtype
            lines.append(f"| `{name}` | {kind} | {meaning(table.name, name)} |")
        lines.append("")
    return lines
