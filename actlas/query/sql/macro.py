"""The table macros that every store has, one file of SQL each."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from actlas.errors import QueryError
from actlas.query.sql.arguments import Parameter, parameters
from actlas.words import did_you_mean, listed, no_such

_HEADER = re.compile(r"^-- (?P<call>\w+\(.*?\)): (?P<about>.+)\n-- reads: (?P<reads>[\w, ]+)\n", re.M)


@dataclass(frozen=True)
class Macro:
    """One table macro, from one file of ``macros/``.

    Attributes:
        name: What SQL calls it.
        call: Its name and arguments as a user would type them.
        about: One line.
        parameters: Its parameters.
        reads: Tables that it needs.
        sql: The CREATE MACRO statement.
    """

    name: str
    call: str
    about: str
    parameters: tuple[Parameter, ...]
    reads: tuple[str, ...]
    sql: str


@cache
def macros() -> Mapping[str, Macro]:
    """The macros that every store has, by name."""
    by_name = {}
    for file in sorted((Path(__file__).parent / "macros").glob("*.sql")):
        text, name = file.read_text(encoding="utf-8"), file.stem
        header = _HEADER.match(text)
        assert header is not None, f"{file.name} needs a header line and a reads line"
        reads = tuple(part.strip() for part in header["reads"].split(","))
        sql = text[header.end() :]
        by_name[name] = Macro(name, header["call"], header["about"], parameters(header["call"], sql), reads, sql)
    return by_name


def macro_call(name: str, given: Collection[str]) -> str:
    """The SQL that asks a macro with parameters called like its arguments.

    Args:
        name: Of the macro.
        given: The arguments that there are values for, as its description calls them.

    Raises:
        QueryError: If there is no such macro, or it has other arguments.

    Example:
        >>> macro_call("best_experts", ["checkpoint", "language", "concept", "n"])
        'FROM best_experts($checkpoint, $language, $concept, n := $n)'
    """
    if name not in macros():
        raise QueryError(no_such("question", [name], list(macros()), "actlas"))
    macro = macros()[name]
    _refuse_others(macro, {each.word: each for each in macro.parameters}, given)
    values = [
        f"{each.name} := ${each.word}" if each.is_optional else f"${each.word}" for each in macro.parameters if each.word in given
    ]
    return f"FROM {name}({', '.join(values)})"


def check_call(macro: Macro, n_by_place: int, by_name: Collection[str]) -> None:
    """Refuse a call of a macro with other arguments than it has.

    Args:
        macro: What is called.
        n_by_place: How many arguments are given by their place.
        by_name: The names of the others.

    Raises:
        QueryError: Saying how it is called.
    """
    names = {each.name: each for each in macro.parameters}
    if n_by_place > len(names):
        raise QueryError(f"{macro.name} takes {len(names)} arguments, not {n_by_place}; it is asked as {macro.call}")
    _refuse_others(macro, names, [*list(names)[:n_by_place], *by_name])


def _refuse_others(macro: Macro, names: Mapping[str, Parameter], given: Collection[str]) -> None:
    """Refuse arguments that a macro does not have, and a call without those that it needs."""
    unknown = [name for name in given if name not in names]
    missing = [each.word for name, each in names.items() if not each.is_optional and name not in given]
    if unknown or missing:
        what = f"no argument {listed(unknown)}" if unknown else f"{listed(missing)} has no value"
        raise QueryError(f"{macro.name}: {what}; {did_you_mean(unknown, names)}it is asked as {macro.call}")


def asked_over(question: str, arguments: Mapping[str, Any], tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The answer of a macro over frames in place of the tables that it reads.

    Args:
        question: The macro.
        arguments: Its arguments, by the names in its description.
        tables: A frame for every table that it reads.
    """
    import duckdb

    from actlas.query.sql.answer import read_answer

    with duckdb.connect(":memory:") as connection:
        for name in macros()[question].reads:
            connection.register(name, tables[name])
        connection.execute(macros()[question].sql)
        return read_answer(connection.sql(macro_call(question, arguments), params=dict(arguments)))
