"""Macros say what they read, and their parameters are those of their SQL."""

from __future__ import annotations

import re

import pytest

from actlas.errors import QueryError
from actlas.query import Atlas
from actlas.query.sql.macro import asked_over, macros
from actlas.query.sql.sources import table_sources


def test_macros_name_what_they_read(asked: Atlas) -> None:
    for macro in macros().values():
        assert macro.call.startswith(f"{macro.name}(")
        used = set(re.findall(r"\b(?:FROM|JOIN) (\w+)", macro.sql))
        assert set(macro.reads) == used & set(table_sources(asked).names)


def test_a_macro_says_the_same_of_frames(asked: Atlas) -> None:
    given = {"checkpoint": "planted-step64", "concept": "salt", "m": 2}
    tables = {name: asked.scan(name).collect() for name in ("experts", "languages")}
    assert asked_over("shared_experts", given, tables).equals(asked.ask("shared_experts", **given))
    with pytest.raises(QueryError, match="it is asked as same_weights"):
        asked_over("same_weights", {"k": 3}, {"checkpoints": asked.scan("checkpoints").collect()})
