"""A store that is served says nothing of where it lies, and ends what it started."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from actlas.errors import QueryError, StoreNotFound, TableNotFound
from actlas.explore.server.served import Left, Limits, Served


def test_errors_name_the_store_and_no_folder(example_store: Path) -> None:
    served = Served("mine", example_store, Limits(at_once=1))
    with served.asking() as ask:
        assert ask("SELECT $n AS n", {"n": 7}).item() == 7
        with pytest.raises(TableNotFound) as error:
            ask("FROM probe", {})
        assert str(example_store.parent) not in str(error.value)
        assert example_store.name in str(error.value)
        with pytest.raises(QueryError):
            ask("FROM read_csv('/etc/passwd')", {})
    with pytest.raises(Left):
        ask("SELECT 1", {})
    served.close()
    served.close()


def test_queries_keep_their_limits(example_store: Path) -> None:
    served = Served("mine", example_store, Limits(seconds=1.0, memory=300_000_000, rows=10, at_once=1))
    with served.asking() as ask:
        with pytest.raises(QueryError, match="more than 10 rows"):
            ask("FROM range(11)", {})
        with pytest.raises(QueryError, match="ended after 1 seconds"):
            ask("SELECT count(*) FROM range(1000000000000) AS a WHERE hash(a.range) = 1", {})
        assert ask("SELECT 1 AS n", {}).item() == 1
    served.close()


def test_a_query_ends_when_who_asked_leaves(example_store: Path) -> None:
    served = Served("mine", example_store, Limits(at_once=1))
    with served.asking() as ask:
        ask("SELECT 1", {})
        threading.Timer(0.3, ask.leave).start()
        with pytest.raises(QueryError, match="cancelled"):
            ask("SELECT count(*) FROM range(1000000000000) AS a WHERE hash(a.range) = 1", {})
    served.close()


def test_there_must_be_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        Served("mine", tmp_path / "nothing", Limits())
