"""What an address of data is answered with: a view, one of its tables in some format, or what SQL can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from actlas.errors import NameNotFound
from actlas.explore.server.served import Asking
from actlas.explore.view import Ask, Part, View, answer, chosen, describe
from actlas.explore.views import VIEWS
from actlas.explore.views.compare import COMPARE, compare
from actlas.query.formats import as_arrow, as_csv, as_parquet, escaped, printable_frame
from actlas.query.schema.comments import about
from actlas.query.sql.macro import macros
from actlas.words import no_such

#: What SQL can name here.
_COLUMNS = "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"

#: View and table whose query a person types.
_TYPED = ("sql", "answer")


def _csv(frame: pl.DataFrame) -> bytes:
    """For eyes, spreadsheets and terminals: nothing in it is computed or obeyed. The other formats have texts as they are."""
    return as_csv(printable_frame(frame), is_safe=True)


#: Format -> its media type, and what writes it.
FORMATS: Mapping[str, tuple[str, Callable[[pl.DataFrame], bytes]]] = {
    "csv": ("text/csv; charset=utf-8", _csv),
    "parquet": ("application/vnd.apache.parquet", as_parquet),
    "arrow": ("application/vnd.apache.arrow.stream", as_arrow),
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


def table(view: View, name: str, kind: str, given: Mapping[str, str], ask: Ask) -> bytes:
    """One table of a view in one format: for a page as many rows as it shows, in the others all.

    Raises:
        NameNotFound: If there is none of that name.
        QueryError: If its query is refused; a page is told so in the answer.
    """
    part = _Typed(name, "", given.get("query", "")) if is_typed(view, name) else view.part(name)
    params = chosen(view, given, ask)
    if kind == "json":
        # from another process come no more rows than a page shows
        return as_json(answer(part, params, ask.first if isinstance(ask, Asking) else ask))
    return FORMATS[kind][1](ask(part.sql, part.params(params)))


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
