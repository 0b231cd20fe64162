"""Macros say what they read, and their parameters are those of their SQL."""

from __future__ import annotations

import re

from actlas.query import Atlas
from actlas.query.sql.macro import macros
from actlas.query.sql.sources import table_sources


def test_macros_name_what_they_read(asked: Atlas) -> None:
    for macro in macros().values():
        assert macro.call.startswith(f"{macro.name}(")
        used = set(re.findall(r"\b(?:FROM|JOIN) (\w+)", macro.sql))
        assert set(macro.reads) == used & set(table_sources(asked).names)
