"""A query as it is put to DuckDB: each place of a grid reads its own region, and what has to be the same twice is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import duckdb
import polars as pl

from actlas.query.sql.answer import read_answer
from actlas.query.sql.connection import Connection
from actlas.query.sql.grids import Grid
from actlas.query.sql.guard import ReadOnlyQuery, identifier
from actlas.query.sql.plan.once import Part, unsteady_ctes, unsteady_selects
from actlas.query.sql.plan.places import Leaf
from actlas.query.sql.plan.planner import MOST_KEYS, Asker, planned_places
from actlas.query.sql.sources import TableSources
from actlas.query.sql.stream import GridSource, Reading


class Rewriting:
    """Rewrites queries over the grids of one store.

    Args:
        connection: Asks what parts of a query give.
        sources: The tables.
        reading: What is read out of grids is counted there.
    """

    def __init__(self, connection: Connection, sources: TableSources, reading: Reading) -> None:
        self._connection, self._sources, self._reading = connection, sources, reading
        self._numbers = count()

    @contextmanager
    def planned(self, parsed: ReadOnlyQuery, params: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[Leaf, GridSource]]]]:
        """Within it, every place of the query that names a grid reads the part of it that the place can need.

        Gives the query in which they do, and the places with what each is read from.
        """
        grids = {name: grid for name, grid in self._sources.grids.items() if name in parsed.tables}
        if not grids:
            yield parsed.query, []
            return
        with self._asked_once(parsed, grids, params) as once, self._placed(once, grids, params) as planned:
            yield planned

    @contextmanager
    def _placed(
        self, parsed: ReadOnlyQuery, grids: Mapping[str, Callable[[], Grid]], params: Mapping[str, Any]
    ) -> Iterator[tuple[str, list[tuple[Leaf, GridSource]]]]:
        """The same for a query whose parts are the same whenever they are asked."""
        places = planned_places(grids, parsed.tree, self._asker(params))
        names = {f"{place.name} {number}": place for number, place in enumerate(places)}
        read = []
        try:
            for name, place in names.items():
                source = GridSource(
                    grids[place.name](),
                    self._reading,
                    place.region,
                    decided=place.decided,
                    top=place.top,
                    is_set=place.is_set,
                )
                self._connection.register(name, source)
                read.append((place.leaf, source))
            yield _with_names(parsed, {name: place.leaf for name, place in names.items()}), read
        finally:
            self._connection.unregister(names)

    @contextmanager
    def _asked_once(self, parsed: ReadOnlyQuery, grids: Collection[str], params: Mapping[str, Any]) -> Iterator[ReadOnlyQuery]:
        """Within it, what need not be the same rows twice is kept; gives the query that reads it from there."""
        kept: list[str] = []
        tried: set[str] = set()
        try:
            # one after the other, because the next one may name the one before
            while part := next(
                (one for one in unsteady_ctes(parsed.tree, grids, self._connection.tree) if one[0] not in tried), None
            ):
                tried.add(part[0])
                parsed = self._with_kept(parsed, [part[1]], kept, params)
            yield self._with_kept(parsed, list(unsteady_selects(parsed.tree, grids)), kept, params)
        finally:
            for name in kept if not self._connection.is_interrupted else ():
                self._connection.run(f"DROP TABLE IF EXISTS {identifier(name)}")

    def _with_kept(
        self, parsed: ReadOnlyQuery, parts: Sequence[Part], kept: list[str], params: Mapping[str, Any]
    ) -> ReadOnlyQuery:
        """A query that reads parts of it from tables of their own, as far as these can be made; `kept` takes their names."""
        texts: dict[tuple[int, int], str] = {}
        for part in parts:
            name = f"actlas kept {next(self._numbers)}"
            kept.append(name)
            is_whole = all(behind or self._is_select(_text(parsed, start, n)) for start, n, behind in part.places)
            if is_whole and self._keep(name, part, parsed, params):
                texts |= {(start, n): _in_place(identifier(name), behind) for start, n, behind in part.places}
        if not texts:
            return parsed
        query = _with_texts(parsed, texts)
        n_bytes = parsed.n_bytes + len(query.encode()) - len(parsed.query.encode())
        return replace(parsed, query=query, n_bytes=n_bytes, tree=self._connection.tree(query.encode()[-n_bytes:].decode()))

    def _keep(self, name: str, part: Part, parsed: ReadOnlyQuery, params: Mapping[str, Any]) -> bool:
        """Write the rows of a part of a query to a table; whether they are few, and need nothing of what is around the part."""
        tree = {**parsed.tree, "statements": [{**parsed.tree["statements"][0], "node": part.select}]}
        try:
            select = self._connection.written(tree)
            alone = replace(parsed, query=select, tree=self._connection.tree(select), n_bytes=len(select.encode()))
            with self.planned(alone, params) as (planned, _):
                table = f"CREATE TEMP TABLE {identifier(name)} AS SELECT * FROM ({planned}) LIMIT {MOST_KEYS + 1}"
                self._connection.run(table, params)
            ((n_rows,),) = self._connection.run(f"SELECT count(*) FROM {identifier(name)}")
        except (duckdb.InterruptException, duckdb.OutOfMemoryException):
            raise
        except duckdb.Error:
            return False
        return bool(n_rows <= MOST_KEYS)

    def _asker(self, params: Mapping[str, Any]) -> Asker:
        def run(sql: str, frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
            for name, frame in frames.items():
                self._connection.register(name, frame)
            try:
                return read_answer(self._connection.relation(sql, params))
            finally:
                # what a part of a query cannot do is no error of the query
                self._reading.refusals.clear()
                self._connection.unregister(frames)

        return Asker(run, self._connection.tree, self._connection.written, params)

    def _is_select(self, text: str) -> bool:
        """Whether a text is a query in brackets: of ``x = ANY (SELECT ...)`` a place is all of it."""
        return not self._connection.tree(text[1:-1])["error"]


def _with_names(parsed: ReadOnlyQuery, leaves: Mapping[str, Leaf]) -> str:
    """A query in which tables are called otherwise, at the places where it names them."""
    texts = {(leaf.start, leaf.length): f"{identifier(name)} AS {identifier(leaf.written)}" for name, leaf in leaves.items()}
    return _with_texts(parsed, texts)


def _with_texts(parsed: ReadOnlyQuery, texts: Mapping[tuple[int, int], str]) -> str:
    """A query with other texts at some places: where they start, and how long they are."""
    text = parsed.query.encode()
    # places are counted from where the SELECT begins
    before = len(text) - parsed.n_bytes
    for (start, length), other in sorted(texts.items(), reverse=True):
        text = text[: before + start] + other.encode() + text[before + start + length :]
    return text.decode()


def _text(parsed: ReadOnlyQuery, start: int, length: int) -> str:
    """What a query says at a place."""
    return parsed.query.encode()[-parsed.n_bytes :][start : start + length].decode()


def _in_place(name: str, behind: str) -> str:
    """A table in the place of another one, or of a sub-query."""
    return name + behind if behind else f"(FROM {name})"
