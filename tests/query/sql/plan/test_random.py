"""Random queries over `activations` and `scores`: the rows that DuckDB gives over the same tables in memory.

ACTLAS_QUERIES=3000 asks so many; a query that differs is asked again alone by its number: -k '[17]'.
"""

from __future__ import annotations

import logging
import os
import random
import re
from typing import Any

import duckdb
import polars as pl
import pytest

from actlas.errors import QueryError
from actlas.query import Atlas

N_QUERIES = int(os.environ.get("ACTLAS_QUERIES", "60"))
#: Joined with; some rows meet nothing, or nothing in one column, and some values are equal to labels only after a cast.
MINE = pl.DataFrame(
    {
        "site": ["mlp_pre", "attn_out", "mlp_pre", "nope", None],
        "layer": [0, 1, 1, 2, None],
        "neuron": [5, 3, 8, 3, None],
        "text_id": [3, 3, 4, 999, None],
        "weight": [1.0, 2.0, 3.0, 4.0, None],
        "text": ["5", " 3", "8.0", "999", None],
    }
)
#: What stands for <word> in the texts below, besides the columns of the table that is asked: any of it.
WORDS = {
    "query": [
        "SELECT count(*), count(<value>), min(<value>), max(<value>), sum(neuron) FROM <rows>",
        "SELECT <value>, <key> FROM <rows> ORDER BY <value> <order>, <key> LIMIT 9 OFFSET <number of rows>",
        "SELECT <value> FROM <rows> ORDER BY <value> <order> <end>",
        "SELECT DISTINCT <some>, <some> FROM <rows>",
        "SELECT <some>, <some>, <gathered>, <gathered> FROM <rows> GROUP BY ALL",
        "SELECT site, language, max(layer) FROM <rows> GROUP BY <grouping> (site, language)",
        "SELECT layer, min(neuron) FROM <rows> GROUP BY layer HAVING count(*) > <number of rows>",
        "SELECT max(neuron, 3), min(<value>, 0.4) FROM <rows>",
        "SELECT <gathered> OVER (PARTITION BY <some>, <some>) FROM <rows>",
        "SELECT <value> FROM <rows> QUALIFY row_number() OVER (PARTITION BY site ORDER BY <value> <order>, <key>) < 3",
        "SELECT DISTINCT ON (site, layer) site, layer, neuron FROM <rows> ORDER BY site, layer, neuron",
        "SELECT neuron, layer FROM <rows> <set> SELECT neuron, layer FROM <rows>",
        "WITH x AS (SELECT * FROM <rows>) SELECT count(*), max(<value>) FROM x WHERE <condition>",
        "SELECT count(*) FROM (SELECT * FROM <rows> LIMIT <number of rows>)",
        "FROM (SELECT layer, language, <value> FROM <rows>) PIVOT (max(<value>) FOR language IN ('en', 'fr'))",
        "SELECT count(*), sum(weight) FROM <table> JOIN mine USING (<common>)",
        "SELECT count(*), sum(a.neuron) FROM (SELECT * FROM <rows>) AS a <join> JOIN mine AS m ON <on>",
        "SELECT count(*), sum(a.neuron), count(m.weight) FROM <table> AS a <outer> JOIN mine AS m ON <on> WHERE <of one>",
        "SELECT m.neuron, (SELECT <gathered> FROM <table> AS a WHERE a.neuron = m.neuron) FROM mine AS m",
        "SELECT m.weight, x.* FROM mine AS m, LATERAL (SELECT <value>, <key> FROM <table> AS a WHERE a.neuron = m.neuron "
        "AND a.layer % 2 = 1 ORDER BY <value> <order>, <key> LIMIT 2) AS x",
        "SELECT a.neuron, b.neuron, count(*) FROM <table> AS a JOIN <table> AS b USING (checkpoint, site, layer, language) "
        "WHERE a.neuron = 3 AND b.neuron = a.neuron + 1 GROUP BY ALL",
    ],
    "rows": ["<table> WHERE <condition>", "<table> WHERE <condition> AND <condition>"],
    "some": ["<number>", "<name>"],
    "gathered": ["min(<number>)", "max(<number>)", "count(<number>)", "sum(<number>)"],
    "order": ["", "DESC", "NULLS FIRST", "DESC NULLS LAST"],
    "end": ["LIMIT 50", "OFFSET 900"],
    "number of rows": ["0", "5", "500"],
    "grouping": ["ROLLUP", "CUBE"],
    "set": ["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL"],
    "common": ["neuron", "layer, neuron", "site"],
    "join": ["", "LEFT", "RIGHT", "FULL", "SEMI", "ANTI"],
    "outer": ["", "LEFT", "FULL"],
    "on": ["a.neuron = m.<key of mine> <and>"],
    "key of mine": ["neuron", "weight", "text"],
    "and": ["", "AND a.layer = m.layer", "AND m.weight > 1", "AND a.layer = 1", "OR m.weight = 3"],
    "of one": ["a.layer = 1", "m.weight > 1", "a.layer IS NULL", "m.weight IS NULL"],
    "condition": [*["<of name>", "<of number>", "<of number>", "<of value>"] * 2, "<nested>"],
    "nested": [
        "(<condition> AND <condition>)",
        "(<condition> OR <condition>)",
        "NOT (<condition>)",
        "CASE WHEN <condition> THEN <condition> ELSE layer = 1 END",
        "(<condition>) IS <truth>",
    ],
    "truth": ["TRUE", "NOT FALSE", "NOT NULL"],
    "compares": ["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"],
    "in": ["IN", "NOT IN"],
    "of name": [
        "<name> <compares> <string>",
        "<name> <like> <string>",
        "<name> <in> (<string>, <string>)",
        "<name> BETWEEN 'a' AND <string>",
        "length(<name>) % 2 = 1",
        "upper(<name>) = upper(<string>)",
        "<name> || 'x' > 'mlp'",
        "site IN (SELECT site FROM mine)",
    ],
    "like": ["LIKE", "ILIKE", "NOT LIKE"],
    "string": ["'planted-step0'", "'planted-step%'", "'mlp_pre'", "'mlp%'", "'MLP_PRE'", "'en'", "'e%'", "'salt'", "'x'"],
    "of number": [
        "<number> <compares> <literal>",
        "<literal> <compares> <number>",
        "<number> % <step> = 1",
        "<number> <in> (<literal>, <literal>, <literal>)",
        "<number> BETWEEN <literal> AND <literal>",
        "<number> NOT BETWEEN <literal> AND <literal>",
        "<number>::VARCHAR LIKE '%3'",
        "TRY_CAST(<number>::VARCHAR AS TINYINT) = 5",
        "<number> // 3 = 1",
        "neuron <in> (SELECT neuron FROM mine <known>)",
        "neuron <compares> (SELECT max(neuron) FROM mine)",
        "(layer, neuron) <in> ((0, 5), (1, 8))",
        "(layer, neuron) IN (SELECT layer, neuron FROM mine)",
        "list_contains([1, 5, NULL], <number>)",
        "coalesce(<number>, 3) = 3",
    ],
    "step": ["2", "3", "7"],
    "known": ["", "WHERE neuron IS NOT NULL"],
    "literal": ["0", "1", "3", "5", "-1", "5.0", "5.5", "1e1", "'5'", "NULL", "(1 + 2)", "layer", "neuron", "7::DECIMAL(5, 2)"],
    "of value": [
        "<value> <compares> <amount>",
        "<value> <in> (0.25, 0.5, <amount>)",
        "<value> BETWEEN 0 AND 0.5",
        "<value> IS NULL",
        "<value> IS NOT NULL",
        "abs(<value>) > layer",
    ],
    "amount": ["0", "0.25", "0.5", "-1.5", "1e300", "NULL", "0.3::FLOAT", "'nan'::FLOAT"],
}
TABLES = {
    "activations": {"value": ["value"], "number": ["layer", "neuron", "text_id"], "name": ["checkpoint", "site", "language"]},
    "scores": {"value": ["ap", "auroc"], "number": ["layer", "neuron"], "name": ["checkpoint", "site", "language", "concept"]},
}


