"""What a query leaves of `activations` or `scores`, found before it runs.

DuckDB hands a constant down to the table that it is compared with, but no key of a join, no sub-query, no pair and nothing that
has to be computed first, so that ``JOIN experts USING (site, layer, neuron)`` would read every value there is. Here each
condition that speaks of the labels of the table alone is put to DuckDB as a query over those labels, and each key of a join as a
query over the other side. The rows that this leaves are a region of the grid. The query itself is not changed: its conditions
still hold for every row, so that a region only has to be large enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import polars as pl

from actlas.query.sql.grids import Grid, Region
from actlas.query.sql.guard import identifier, walk
from actlas.query.sql.scan import axis_of, narrowed

Node = dict[str, Any]
#: Labels that a condition of several axes is put to at most, and keys of the other side of a join: beyond, nothing is gained.
_MOST_LABELS = 4_000_000
_MOST_KEYS = 2_000_000
#: Rows after which a query that is cut by LIMIT still counts as one that ends by itself.
_MOST_LIMIT = 1_000_000
#: What a table of labels is called while a condition is put to it.
_LABELS = "actlas_labels"
#: Axes of a neuron: of these a region need not be a box.
_PLACE = ("cube", "layer", "neuron")


@dataclass(frozen=True)
class Asker:
    """How a part of a query is put to DuckDB.

    Attributes:
        run: SQL and frames by name -> its rows.
        parse: SELECT -> its syntax tree.
        write: Syntax tree -> SQL.
    """

    run: Callable[[str, Mapping[str, pl.DataFrame]], pl.DataFrame]
    parse: Callable[[str], Node]
    write: Callable[[Node], str]


@dataclass(frozen=True)
class Leaf:
    """A table of a FROM clause.

    Attributes:
        node: Its syntax tree.
        is_kept: Whether a row of it that fails a condition of WHERE is in no row of the answer: not so where an outer join puts
            nulls in its place.
    """

    node: Node
    is_kept: bool

    @property
    def alias(self) -> str:
        """What columns of it are qualified with."""
        return str(self.node.get("alias") or self.node.get("table_name") or "").lower()


@dataclass(frozen=True)
class Place:
    """Where a query names the grid.

    Attributes:
        leaf: The table itself.
        others: The other tables of the same FROM.
        conditions: What WHERE and inner joins ask, joined by AND.
        shared: Columns that joins name with USING.
        ctes: Common table expressions that are in sight.
        is_limited: Whether the query ends after a few rows that pass its conditions (LIMIT without order or groups).
    """

    leaf: Leaf
    others: tuple[Leaf, ...]
    conditions: tuple[Node, ...]
    shared: tuple[str, ...]
    ctes: Node
    is_limited: bool


def planned_region(grid: Grid, query: Node, ask: Asker) -> tuple[Region | None, bool]:
    """The rows of a grid that a query can need, and whether it ends by itself after a few.

    Args:
        grid: The table.
        query: Syntax tree of the query.
        ask: Puts parts of it to DuckDB.

    Returns:
        A region that holds all of them; None for all rows, also where the query names the table more than once or not plainly.
    """
    places = list(_places(query, grid.name))
    if len(places) != 1:
        return None, False
    (place,) = places
    if not place.leaf.is_kept:
        return None, False
    plan = _Plan(grid, place, ask, {column for axis in grid.axes.values() for column in axis.columns})
    is_decided = plan.narrow()
    return plan.region, place.is_limited and is_decided


@dataclass
class _Plan:
    """A region that grows smaller, condition by condition."""

    grid: Grid
    place: Place
    ask: Asker
    labels: set[str]
    region: Region = field(init=False)

    def __post_init__(self) -> None:
        self.region = narrowed(self.grid, None, ())

    def narrow(self) -> bool:
        """Put every condition to the labels; whether all of them are decided by labels of one axis."""
        by_columns = [(self._own_columns(condition), condition) for condition in self.place.conditions]
        single = [(axis_of(self.grid, columns or ()), condition) for columns, condition in by_columns]
        for axis, condition in single:
            if axis is not None:
                self._by_axis(axis, condition)
        for joined, keys in self._keys():
            self._by_keys(joined, keys)
        for (axis, condition), (columns, _) in zip(single, by_columns, strict=True):
            if axis is None and columns:
                self._by_several(columns, condition)
        return all(axis is not None for axis, _ in single)

    def _own_columns(self, condition: Node) -> set[str] | None:
        """The labels of the grid that a condition speaks of; None where it speaks of anything else."""
        columns = set()
        if _is_volatile(condition):
            return None
        for names in _column_names(condition):
            *qualifier, column = names
            if column not in self.labels or (qualifier and qualifier[-1] != self.place.leaf.alias):
                return None
            columns.add(column)
        return columns

    def _by_axis(self, axis: str, condition: Node) -> None:
        labels = self.grid.axes[axis][self.region.box[axis]].with_columns(actlas_at=self.region.box[axis])
        kept = self._passing(labels, condition)
        if kept is not None:
            self.region = Region({**self.region.box, axis: np.sort(kept["actlas_at"].to_numpy())}, self.region.cells)

    def _by_several(self, columns: set[str], condition: Node) -> None:
        """A condition of cubes, layers and neurons together, such as a list of (layer, neuron)."""
        axes = [axis for axis, labels in self.grid.axes.items() if columns & set(labels.columns)]
        size = np.prod([self.region.box[axis].size for axis in axes], dtype=float)
        if not set(axes) <= set(_PLACE) or size > _MOST_LABELS or self.region.cells is not None:
            return
        frames = [
            self.grid.axes[axis][self.region.box[axis]].with_columns(pl.Series(axis, self.region.box[axis])) for axis in axes
        ]
        # positions of layers and neurons are what they are called
        labels = frames[0]
        for frame in frames[1:]:
            labels = labels.join(frame.select(pl.all().exclude(labels.columns)), how="cross")
        kept = self._passing(labels, condition)
        if kept is not None:
            self._keep_places(kept)

    def _passing(self, labels: pl.DataFrame, condition: Node) -> pl.DataFrame | None:
        """Rows of labels that pass a condition; None where DuckDB cannot tell from labels alone."""
        tree = self.ask.parse(f"SELECT * FROM {_LABELS} AS {identifier(self.place.leaf.alias)}")
        select = tree["statements"][0]["node"]
        select["where_clause"], select["cte_map"] = condition, self.place.ctes
        return self._answer(tree, {_LABELS: labels})

    def _answer(self, tree: Node, frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame | None:
        try:
            return self.ask.run(self.ask.write(tree), frames)
        except duckdb.Error:
            # it needs what is not here: another table of the same FROM, say
            return None

    def _keys(self) -> Iterator[tuple[list[str], pl.DataFrame]]:
        """Labels of the grid that have to be equal to something of another table, and what that table has."""
        for other in self.place.others:
            pairs = dict(self._pairs(other))
            if not pairs or not other.is_kept or other.node.get("table_name") in ("activations", "scores"):
                continue
            tree = self.ask.parse("SELECT DISTINCT 1 FROM x LIMIT 1")
            select = tree["statements"][0]["node"]
            select["from_table"], select["cte_map"] = other.node, self.place.ctes
            select["select_list"] = [{**expression, "alias": column} for column, expression in pairs.items()]
            limit = next(one for one in select["modifiers"] if one["type"] == "LIMIT_MODIFIER")
            limit["limit"] = self.ask.parse(f"SELECT {_MOST_KEYS + 1}")["statements"][0]["node"]["select_list"][0]
            mine = [condition for condition in self.place.conditions if self._is_of(condition, other)]
            select["where_clause"] = _and(mine, self.ask)
            keys = self._answer(tree, {})
            if keys is not None and keys.height <= _MOST_KEYS:
                yield list(pairs), keys

    def _pairs(self, other: Leaf) -> Iterator[tuple[str, Node]]:
        """Label of the grid -> the expression of another table that it has to be equal to."""
        if len(self.place.others) == 1:
            for column in self.place.shared:
                if column in self.labels:
                    yield column, {**_COLUMN, "column_names": [column]}
        for condition in self.place.conditions:
            if condition.get("type") != "COMPARE_EQUAL":
                continue
            for own, others in pairwise([condition["left"], condition["right"], condition["left"]]):
                columns = self._own_columns(own)
                if own.get("class") == "COLUMN_REF" and columns and self._is_of(others, other):
                    yield columns.pop(), others

    def _is_of(self, expression: Node, other: Leaf) -> bool:
        """Whether an expression speaks of one other table alone."""
        names = list(_column_names(expression))
        return bool(names) and all(len(each) > 1 and each[-2] == other.alias for each in names)

    def _by_keys(self, columns: Sequence[str], keys: pl.DataFrame) -> None:
        for axis, labels in self.grid.axes.items():
            shared = [column for column in columns if column in labels.columns]
            if shared:
                own = labels.select(shared)[self.region.box[axis]].with_columns(pl.Series("actlas_at", self.region.box[axis]))
                kept = own.join(_as_labels(keys.select(shared), labels), on=shared, how="semi")
                self.region = Region({**self.region.box, axis: np.sort(kept["actlas_at"].to_numpy())}, self.region.cells)
        if {"layer", "neuron"} <= set(columns) and self.region.cells is None:
            self._by_places(columns, keys)

    def _by_places(self, columns: Sequence[str], keys: pl.DataFrame) -> None:
        cubes = self.grid.axes["cube"]
        shared = [column for column in columns if column in cubes.columns]
        place = [_as_labels(keys.select(name), self.grid.axes[name])[name] for name in ("layer", "neuron")]
        typed = pl.DataFrame([*keys.select(shared), *place])
        boxed = cubes[self.region.box["cube"]].with_columns(pl.Series("cube", self.region.box["cube"]))
        joined = boxed.join(typed.unique(), on=shared) if shared else boxed.join(typed.unique(), how="cross")
        self._keep_places(joined.select("cube", "layer", "neuron").drop_nulls())

    def _keep_places(self, places: pl.DataFrame) -> None:
        """Keep these neurons: rows of positions of a layer, and of a cube and a neuron where they have those columns."""
        for axis in _PLACE:
            if axis not in places.columns:
                places = places.join(pl.DataFrame({axis: self.region.box[axis]}), how="cross")
        grouped = places.unique().sort("neuron").group_by("cube", "layer", maintain_order=True).agg("neuron")
        cells = {
            (int(cube), int(layer)): neurons.to_numpy().astype(np.int64)
            for cube, layer, neurons in zip(grouped["cube"], grouped["layer"], grouped["neuron"], strict=True)
        }
        self.region = Region(self.region.box, cells)


_VOLATILE = frozenset({"random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "nextval", "currval", "setval", "setseed"})
_COLUMN: Node = {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": 0, "query_location_length": 0}


def _is_volatile(expression: Node) -> bool:
    """Whether it may be something else each time it is asked."""
    return any(
        str(node.get("function_name")).lower() in _VOLATILE for node in walk(expression) if node.get("class") == "FUNCTION"
    )


def _as_labels(keys: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Keys in the types of labels; one that has no such value is null, and joins with nothing."""
    return keys.select(pl.col(name).cast(labels.schema[name], strict=False) for name in keys.columns)


