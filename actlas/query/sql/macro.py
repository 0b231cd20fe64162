"""The table macros that every store has, one file of SQL each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from actlas.query.sql.arguments import Parameter, parameters

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
