"""Behind the check of statements stands a DuckDB that reaches nothing, and that Ctrl-C ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from actlas.query import Atlas
from actlas.query.sql.session import Session


def test_the_connection_itself_is_locked(asked: Atlas, tmp_path: Path) -> None:
    """Behind the check of statements stands DuckDB's own sandbox: what got past the one is stopped by the other."""
    import duckdb

    (tmp_path / "secret.csv").write_text("a\nsecret\n")
    asked.sql("SELECT 1")
    session = asked._open_session()
    assert isinstance(session, Session)
    for statement in (
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        f"ATTACH '{tmp_path}/out.db'",
        "SET enable_external_access = true",
        "SET allowed_paths = ['/']",
        "INSTALL httpfs",
        "LOAD httpfs",
        f"SELECT * FROM read_parquet('{asked.path}/corpus/tokens.parquet')",
    ):
        with pytest.raises(duckdb.Error):
            session._connection.raw.execute(statement)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
