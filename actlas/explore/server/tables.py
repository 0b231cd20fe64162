"""What an address of data is answered with: a view, one of its tables in some format, or what SQL can name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from actlas.errors import NameNotFound
from actlas.explore.server.served import Asking
from actlas.explore.view import Ask, Part, View, answer, chosen, describe
from actlas.explore.views import VIEWS
from actlas.explore.views.compare import COMPARE, compare
from actlas.query.formats import escaped
from actlas.query.schema.comments import about
from actlas.query.sql.macro import macros
from actlas.query.workers.client import FileKind
from actlas.words import no_such

#: What SQL can name here.
_COLUMNS = "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"

#: View and table whose query a person types.
_TYPED = ("sql", "answer")


#: Format of a whole table -> its media type.
FILES: Mapping[FileKind, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
JSON = "application/json"


def view_named(name: str, stores: Sequence[str] = (), beside: str | None = None) -> View:
    """A view.

    Args:
        name: Its name.
        stores: Labels of stores that can be set beside each other, the one that is looked at first.
        beside: The one that is; None: none.

    Raises:
        NameNotFound: If there is none of that name, or no such store.
    """
    if name not in VIEWS:
        raise NameNotFound(no_such("view", [name], list(VIEWS), "actlas explore"))
    if name != COMPARE.name or len(stores) < 2:
        return VIEWS[name]
    if beside and beside not in stores:
        raise NameNotFound(no_such("store", [beside], stores, "actlas explore"))
    return compare(stores, beside)


def is_typed(view: View, name: str) -> bool:
    """Whether a table is the answer to a query that a person types."""
    return (view.name, name) == _TYPED


def described(view: View, given: Mapping[str, str], ask: Ask, stores: Sequence[str]) -> bytes:
    """A view without the rows of its tables; beside it the stores that it can be of, and the other views."""
    views = [{"name": one.name, "title": one.title} for one in VIEWS.values()]
    return as_json({**describe(view, given, ask), "stores": list(stores), "views": views})


def table(view: View, name: str, given: Mapping[str, str], ask: Ask) -> bytes:
    """One table of a view, as many rows as a page shows.

    Raises:
        NameNotFound: If there is none of that name.
        QueryError: If what is given cannot be chosen; that the query of the table is refused is told in the answer.
    """
    part, params = _asked(view, name, given, ask)
    # from another process come no more rows than a page shows
    return as_json(answer(part, params, ask.first if isinstance(ask, Asking) else ask))


def whole_table(view: View, name: str, kind: FileKind, given: Mapping[str, str], ask: Asking) -> Iterator[bytes]:
    """All of a table as parts of a file.

    Raises:
        NameNotFound: If there is none of that name.
        QueryError: If what is given cannot be chosen, or the query is refused, which may show on the way.
    """
    part, params = _asked(view, name, given, ask)
    yield from ask.file(part.sql, part.params(params), kind)


def _asked(view: View, name: str, given: Mapping[str, str], ask: Ask) -> tuple[Part, dict[str, Any]]:
    part = _Typed(name, "", given.get("query", "")) if is_typed(view, name) else view.part(name)
    return part, chosen(view, given, ask)


def schema(ask: Ask) -> bytes:
    """What SQL can name: tables with their columns, and macros."""
    tables = [
        {
            "name": name,
            "about": about(name),
            "columns": rows.select(name="column_name", type="data_type", about="comment").to_dicts(),
        }
        for (name,), rows in ask(_COLUMNS, {}).group_by("table_name", maintain_order=True)
    ]
    return as_json(
        {
            "tables": tables,
            "macros": [{"name": one.name, "call": one.call, "about": one.about} for one in macros().values()],
        }
    )


class _Typed(Part):
    """The query that a person types: no choice has a value in it."""

    def params(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        return {}


def as_json(value: Any) -> bytes:
    """What a page reads, in one line; what a terminal would act on is written as an escape."""
    return escaped(msgspec.json.encode(value).decode()).encode() + b"\n"