def written(number: int) -> str:
    """A query over one of the tables."""
    chance = random.Random(number)
    table = chance.choice(list(TABLES))
    own = {"table": [table], "key": [", ".join(TABLES[table]["name"] + TABLES[table]["number"])]}
    words = {**WORDS, **TABLES[table], "value": [chance.choice(TABLES[table]["value"])], **own}
    text = "<query>"
    while found := re.search(r"<([a-z][a-z ]*)>", text):
        text = f"{text[: found.start()]}{chance.choice(words[found[1]])}{text[found.end() :]}"
    return text


@pytest.fixture(scope="module")
def in_memory(scored_path: Any) -> duckdb.DuckDBPyConnection:
    """The same tables as DuckDB's own, and nothing of ours beside them."""
    store, connection = Atlas(scored_path), duckdb.connect()
    for name in ("activations", "scores"):
        connection.register("frame", store.scan(name).collect())
        connection.execute(f"CREATE TABLE {name} AS FROM frame")
    connection.register("mine", MINE)
    return connection


def comparable(rows: list[tuple[Any, ...]]) -> list[str]:
    """Rows in an order of their own, floats as far as sums in any order agree."""
    return sorted(repr([round(one, 9) + 0.0 if isinstance(one, float) else one for one in row]) for row in rows)


@pytest.mark.parametrize("number", range(N_QUERIES))
def test_rows_are_those_of_tables_in_memory(
    number: int, scored: Atlas, in_memory: duckdb.DuckDBPyConnection, caplog: pytest.LogCaptureFixture
) -> None:
    # names that the store does not have are asked for
    caplog.set_level(logging.ERROR)
    query = written(number)
    tables = {"mine": MINE} if "mine" in query else None
    try:
        expected = in_memory.sql(query).fetchall()
    except duckdb.Error:
        with pytest.raises(QueryError):
            scored.sql(query, tables=tables)
        return
    assert comparable(scored.sql(query, tables=tables).rows()) == comparable(expected), query
