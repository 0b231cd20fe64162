"""`Connection`: a DuckDB in memory that reaches the files it was told of, runs what it is given, and ends when it is told to.

There is no database file, which a reader and a writer could not share.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np

from actlas.query.sql.answer import hear_ctrl_c
from actlas.query.sql.guard import identifier, quoted

#: What an interrupted query has to end, before it is left to itself.
_SECONDS_TO_STOP = 0.5

Work = TypeVar("Work")
_NO_PARAMS: Mapping[str, Any] = {}


class Connection:
    """One locked DuckDB.

    Args:
        paths: Files that may be read, and nothing beside them.
        schemas: Schemas that are made beside the usual one.
        threads: Threads of DuckDB.
        memory_limit: As DuckDB writes it; None for its own default.

    Attributes:
        raw: DuckDB's own connection.
        is_interrupted: Whether a query was interrupted, which may still run: the connection is not used again.
    """

    def __init__(self, paths: Iterable[Path], schemas: Iterable[str], threads: int, memory_limit: str | None) -> None:
        self.is_interrupted = False
        self.raw = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
        self._lock_down(paths, threads, memory_limit)
        for schema in schemas:
            self.raw.execute(f"CREATE SCHEMA {identifier(schema)}")

    def _lock_down(self, paths: Iterable[Path], threads: int, memory_limit: str | None) -> None:
        """The order matters: allowed paths and temp_directory cannot be changed once external access is off."""
        # DuckDB asks for both: what it is told to read, and what it then finds
        files = sorted({one for path in paths for one in (quoted(str(path.resolve())), file_literal(path))})
        steps = [
            f"SET threads = {threads}",
            "SET enable_progress_bar = false",
            "SET temp_directory = ''",
            "SET parquet_metadata_cache = true",
            *([f"SET memory_limit = {quoted(memory_limit)}"] if memory_limit else []),
            f"SET allowed_paths = [{', '.join(files)}]",
            "SET enable_external_access = false",
            "SET autoinstall_known_extensions = false",
            "SET autoload_known_extensions = false",
            "SET allow_community_extensions = false",
            "SET allow_persistent_secrets = false",
            "SET lock_configuration = true",
        ]
        for step in steps:
            self.raw.execute(step)

    def close(self) -> None:
        """Free it; it cannot be used again."""
        if "raw" in self.__dict__:
            self.raw.close()
            del self.raw

    def run(self, sql: str, params: Mapping[str, Any] = _NO_PARAMS) -> list[tuple[Any, ...]]:
        """Run a statement; all rows of its result.

        Args:
            sql: The statement.
            params: Values of parameters, of which it may name some.
        """
        # all of them: a result that is not read to its end blocks the connection
        return self.raw.execute(sql, used(sql, params)).fetchall()

    def relation(self, select: str, params: Mapping[str, Any]) -> duckdb.DuckDBPyRelation:
        """What a query will give, which is not asked for yet."""
        return self.raw.sql(select, params=used(select, params))

    def register(self, name: str, source: object) -> None:
        """Let queries read a frame, or whatever else Arrow can be had of, by a name."""
        self.raw.register(name, source)

    def unregister(self, names: Iterable[str]) -> None:
        """Take names back; not while an interrupted query may still read by them."""
        for name in names if not self.is_interrupted else ():
            self.raw.unregister(name)

    def serialized(self, select: str) -> str:
        """The syntax tree of a SELECT as JSON, or what is wrong with it."""
        return str(self.run("SELECT json_serialize_sql($actlas_sql)", {"actlas_sql": select})[0][0])

    def tree(self, select: str) -> dict[str, Any]:
        """The same as Python's objects."""
        tree: dict[str, Any] = json.loads(self.serialized(select))
        return tree

    def written(self, tree: Mapping[str, Any]) -> str:
        """A syntax tree as SQL."""
        ((select,),) = self.run("SELECT json_deserialize_sql($actlas_tree::JSON)", {"actlas_tree": json.dumps(tree)})
        return str(select)

    def interruptible(self, work: Callable[[], Work]) -> Work:
        """Do it in a thread, so that Ctrl-C is heard at once: DuckDB's binding hears it when the query is over."""
        if threading.current_thread() is not threading.main_thread():
            return work()  # where Ctrl-C does not arrive
        done: Future[Work] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        thread = threading.Thread(target=run, name="actlas-sql", daemon=True)
        thread.start()
        hear_ctrl_c()
        try:
            return done.result()
        except KeyboardInterrupt:
            self.is_interrupted = True
            self.raw.interrupt()
            thread.join(_SECONDS_TO_STOP)
            raise


def used(sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Those parameters that a statement names: DuckDB refuses others, and numbers of numpy."""
    named = {name: value for name, value in params.items() if re.search(rf"\${re.escape(name)}\b", sql)}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in named.items()}


def file_literal(path: Path) -> str:
    """A path for read_parquet, in which ``[``, ``*`` and ``?`` stand for themselves."""
    return quoted(re.sub(r"([\[*?])", r"[\1]", str(path.resolve())))