def _and(conditions: list[Node], ask: Asker) -> Node | None:
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    both: Node = ask.parse("SELECT 1 WHERE true AND true")["statements"][0]["node"]["where_clause"]
    return {**both, "children": conditions}


def _places(tree: Any, name: str, ctes: Node | None = None) -> Iterator[Place]:
    """Every place at which a query names a table, wherever it is nested."""
    if isinstance(tree, list):
        for one in tree:
            yield from _places(one, name, ctes)
    if not isinstance(tree, dict):
        return
    if "cte_map" in tree:
        own = tree["cte_map"]["map"]
        ctes = {**tree["cte_map"], "map": [*(ctes or {"map": []})["map"], *own]}
    if tree.get("type") == "SELECT_NODE" and isinstance(tree.get("from_table"), dict):
        yield from _places_of(tree, name, ctes or {"map": []})
    elif _is_table(tree, name):
        # outside a plain SELECT; together with what `_places_of` finds these are more than one, and nothing is planned
        yield Place(Leaf(tree, False), (), (), (), ctes or {"map": []}, False)
    for key, value in tree.items():
        if not (tree.get("type") == "SELECT_NODE" and key == "from_table" and isinstance(value, dict)):
            yield from _places(value, name, ctes)
        else:
            yield from _nested(value, name, ctes)


