"""A store that is served says nothing of where it lies, and ends what it started."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from actlas.errors import QueryError, StoreNotFound, TableNotFound
from actlas.explore.server.served import Left, Limits, Served

_ENDLESS = "SELECT count(*) FROM range(1000000000000) AS a WHERE hash(a.range) = 1"


@pytest.fixture(scope="module")
def served(example_store: Path) -> Iterator[Served]:
    served = Served("mine", example_store, Limits(seconds=2.0, memory=300_000_000, rows=10, at_once=1))
    yield served
    served.close()
    served.close()


def test_errors_name_the_store_and_no_folder(served: Served, example_store: Path) -> None:
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


def test_queries_keep_their_limits_and_end_when_who_asked_leaves(served: Served) -> None:
    with served.asking() as ask:
        with pytest.raises(QueryError, match="more than 10 rows"):
            ask("FROM range(11)", {})
        threading.Timer(0.2, ask.leave).start()
        with pytest.raises(QueryError, match="cancelled"):
            ask(_ENDLESS, {})
    with served.asking() as ask, pytest.raises(QueryError, match="ended after 2 seconds"):
        ask(_ENDLESS, {})


def test_there_must_be_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        Served("mine", tmp_path / "nothing", Limits())
