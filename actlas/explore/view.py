"""What a view of a store is: choices, and tables that SQL answers. Everything that shows one gets it from here.

No number is made anywhere else: a page, a widget and a report show the answers of these queries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from actlas.errors import ActlasError, NameNotFound, QueryError, StaleTable, TableNotFound
from actlas.query.schema.meanings import meaning
from actlas.query.sql.guard import quoted
from actlas.words import no_such

#: Answers a query with the values of its ``$name``: `Store.sql`, or whatever stands for it.
Ask = Callable[[str, Mapping[str, Any]], pl.DataFrame]
#: The same, with the rows that a page shows, and how many there are.
AskFirst = Callable[[str, Mapping[str, Any]], tuple[pl.DataFrame, int]]

#: Rows of a table that are shown; the whole table is there to be saved.
MOST_ROWS = 5_000
#: JavaScript counts exactly up to here.
_EXACT = 2**53
#: Where an error about a table goes on to what else there is.
_ALL_TABLES = re.compile(r"; (?!did you mean)[^;]* has (\w+, )+\w+$")
_PARAMETER = re.compile(r"\$([a-z_][a-z0-9_]*)")


@dataclass(frozen=True)
class Choice:
    """Something that a view is about, such as a concept.

    Attributes:
        name: The parameter of the queries.
        label: What a person reads.
        sql: Gives one column of what can be chosen, the one that is shown first ahead; "" takes any text.
        needs: Other choices that `sql` depends on; they are declared before this one.
        kind: What its values are: str, int or float.
        otherwise: Asked in place of `sql` where a table that this reads is not there, or out of date.
    """

    name: str
    label: str
    sql: str
    needs: tuple[str, ...] = ()
    kind: type[str] | type[int] | type[float] = str
    otherwise: str = ""

    @property
    def is_free(self) -> bool:
        return not self.sql


@dataclass(frozen=True)
class Picture:
    """How a table is drawn.

    Attributes:
        kind: lines, matrix, bars, ranges, histogram, texts or facts.
        columns: Which column of the table is what in the picture; several where a picture takes several. `x_label` is no
            column, but what an axis is called.
    """

    kind: str
    columns: Mapping[str, str | Sequence[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **{name: [*of] if not isinstance(of, str) else of for name, of in self.columns.items()}}


def picture(kind: str, **columns: str | Sequence[str]) -> Picture:
    """A `Picture`, in fewer words."""
    return Picture(kind, columns)


@dataclass(frozen=True)
class Part:
    """One table of a view.

    Attributes:
        name: What it is called in addresses.
        title: Its heading.
        sql: The query, whose ``$name`` are choices of the view.
        picture: How it is drawn; None where the table says it best.
        about: A line that says what is seen.
        links: Column -> address of another view, in which ``{name}`` stands for the value of a column in the same row, or, where
            the table has no such column, for what is chosen.
    """

    name: str
    title: str
    sql: str
    picture: Picture | None = None
    about: str = ""
    links: Mapping[str, str] = field(default_factory=dict)

    def params(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the choices that the query names."""
        return {name: chosen[name] for name in _named(self.sql)}