def _is_table(node: Node, name: str) -> bool:
    own = str(node.get("schema_name", "")).lower() in ("", "main")
    return node.get("type") == "BASE_TABLE" and own and str(node["table_name"]).lower() == name


def _nested(table: Node, name: str, ctes: Node | None) -> Iterator[Place]:
    """Places inside a FROM clause that are not its own leaves: sub-queries, arguments of functions, conditions."""
    if table.get("type") == "JOIN":
        yield from _nested(table["left"], name, ctes)
        yield from _nested(table["right"], name, ctes)
        yield from _places(table.get("condition"), name, ctes)
    elif table.get("type") != "BASE_TABLE":
        yield from _places({key: value for key, value in table.items() if key != "type"}, name, ctes)


def _places_of(select: Node, name: str, ctes: Node) -> Iterator[Place]:
    leaves: list[Leaf] = []
    conditions, shared = list(_conjuncts(select.get("where_clause"))), list[str]()
    _walk_from(select["from_table"], True, leaves, conditions, shared)
    defined = {str(entry["key"]).lower() for entry in ctes["map"]}
    for leaf in leaves:
        if _is_table(leaf.node, name) and name not in defined:
            others = tuple(other for other in leaves if other is not leaf)
            yield Place(leaf, others, tuple(conditions), tuple(shared), ctes, not others and _is_limited(select))


