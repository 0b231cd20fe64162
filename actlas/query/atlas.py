"""`Atlas`: a store that answers questions. What `open_store` returns."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from actlas.errors import QueryError
from actlas.query.schema import MAX_ANSWER, TABLES
from actlas.query.texts.held import HeldValues
from actlas.store.store import Store

if TYPE_CHECKING:
    from actlas.query.sql.session import Session
    from actlas.query.sql.sources import TableSources

#: What DuckDB calls schemas and databases of its own.
_TAKEN = ("main", "temp", "system", "memory", "pg_catalog", "information_schema")


class Atlas(Store):
    """A store with SQL and lazily read tables.

    Args:
        path: Folder of the store.
        mode: "r" refuses every write; with "a" the question functions also keep their answers as tables.

    Raises:
        StoreNotFound: If there is no store at `path`.

    Attributes:
        threads: Threads of DuckDB; None for one per core.
        memory_limit: Memory of DuckDB, as it writes it ("4GB"); None for its own default.
        timeout: Seconds that one query may take; None for as long as it takes.
        max_answer: Rows that an answer may have; None for any number.
        held: Values of the groups of neurons that were asked about last.
    """

    def __init__(self, path: Path | str, mode: str = "r") -> None:
        super().__init__(path, mode)
        self.threads: int | None = None
        self.memory_limit: str | None = None
        self.timeout: float | None = None
        self.max_answer: int | None = MAX_ANSWER
        self.held = HeldValues()
        #: Labels of other stores -> the connection to this store and to them, and the state of the files that it was made of.
        self._sessions: dict[tuple[str, ...], tuple[object, Session]] = {}
        #: Other stores that were asked, by their paths.
        self._others: dict[str, Store] = {}
        #: Tables as they were when one of cubes was scanned last.
        self._scanned: TableSources | None = None
        self._opening = threading.Lock()

    def sql(
        self,
        query: str,
        params: Mapping[str, Any] | None = None,
        *,
        tables: Mapping[str, pl.DataFrame | Path | str] | None = None,
        stores: Mapping[str, Store | Path | str] | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> pl.DataFrame:
        """The answer to one query over the tables of the store.

        One SELECT (or EXPLAIN SELECT), after any number of ``SET VARIABLE name = (...)``. Nothing can be written, and nothing
        outside the store can be read, but for what is named here. `activations` and `scores` are read in parts: bound them by
        constants or parameters.

        Args:
            query: DuckDB SQL. Tables and macros are listed in docs/questions.md.
            params: Values of the ``$name`` in the query.
            tables: Name -> a frame, or a Parquet, CSV or JSONL file, that the query can name like a table of the store.
            stores: Name -> another store, whose tables the query can name as ``name.table``.
            progress: Called with the number of rows of `activations` and `scores` that were read, how many there are to read, and
                the word "reading".

        Returns:
            The rows, in the columns of the query.

        Raises:
            QueryError: If the query is refused or wrong, takes longer than `timeout`, or has more rows than `max_answer`.
            TableNotFound: If it names a table that was not computed; the message says what is there and what computes it.
            StaleTable: If it names a table that stands on scores that changed since; the message has the command that makes it
                again.

        Example:
            >>> store.sql("SELECT language, count(*) AS n FROM experts WHERE rank = 1 GROUP BY language ORDER BY language").rows()
            [('en', 12), ('es', 9), ('fr', 12)]
            >>> weights = pl.DataFrame({"language": ["en", "es"], "weight": [0.5, 2.0]})
            >>> store.sql("SELECT sum(weight) AS w FROM languages JOIN mine USING (language)", tables={"mine": weights}).item()
            2.5
            >>> store.sql("SELECT count(*) AS n FROM experts WHERE rank <= $most", {"most": 2}).item()
            66
        """
        from actlas.query.sql.answer import Limits

        frames = {name: as_frame(table) for name, table in (tables or {}).items()}
        limits = Limits(self.timeout, self.max_answer)
        session = self._open_session(stores)
        return session.run(query, params, tables=frames, limits=limits, progress=progress)

    def sql_batches(
        self,
        query: str,
        params: Mapping[str, Any] | None = None,
        *,
        stores: Mapping[str, Store | Path | str] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """The answer to one query in parts, so that it is never whole in memory.

        Other queries over this store wait until the last part was taken, or the iterator closed. `timeout` counts until then.

        Args:
            query: As in `sql`.
            params: Likewise.
            stores: Likewise.

        Returns:
            Frames with the columns of the query and their types, the first even where there is no row.

        Raises:
            QueryError: As in `sql`; that there are more rows than `max_answer` shows on the way.
            TableNotFound: If it names a table that was not computed.
            StaleTable: If it names a table that stands on scores that changed since.

        Example:
            >>> parts = store.sql_batches("SELECT value FROM activations WHERE layer = 1 AND site = 'mlp_pre'")
            >>> sum(part.height for part in parts)
            17280
        """
        from actlas.query.sql.answer import Limits

        return self._open_session(stores).batches(query, params, limits=Limits(self.timeout, self.max_answer))

    def explain(
        self,
        query: str,
        params: Mapping[str, Any] | None = None,
        *,
        tables: Mapping[str, pl.DataFrame | Path | str] | None = None,
        stores: Mapping[str, Store | Path | str] | None = None,
    ) -> pl.DataFrame:
        """What a query would read of this store, without reading it.

        Args:
            query: As in `sql`.
            params: Likewise.
            tables: Likewise.
            stores: Likewise.

        Returns:
            One row for every place of the query that reads `activations` or `scores`: table, alias, the checkpoints, sites and
            layers, the numbers of neurons, texts, languages and concepts, then rows, chunks and bytes, each beside how many the
            whole table has, and whether reading ends early, when there are enough rows. One more row for every other table that
            lies in files, with their bytes.

        Raises:
            QueryError: If the query is refused or wrong.
            TableNotFound: If it names a table that was not computed.
            StaleTable: If it names a table that stands on scores that changed since.

        Example:
            >>> query = "SELECT value FROM activations WHERE layer = 1 AND neuron = 5 AND site = 'mlp_pre' AND language = 'en'"
            >>> store.explain(query).select("layers", "neurons", "texts", "rows", "of_rows").rows()
            [('1', 1, 48, 144, 89856)]
        """
        frames = {name: as_frame(table) for name, table in (tables or {}).items()}
        return self._open_session(stores).explain(query, params, tables=frames)

    def ask(self, question: str, *, progress: Callable[[int, int, str], None] | None = None, **arguments: Any) -> pl.DataFrame:
        """The answer to one of the questions that every store knows: the macros of docs/questions.md.

        Args:
            question: Its name.
            progress: As in `sql`.
            **arguments: Its arguments, by the names that docs/questions.md gives them.

        Returns:
            The rows that ``FROM question(...)`` gives in SQL, and ``actlas ask`` on the command line.

        Raises:
            QueryError: If there is no such question, it has other arguments, or one of them names what is not there.
            TableNotFound: If it needs a table that was not computed; the message says what computes it.
            StaleTable: If it needs a table that stands on scores that changed since.

        Example:
            >>> store.ask("best_experts", checkpoint="planted-step64", language="en", concept="salt", n=2).height
            2
        """
        from actlas.query.sql.macro import macro_call

        return self.sql(macro_call(question, arguments), arguments, progress=progress)

    def scan(self, name: str) -> pl.LazyFrame:
        """Any table as a lazy frame; filters reach the chunks of `activations` and `scores`.

        Args:
            name: A table of docs/questions.md, or any that was published.

        Returns:
            The table; nothing of it is read before ``collect``.

        Raises:
            TableNotFound: If it was not computed; the message says what is there and what computes it.
            StaleTable: If it stands on scores that changed since; the message has the command that makes it again.

        Example:
            >>> store.scan("experts").filter(pl.col("rank") == 1).collect().height
            33
        """
        from actlas.query.sql.sources import table_sources

        sources = table_sources(self)
        if name in sources.grids:
            # to open every cube takes as long as a question
            before = self._scanned
            if before is None or name not in before.grids or before.snapshot != sources.snapshot:
                self._scanned = sources
            else:
                sources = before
        return sources.scan(name)

    def close(self) -> None:
        """Free what `sql` opened.

        Example:
            >>> from actlas.testing import planted_store
            >>> opened = open_store(planted_store(folder / "run.actlas"))
            >>> opened.sql("SELECT count(*) AS n FROM texts").item()
            144
            >>> opened.close()
        """
        with self._opening:
            for _, session in self._sessions.values():
                session.close()
            self._sessions.clear()

    def table(self, name: str, checkpoint: str) -> pl.DataFrame:
        """One checkpoint's part of a stored table.

        Args:
            name: A stored table, such as "experts".
            checkpoint: Id, as in `checkpoints`.

        Returns:
            Its rows, in the columns of docs/questions.md.

        Raises:
            TableNotFound: If it was not computed for this checkpoint.
            StaleTable: If it stands on scores that changed since.

        Example:
            >>> store.table("experts", "planted-step64").height
            66
        """
        self.table_settings(name, checkpoint)
        frame = self.scan(name).filter(pl.col("checkpoint") == checkpoint).collect()
        return TABLES[name].conform(frame) if name in TABLES else frame

    def score_stats(self, checkpoint: str, site: str) -> tuple[str, ...]:
        """Statistics that the scores of a cube have; none where they are not computed.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: As in `sites`.

        Returns:
            Names of statistics.

        Example:
            >>> store.score_stats("planted-step64", "mlp_pre")[:2]
            ('ap', 'auroc')
        """
        from actlas.query.sql.sources import score_stats

        return score_stats(self, checkpoint, site)

    def _open_session(self, stores: Mapping[str, Store | Path | str] | None = None) -> Session:
        """The connection to this store and others; another one when the files behind it are no longer those it was made for.

        That to this store alone is kept, and that to the others that were asked last.
        """
        from actlas.query.sql.session import Session
        from actlas.query.sql.sources import table_sources

        with self._opening:
            others = self._labelled(stores or {})
            sources, *beside = (table_sources(each) for each in (self, *others.values()))
            paths = [str(path) for each in (sources, *beside) for path in each.paths]
            state = (
                tuple(each.snapshot for each in (sources, *beside)),
                tuple((path, _written(path)) for path in paths),
                (self.threads, self.memory_limit),
            )
            made_of, session = self._sessions.get(tuple(others), (None, None))
            if session is None or session.is_interrupted or state != made_of:
                named = dict(zip(others, beside, strict=True))
                session = Session(sources, others=named, threads=self.threads, memory_limit=self.memory_limit)
                for labels in [one for one in self._sessions if one and others]:
                    del self._sessions[labels]
                self._sessions[tuple(others)] = (state, session)
            return session

    def _labelled(self, stores: Mapping[str, Store | Path | str]) -> dict[str, Store]:
        """Other stores by what a query calls them, in which SQL does not tell capital letters from small ones.

        Raises:
            QueryError: If a store cannot be called so, or two are called the same.
            StoreNotFound: If there is no store at a path.
        """
        found: dict[str, Store] = {}
        for label, store in stores.items():
            if label.lower() in (*_TAKEN, *found):
                raise QueryError(f"no other store can be called {label}, which is taken; give it another name")
            found[label.lower()] = store if isinstance(store, Store) else self._other(os.path.abspath(store))
        return found

    def _other(self, path: str) -> Store:
        """The store at a path; once it is open, it reads what was written since by itself."""
        if path not in self._others:
            self._others[path] = Store(path)
        return self._others[path]


def _written(path: str) -> int | None:
    """When a file was written; None for one that is not there, which matters only to a query that names its table."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def open_store(path: Path | str, mode: str = "r") -> Atlas:
    """Open a store.

    Args:
        path: Its folder.
        mode: "r", or "a" to keep scores and tables in it.

    Returns:
        The store.

    Raises:
        StoreNotFound: If there is none at `path`.

    Example:
        >>> from actlas.testing import planted_store
        >>> open_store(planted_store(folder / "run.actlas")).checkpoints
        ['planted-step0', 'planted-step64', 'planted-step128']
    """
    return Atlas(path, mode)


def as_frame(table: pl.DataFrame | Path | str) -> pl.DataFrame:
    """A frame, or the one in a file.

    Raises:
        QueryError: If the file is of no kind that is read, or cannot be.
    """
    if isinstance(table, pl.DataFrame):
        return table
    if not isinstance(table, str | Path):
        raise QueryError(f"a table is a polars frame or a file, not {type(table).__qualname__}; polars.DataFrame(...) makes one")
    path = Path(table)
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        ".parquet": pl.read_parquet,
        ".csv": pl.read_csv,
        ".jsonl": pl.read_ndjson,
        ".ndjson": pl.read_ndjson,
    }
    if path.suffix not in readers:
        raise QueryError(f"{path} is no table that can be read; give a file that ends in {', '.join(readers)}")
    try:
        return readers[path.suffix](path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise QueryError(f"{path} could not be read: {str(error).splitlines()[0]}") from error


def as_atlas(store: Atlas | str | Path, mode: str = "r") -> Atlas:
    """The store itself, or the one at that path: open for reading, unless the mode says otherwise."""
    return store if isinstance(store, Atlas) else Atlas(store, mode)
