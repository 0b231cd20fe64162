"""What SQL may contain, checked on DuckDB's own syntax trees."""

from __future__ import annotations

import duckdb
import pytest

from actlas.errors import QueryError
from actlas.query.sql.guard import ReadOnlyQuery, read_only


def checked(query: str) -> ReadOnlyQuery:
    connection = duckdb.connect()
    try:
        statements = [statement.query for statement in connection.extract_statements(query)]

        def serialize(select: str) -> str:
            return str(connection.execute("SELECT json_serialize_sql(?)", [select]).fetchall()[0][0])

        return read_only(statements, serialize=serialize, macros={"best_experts"})
    finally:
        connection.close()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "-- a comment\nSELECT 1;",
        "/* one */ -- two\n FROM texts",
        "WITH a AS (SELECT 1) SELECT * FROM a UNION ALL SELECT 2",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) FROM r",
        "VALUES (1), (2)",
        "TABLE texts",
        "DESCRIBE texts",
        "SUMMARIZE texts",
        "SHOW TABLES",
        "EXPLAIN SELECT * FROM texts",
        "EXPLAIN ANALYZE SELECT * FROM texts",
        "UNPIVOT (SELECT 1 AS a) ON a",
        "SELECT unnest([1, 2])",
        "SELECT * FROM texts, LATERAL (SELECT 1)",
        "FROM best_experts('a', 'b', 'c')",
        "FROM range(3), unnest([1])",
    ],
)
def test_reading_is_allowed(query: str) -> None:
    assert checked(query).query


@pytest.mark.parametrize(
    "query",
    [
        "COPY texts TO 'out.csv'",
        "COPY (SELECT 1) TO 'out.csv'",
        "WITH x AS (COPY texts TO 'out.csv') SELECT 1",
        "SELECT * FROM (WITH x AS (COPY texts TO 'out.csv') SELECT 1)",
        "SELECT (WITH x AS (COPY texts TO 'out.csv') SELECT 1)",
        "WITH x AS (INSERT INTO texts VALUES (1) RETURNING *) SELECT * FROM x",
        "WITH x AS (DELETE FROM texts RETURNING *) SELECT * FROM x",
        "WITH x AS (UPDATE texts SET text = '' RETURNING *) SELECT * FROM x",
        "EXPLAIN ANALYZE COPY texts TO 'out.csv'",
        "EXPLAIN (ANALYZE) COPY texts TO 'out.csv'",
        "EXPLAIN ANALYZE WITH x AS (COPY texts TO 'out.csv') SELECT 1",
        "EXPLAIN /* hidden */ ANALYZE COPY texts TO 'out.csv'",
        "INSERT INTO texts VALUES (1)",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW texts",
        "ATTACH 'other.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 1",
        "SET SESSION threads = 1",
        "RESET threads",
        "USE memory",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "EXPORT DATABASE 'folder'",
        "BEGIN",
        "PREPARE p AS SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY texts TO 'out.csv'",
        "COPY texts TO 'out.csv'; SELECT 1",
        "SET VARIABLE x = 1; DROP VIEW texts; SELECT 1",
        "SET VARIABLE x = (SELECT max(content) FROM read_text('/etc/passwd')); SELECT 1",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('other.parquet')",
        "SELECT EXISTS (FROM read_blob('/etc/passwd'))",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM query('COPY texts TO ''out.csv''')",
        "SELECT * FROM query_table('texts')",
        "SELECT * FROM enable_logging(storage = 'file', storage_path = 'log')",
        "SELECT * FROM enable_profiling(save_location = 'profile')",
        "SELECT * FROM force_checkpoint()",
        "SELECT * FROM duckdb_secrets()",
        "SELECT oid.PG_GET_VIEWDEF() FROM pg_catalog.pg_class",
        "SELECT json_serialize_plan('SELECT current_setting(''allowed_paths'')', optimize := true)",
        "PIVOT texts ON language",
        "",
        "-- nothing",
        "SET VARIABLE x = 1",
    ],
)
def test_everything_else_is_refused(query: str) -> None:
    with pytest.raises(QueryError, match="refused|second statement|no query"):
        checked(query)


def test_names_and_variables_are_told() -> None:
    select = "WITH a AS (SELECT 1) SELECT * FROM a, Texts, best_experts('x', 'y', 'z')"
    found = checked(f"SET VARIABLE keys = (SELECT list(neuron) FROM experts); {select}")
    assert found.variables == [("keys", "(SELECT list(neuron) FROM experts)")]
    assert found.tables == {"experts", "a", "texts"}
    assert found.defined == {"a"}
    assert found.functions == {"best_experts"}
    assert not found.shows_all
    assert not found.is_explain


@pytest.mark.parametrize("query", ["SHOW TABLES", "FROM duckdb_tables()", "SELECT * FROM information_schema.tables"])
def test_listing_tables_makes_all_of_them(query: str) -> None:
    assert checked(query).shows_all
