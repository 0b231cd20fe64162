"""`actlas sql`: parameters, files and other stores in a query, and limits that end what would run away."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import polars as pl
import pytest

from actlas.cli import run
from actlas.testing.planted import Planting, planted_store
from tests.bombs import BOMBS


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(planted_store(tmp_path_factory.mktemp("sql") / "s.actlas", Planting(steps=(0,), sharing=(0.0,))))


def answer(capfd: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert run(["sql", *arguments, "--format", "json"]) == 0
    rows: list[dict[str, object]] = json.loads(capfd.readouterr().out)
    return rows


def test_parameters_have_the_types_of_json(store: str, capfd: pytest.CaptureFixture[str]) -> None:
    given = {"a": "5", "b": "true", "c": "[1, 2]", "d": "water", "e": "null", "f": "x=y", "g": '"5"', "h": ""}
    query = "SELECT " + ", ".join(f"${name} AS {name}" for name in given)
    (row,) = answer(capfd, store, query, *[part for name, text in given.items() for part in ("--param", f"{name}={text}")])
    assert row == {"a": 5, "b": True, "c": [1, 2], "d": "water", "e": None, "f": "x=y", "g": "5", "h": ""}


def test_a_parameter_is_a_value_and_no_sql(store: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = "' OR 1=1; DROP TABLE texts --"
    assert answer(capfd, store, "SELECT count(*) AS n FROM texts WHERE language = $name", "--param", f"name={text}") == [{"n": 0}]


def test_a_query_comes_from_a_file_or_standard_input(
    store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "q.sql").write_text("-- texts\nSELECT count(*) AS n\nFROM texts;\n")
    assert answer(capfd, store, "--file", str(tmp_path / "q.sql")) == [{"n": 144}]
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 7 AS n"))
    assert answer(capfd, store, "-") == [{"n": 7}]


def test_files_and_other_stores_are_tables(store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine = pl.DataFrame({"language": ["en", "fr"], "weight": [1, 2]})
    mine.write_parquet(tmp_path / "mine.parquet")
    mine.write_csv(tmp_path / "mine.csv")
    mine.write_ndjson(tmp_path / "mine.jsonl")
    query = "SELECT sum(weight) AS n FROM languages JOIN mine USING (language)"
    for kind in ("parquet", "csv", "jsonl"):
        assert answer(capfd, store, query, "--table", f"mine={tmp_path}/mine.{kind}") == [{"n": 3}]
    other = planted_store(tmp_path / "other.actlas", Planting(steps=(0, 64), sharing=(0.0, 0.0)))
    both = "SELECT (SELECT count(*) FROM checkpoints) AS own, (SELECT count(*) FROM late.checkpoints) AS others"
    assert answer(capfd, store, both, "--with", f"late={other}") == [{"own": 1, "others": 2}]


ONE_STORE = ["--with", "b={store}"]
REFUSED = [
    (["SELECT $a"], "the query has $a, which has no value; give it one: --param a=VALUE"),
    (["SELECT 1", "--param", "a=1"], "a value was given for a, and the query has no parameter"),
    (["SELECT $a", "--param", "a=1", "--param", "a=2"], "--param names a twice"),
    (["SELECT 1", "--table", "texts={folder}/x.csv"], "a store has a table texts of its own"),
    (["SELECT 1", "--table", "a-b={folder}/x.csv"], "cannot name a table"),
    (["FROM x", "--table", "x={folder}/none.csv"], "none.csv could not be read"),
    (["FROM x", "--table", "x={folder}/x.pickle"], "is no table that can be read; give a file that ends in .parquet"),
    (["FROM c.texts"], "no store was given the name c (named: none); name it: --with c=STORE"),
    (["FROM b.nothing", *ONE_STORE], "no table nothing"),
    (["FROM read_csv('{folder}/x.csv')", "--table", "x={folder}/x.csv"], "may reach outside the store"),
    (["SELECT * FROM '{folder}/x.csv'", "--table", "x={folder}/x.csv"], "no table"),
    (["SELECT 1", "--file", "{folder}/x.csv"], "one of them"),
    (["--file", "{folder}/none.sql"], "none.sql cannot be read: No such file"),
    (["--file", "{folder}/latin.sql"], "latin.sql cannot be read: it is not UTF-8"),
    ([], "give the query itself"),
    (["SELECT 1", "--with", "b={folder}/none"], "no actlas store"),
    (["FROM text"], "did you mean 'texts'?"),
    (["FROM best_expert('a', 'b', 'c')"], "did you mean 'best_experts'?"),
    (["SELECT * FROM range(2000)", "--max-rows", "1000"], "more than 1,000 rows"),
    (["SELECT current_setting('allowed_paths')"], "tells where on this machine"),
    (["SELECT sleep_ms(60000)"], "sleep_ms does nothing but wait"),
    *[
        ([f"SELECT * FROM {name}"], "where on this machine")
        for name in ("duckdb_views()", "sqlite_master", "pg_catalog.pg_views", "information_schema.views", "duckdb_settings()")
        if not name.endswith("()")
    ],
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], said: str, store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    (tmp_path / "latin.sql").write_bytes("SELECT 'é'".encode("latin-1"))
    assert run(["sql", store, *[each.format(folder=tmp_path, store=store) for each in arguments]]) == 1
    shown = capfd.readouterr()
    assert said in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


def test_no_answer_shows_where_the_store_is(store: str, capfd: pytest.CaptureFixture[str]) -> None:
    for query in ("EXPLAIN ANALYZE SELECT count(*) FROM texts", "SHOW ALL TABLES", "FROM information_schema.tables"):
        assert run(["sql", store, query, "--format", "json"]) == 0
        assert str(Path(store).parent) not in capfd.readouterr().out


_SECONDS = 3
_RUN_AWAY = list(product(BOMBS, ("1.0", "0.2")))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="address space is read from /proc")
@pytest.mark.parametrize(("query", "gigabytes"), _RUN_AWAY if os.environ.get("ACTLAS_BOMBS") else _RUN_AWAY[8:10])
def test_what_would_run_away_ends_with_one_line(query: str, gigabytes: str, store: str) -> None:
    began = time.monotonic()
    limits = ["--timeout", str(_SECONDS), "--memory", gigabytes, "--max-rows", "1000000"]
    command = [sys.executable, "-m", "actlas", "sql", store, query, *limits]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert done.stderr.startswith("actlas: ")
    assert "unexpected" not in done.stderr
    assert time.monotonic() - began < 20
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2.5e6


def test_a_deadline_is_heard_in_python_too(store: str) -> None:
    from actlas.errors import QueryError
    from actlas.query import open_store

    opened = open_store(store)
    opened.timeout = 0.3
    with pytest.raises(QueryError, match=r"ended after 0\.3 seconds"):
        opened.sql("SELECT sum(random()) FROM range(100000000000)")
    assert opened.sql("SELECT count(*) AS n FROM texts").item() == 144


def test_frames_of_one_query_are_gone_in_the_next(store: str) -> None:
    from actlas.errors import TableNotFound
    from actlas.query import open_store

    opened = open_store(store)
    assert opened.sql("SELECT sum(a) AS n FROM mine", tables={"mine": pl.DataFrame({"a": [1, 2]})}).item() == 3
    with pytest.raises(TableNotFound, match="no table mine"):
        opened.sql("FROM mine")


def test_a_store_may_stand_beside_a_copy_of_itself(store: str, tmp_path: Path) -> None:
    from actlas.query import open_store

    copy = shutil.copytree(store, tmp_path / "copy.actlas")
    opened = open_store(store)
    query = "SELECT count(*) AS n FROM {} WHERE checkpoint = 'planted-step0' AND site = 'mlp_pre' AND layer = 0 AND neuron = 1"
    own, others = (opened.sql(query.format(name), stores={"b": copy}).item() for name in ("activations", "b.activations"))
    assert own == others == 144


def test_what_a_query_would_read_is_said(store: str, capfd: pytest.CaptureFixture[str]) -> None:
    query = "SELECT max(value) FROM activations WHERE layer = 1 AND neuron = 3 AND site = 'mlp_pre'"
    (said,) = answer(capfd, store, query, "--explain")
    assert (said["layers"], said["neurons"], said["texts"], said["rows"]) == ("1", 1, 144, 144)
    assert run(["sql", store, query, "--explain"]) == 0
    shown = capfd.readouterr().out
    assert "chunks" in shown
    assert "concepts" not in shown


def test_a_long_query_says_how_far_it_is(store: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    query = "SELECT avg(value) AS m FROM activations"
    answer(capfd, store, query)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("actlas.cli.verbs.sql._SECONDS_SILENT", -1.0)
    assert run(["sql", store, query]) == 0
    assert "reading: 29,952 of 29,952 rows" in capfd.readouterr().err
    given = ("checkpoint=planted-step0", "site=mlp_pre", "layer=0", "threshold=1.5")
    assert run(["ask", store, "text_activity", *given]) == 0
    assert "reading: 5,760 of 5,760 rows" in capfd.readouterr().err