@dataclass(frozen=True)
class View:
    """One page.

    Attributes:
        name: What it is called in addresses.
        title: Its heading.
        choices: What it is about.
        parts: Its tables, in order.
        about: A line below the heading.
    """

    name: str
    title: str
    choices: tuple[Choice, ...]
    parts: tuple[Part, ...]
    about: str = ""

    def part(self, name: str) -> Part:
        """One of its tables.

        Raises:
            NameNotFound: If it has none of that name.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise NameNotFound(no_such("table", [name], [part.name for part in self.parts], f"view {self.name}"))


def chosen(view: View, given: Mapping[str, str], ask: Ask) -> dict[str, Any]:
    """The values of a view's choices, typed; of those that are not given, the first that can be chosen.

    Args:
        view: A view.
        given: Values as an address has them.
        ask: Answers queries.

    Returns:
        Choice -> value; None where nothing can be chosen.

    Raises:
        QueryError: If a value is not of its kind, or names no choice.
    """
    return _choose(view, given, ask)[0]


def describe(view: View, given: Mapping[str, str], ask: Ask) -> dict[str, Any]:
    """A view without the rows of its tables.

    Args:
        view: A view.
        given: Values of its choices as an address has them; the first that can be chosen for those that are left out.
        ask: Answers queries.

    Returns:
        view, title, about, params, choices, parts: what JSON can hold.

    Raises:
        QueryError: If a value cannot be chosen.
    """
    values, possible = _choose(view, given, ask, is_listed=True)
    return {
        "view": view.name,
        "title": view.title,
        "about": view.about,
        "params": values,
        "choices": [
            {
                "name": choice.name,
                "label": choice.label,
                "values": possible[choice.name],
                "is_free": choice.is_free,
                "needs": list(choice.needs),
            }
            for choice in view.choices
        ],
        "parts": [
            {
                "name": part.name,
                "title": part.title,
                "about": part.about,
                "sql": filled(part.sql, values),
                "picture": part.picture and part.picture.to_json(),
                "links": dict(part.links),
            }
            for part in view.parts
        ],
    }


def answer(part: Part, params: Mapping[str, Any], ask: Ask | AskFirst) -> dict[str, Any]:
    """The rows of one table, for a page: at most as many as it shows.

    Args:
        part: One table of a view.
        params: What is chosen, as `chosen` gives it.
        ask: Answers queries.

    Returns:
        columns (name, type, about), values (one list per column), n_rows, is_whole, error: what JSON can hold. An answer that
        is refused, such as a table that was not computed, is an error of a kind and a line, without columns.
    """
    try:
        found = ask(part.sql, part.params(params))
    except ActlasError as error:
        text = " ".join(str(error).split())
        # a page has no room for the names of all other tables
        said = {"kind": type(error).__name__, "text": _ALL_TABLES.sub("", text) if isinstance(error, TableNotFound) else text}
        return {"columns": [], "values": [], "n_rows": 0, "is_whole": True, "error": said}
    return as_answer(found) if isinstance(found, pl.DataFrame) else as_answer(found[0], n_rows=found[1])


def as_answer(frame: pl.DataFrame, most: int = MOST_ROWS, *, n_rows: int | None = None) -> dict[str, Any]:
    """A frame as `answer` gives it.

    Args:
        frame: The rows, or the first of them.
        most: Rows that are given at most.
        n_rows: How many there are; None for those of the frame.
    """
    shown, n_rows = frame.head(most), frame.height if n_rows is None else n_rows
    return {
        "columns": [{"name": name, "type": str(dtype), "about": meaning("", name)} for name, dtype in frame.schema.items()],
        "values": [[plain(value) for value in column.to_list()] for column in shown.get_columns()],
        "n_rows": n_rows,
        "is_whole": shown.height == n_rows,
        "error": None,
    }


def filled(sql: str, params: Mapping[str, Any]) -> str:
    """A query in which values stand where its ``$name`` were: one to copy and to ask again.

    Example:
        >>> filled("FROM experts WHERE concept = $concept AND rank <= $k", {"concept": "cow's milk", "k": 5})
        "FROM experts WHERE concept = 'cow''s milk' AND rank <= 5"
    """
    return _PARAMETER.sub(lambda found: _literal(params[found[1]]), sql)


def plain(value: Any) -> Any:
    """A value as JSON can hold it: no number that is none, none that a browser would round; bytes and times as text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, int):
        return value if abs(value) < _EXACT else str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | pl.Series):
        return [plain(one) for one in value]
    return value.hex() if isinstance(value, bytes) else str(value)


def _named(sql: str) -> Iterator[str]:
    """The ``$name`` of a query."""
    yield from dict.fromkeys(_PARAMETER.findall(sql))


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return quoted(value) if isinstance(value, str) else repr(value)


def _choose(
    view: View, given: Mapping[str, str], ask: Ask, *, is_listed: bool = False
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The value of every choice, and what can be chosen: of all choices if that is to be listed, else where it is needed."""
    known = [choice.name for choice in view.choices]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise QueryError(no_such("choice", unknown, known, f"view {view.name}"))
    values: dict[str, Any] = {}
    possible: dict[str, list[Any]] = {}
    for choice in view.choices:
        text = given.get(choice.name)
        is_asked = not choice.is_free and (is_listed or not text)
        possible[choice.name] = _possible(choice, values, ask) if is_asked else []
        if text:
            values[choice.name] = _typed(choice, text)
            if is_asked and values[choice.name] not in possible[choice.name]:
                there = [str(one) for one in possible[choice.name]]
                raise QueryError(no_such(choice.label.lower(), [text], there, "the store"))
        else:
            nothing = "" if choice.is_free and choice.kind is str else None
            values[choice.name] = next(iter(possible[choice.name]), nothing)
    return values, possible


def _possible(choice: Choice, values: Mapping[str, Any], ask: Ask) -> list[Any]:
    try:
        frame = ask(choice.sql, {name: values[name] for name in choice.needs})
    except (TableNotFound, StaleTable):
        if not choice.otherwise:
            raise
        frame = ask(choice.otherwise, {name: values[name] for name in _named(choice.otherwise)})
    return [plain(value) for value in frame.to_series(0).unique(maintain_order=True).drop_nulls().to_list()]


def _typed(choice: Choice, text: str) -> Any:
    try:
        return choice.kind(text)
    except ValueError:
        kind = "a whole number" if choice.kind is int else "a number"
        raise QueryError(f"{choice.label.lower()} must be {kind}, not {text!r}") from None


def parts_of(views: Mapping[str, View]) -> Iterator[tuple[View, Part]]:
    """Every table of every view."""
    for view in views.values():
        for part in view.parts:
            yield view, part