def _walk_from(table: Node, is_kept: bool, leaves: list[Leaf], conditions: list[Node], shared: list[str]) -> None:
    """Leaves of a FROM clause, with the conditions and USING columns of its inner joins."""
    if table.get("type") != "JOIN":
        # a sample is drawn before any condition, and columns may have been given other names
        is_plain = not table.get("sample") and not table.get("column_name_alias")
        leaves.append(Leaf(table, is_kept and is_plain))
        return
    kind = table["join_type"]
    is_plain = table["ref_type"] in ("REGULAR", "CROSS")
    if kind == "INNER" and is_plain and is_kept:
        conditions += _conjuncts(table.get("condition"))
        shared += [str(column).lower() for column in table.get("using_columns", ())]
    _walk_from(table["left"], is_kept and is_plain and kind in ("INNER", "LEFT"), leaves, conditions, shared)
    _walk_from(table["right"], is_kept and is_plain and kind in ("INNER", "RIGHT"), leaves, conditions, shared)


def _is_limited(select: Node) -> bool:
    """Whether it ends after a number of rows that is known and small."""
    modifiers = select.get("modifiers", ())
    if [modifier["type"] for modifier in modifiers] != ["LIMIT_MODIFIER"] or select.get("qualify"):
        return False
    has_groups = bool(select.get("group_expressions")) or _calls(select["select_list"])
    numbers = [modifiers[0].get(part) for part in ("limit", "offset") if modifiers[0].get(part)]
    texts = [str(one.get("literal", {}).get("text", "")) if one.get("class") == "CONSTANT" else "" for one in numbers]
    return not has_groups and all(text.isdigit() and int(text) <= _MOST_LIMIT for text in texts)


def _calls(expressions: Sequence[Node]) -> bool:
    """Whether any function is called at all: which of them gather rows is not seen in a syntax tree."""
    return any(node.get("class") in ("FUNCTION", "WINDOW", "SUBQUERY") for node in walk(expressions))


def _conjuncts(expression: Node | None) -> Iterator[Node]:
    if not expression:
        return
    if expression.get("type") == "CONJUNCTION_AND":
        for child in expression["children"]:
            yield from _conjuncts(child)
    else:
        yield expression


def _column_names(expression: Any) -> Iterator[list[str]]:
    """Columns that an expression names, each with what qualifies it; those of sub-queries are their own affair."""
    if isinstance(expression, list):
        for one in expression:
            yield from _column_names(one)
    elif isinstance(expression, dict):
        if expression.get("class") == "COLUMN_REF":
            yield [str(part).lower() for part in expression["column_names"]]
        elif expression.get("class") == "SUBQUERY":
            yield from _column_names(expression.get("child"))
        else:
            for value in expression.values():
                yield from _column_names(value)
