"""What a query leaves of `activations` or `scores`, found before it runs.

DuckDB hands a constant down to the table that it is compared with, but no key of a join, no sub-query, no pair and nothing that
has to be computed first, so that ``JOIN experts USING (site, layer, neuron)`` would read every value there is. Here each
condition that speaks of the labels of the table alone is put to those labels, and each key of a join is asked of the other side.
The rows that this leaves are a region of the grid, found for every place that names one by itself. The query is not changed
beyond reading each place from its region: its conditions still hold for every row, so that a region only has to be large enough.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, permutations
from typing import Any

import duckdb
import numpy as np
import polars as pl
from duckdb._sources.nodes import Binary, Col, In, Lit, fragment

from actlas.query.sql.grids import Grid, Region, label_columns
from actlas.query.sql.guard import identifier
from actlas.query.sql.plan.once import is_random, is_unsteady
from actlas.query.sql.plan.places import Clause, Leaf, Node, clauses, column_names, column_parts, literal, table_name
from actlas.query.sql.scan import axis_of, narrowed
from actlas.query.sql.values import Top

#: Labels that a condition of several axes is put to at most, and keys of the other side of a join: beyond, nothing is gained.
_MOST_LABELS = 4_000_000
MOST_KEYS = 2_000_000
#: What a table of labels is called while a condition is put to it.
_LABELS = "actlas_labels"
#: Axes of a neuron: of these a region need not be a box.
_PLACE = ("cube", "layer", "neuron")
#: Comparisons of a label with a constant, as they stand in a syntax tree, and with the sides exchanged.
_COMPARE: Mapping[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "COMPARE_EQUAL": (operator.eq, operator.eq),
    "COMPARE_NOTEQUAL": (operator.ne, operator.ne),
    "COMPARE_LESSTHAN": (operator.lt, operator.gt),
    "COMPARE_LESSTHANOREQUALTO": (operator.le, operator.ge),
    "COMPARE_GREATERTHAN": (operator.gt, operator.lt),
    "COMPARE_GREATERTHANOREQUALTO": (operator.ge, operator.le),
}


@dataclass(frozen=True)
class Asker:
    """How a part of a query is put to DuckDB.

    Attributes:
        run: SQL and frames by name -> its rows.
        parse: SELECT -> its syntax tree.
        write: Syntax tree -> SQL.
        params: Values of the ``$name`` of the query.
    """

    run: Callable[[str, Mapping[str, pl.DataFrame]], pl.DataFrame]
    parse: Callable[[str], Node]
    write: Callable[[Node], str]
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Planned:
    """One place at which a query names a grid, and what it needs of it.

    Attributes:
        name: The table.
        leaf: The place.
        region: Rows that hold all that are needed.
        decided: Conditions that all of them pass, as DuckDB shows filters.
        top: What is asked for of them where only the beginning of an order is; None for all.
        is_set: Whether it does not matter how often there is a row.
    """

    name: str
    leaf: Leaf
    region: Region
    decided: frozenset[str]
    top: Top | None
    is_set: bool


def planned_places(grids: Mapping[str, Callable[[], Grid]], query: Node, ask: Asker) -> list[Planned]:
    """Every place at which a query names a grid, but those of which nothing is known that DuckDB does not hand down itself.

    Args:
        grids: Name -> the table.
        query: Syntax tree of the query.
        ask: Puts parts of it to DuckDB.
    """
    planned = []
    for clause in clauses(query):
        plans = [_Plan(grids[name](), clause, leaf, ask) for leaf, name in clause.named(grids) if leaf.is_kept]
        for plan in plans:
            plan.narrow()
        # keys of another place are known when its own conditions are
        for one, other in permutations(plans, 2):
            one.narrow_by(other)
        planned += [plan.planned() for plan in plans if not plan.is_handed_down]
    return planned


@dataclass
class _Plan:
    """A region that grows smaller, condition by condition."""

    grid: Grid
    clause: Clause
    leaf: Leaf
    ask: Asker
    labels: frozenset[str] = field(init=False)
    region: Region = field(init=False)
    is_decided: bool = field(init=False, default=False)
    is_handed_down: bool = field(init=False, default=False)
    decided: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.labels = label_columns(self.grid)
        self.region = narrowed(self.grid, None, ())

    def planned(self) -> Planned:
        """What was found."""
        top = self.clause.top(set(self.grid.schema) - self.labels) if self.is_decided else None
        return Planned(self.grid.name, self.leaf, self.region, frozenset(self.decided), top, self.is_set)

    @property
    def is_set(self) -> bool:
        """Whether it does not matter how often there is a row."""
        return self.clause.takes_sets and not any(map(is_random, self.clause.conditions))

    def narrow(self) -> None:
        """Put every condition to the labels."""
        self.is_decided = True
        plain, other, several = [], [], []
        for condition in self.clause.conditions:
            columns = self._own_columns(condition)
            axis = axis_of(self.grid, columns or ())
            expression = None if axis is None else self._plain(condition, self.grid.axes[axis].schema)
            if axis is not None and expression is not None:
                plain.append((axis, expression))
            elif axis is not None:
                other.append((axis, condition))
            else:
                self.is_decided = False
                several += [(columns, condition)] if columns else []
        is_alone = len(self.clause.leaves) == 1
        self.is_decided &= is_alone
        has_more = self.is_set or self.clause.top(set(self.grid.schema) - self.labels) is not None
        self.is_handed_down = is_alone and not other and not several and not has_more
        if self.is_handed_down:
            return
        self.region = narrowed(self.grid, self.region, plain)
        for axis, condition in other:
            self.is_decided &= self._by_axis(axis, condition)
        for joined, keys in self._keys():
            self._by_keys(joined, keys)
        for columns, condition in several:
            self._by_several(columns, condition)

    def narrow_by(self, other: _Plan) -> None:
        """Leave what has the labels that another grid of the same FROM has in the columns that both are joined by."""
        pairs = {own: names[-1] for own, one in self._pairs(other.leaf) for names in [column_parts(one)] if names}
        cells = other.region.cells
        for axis, labels in other.grid.axes.items():
            columns = {own: theirs for own, theirs in pairs.items() if theirs in labels.columns}
            if columns:
                here = labels[other.region.box[axis]]
                self._by_keys(list(columns), here.select(pl.col(theirs).alias(own) for own, theirs in columns.items()).unique())
        shared = [own for own, theirs in pairs.items() if own == theirs]
        if cells is not None and {"layer", "neuron"} <= set(shared):
            cubes = other.grid.axes["cube"]
            none = cubes.clear().with_columns(layer=pl.lit(0, pl.Int32), neuron=pl.lit(0, pl.Int64))
            parts = [
                cubes[[cube]].with_columns(layer=pl.lit(layer, pl.Int32)).join(pl.DataFrame({"neuron": neurons}), how="cross")
                for (cube, layer), neurons in cells.items()
            ]
            keys = [column for column in shared if column in none.columns]
            self._by_keys(keys, pl.concat([none, *parts]).select(keys).unique())

    def _own_columns(self, condition: Node) -> set[str] | None:
        """The labels of the grid that a condition speaks of; None where it speaks of anything else."""
        columns = set()
        if is_unsteady(condition, self.clause.ctes):
            return None
        for names in column_names(condition):
            *qualifier, column = names
            if column not in self.labels or (qualifier and qualifier[-1] != self.leaf.alias):
                return None
            columns.add(column)
        return columns

    def _by_axis(self, axis: str, condition: Node) -> bool:
        """A condition of one axis; whether it could be decided."""
        labels = self.grid.axes[axis][self.region.box[axis]].with_columns(actlas_at=self.region.box[axis])
        kept = self._passing(labels, condition)
        if kept is not None:
            self.region = Region({**self.region.box, axis: np.sort(kept["actlas_at"].to_numpy())}, self.region.cells)
        return kept is not None

    def _plain(self, condition: Node, schema: Mapping[str, pl.DataType]) -> pl.Expr | None:
        """A label compared with strings or integers like itself, which need not be put to DuckDB; None for anything else."""
        kind = str(condition.get("type"))
        is_first = kind in _COMPARE and condition["left"].get("class") == "COLUMN_REF"
        if kind in _COMPARE:
            column, constant = (condition[side] for side in (("left", "right") if is_first else ("right", "left")))
            constants = [constant]
        elif kind == "COMPARE_IN":
            column, *constants = condition["children"]
        elif kind == "COMPARE_BETWEEN":
            column, constants = condition["input"], [condition["lower"], condition["upper"]]
        else:
            return None
        names = column_parts(column)
        values = [literal(constant, self.ask.params) for constant in constants]
        wanted = str if names and schema[names[-1]] == pl.String else int
        if not names or not all(isinstance(value, wanted) for value in values):
            return None
        label = pl.col(names[-1]) if wanted is str else pl.col(names[-1]).cast(pl.Int64)
        shown, constants = Col((names[-1],)), [Lit(value, "") for value in values]
        if kind == "COMPARE_EQUAL":
            self.decided.add(fragment(Binary("=", shown, constants[0])))
        if kind == "COMPARE_IN":
            self.decided.add(fragment(In(shown, [*constants])))
            return label.is_in(values)
        if kind == "COMPARE_BETWEEN":
            return (label >= values[0]) & (label <= values[1])
        return _COMPARE[kind][0 if is_first else 1](label, values[0])  # type: ignore[no-any-return]

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
        tree = self.ask.parse(f"SELECT * FROM {_LABELS} AS {identifier(self.leaf.alias)}")
        select = tree["statements"][0]["node"]
        select["where_clause"], select["cte_map"] = condition, self.clause.ctes
        return self._answer(tree, {_LABELS: labels})

    def _answer(self, tree: Node, frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame | None:
        try:
            return self.ask.run(self.ask.write(tree), frames)
        except (duckdb.InterruptException, duckdb.OutOfMemoryException):
            raise
        except duckdb.Error:
            # it needs what is not here: another table of the same FROM, say
            return None

    def _keys(self) -> Iterator[tuple[list[str], pl.DataFrame]]:
        """Labels of the grid that have to be equal to something of another table, and what that table has."""
        for other in self.clause.leaves:
            if other is self.leaf or not other.is_kept or table_name(other.node) in ("activations", "scores"):
                continue
            pairs = dict(self._pairs(other))
            if not pairs or is_unsteady(other.node, self.clause.ctes):
                continue
            tree = self.ask.parse("SELECT DISTINCT 1 FROM x LIMIT 1")
            select = tree["statements"][0]["node"]
            select["from_table"], select["cte_map"] = other.node, self.clause.ctes
            select["select_list"] = [{**expression, "alias": column} for column, expression in pairs.items()]
            limit = next(one for one in select["modifiers"] if one["type"] == "LIMIT_MODIFIER")
            limit["limit"] = self.ask.parse(f"SELECT {MOST_KEYS + 1}")["statements"][0]["node"]["select_list"][0]
            mine = [condition for condition in self.clause.conditions if self._is_of(condition, other)]
            select["where_clause"] = _and(mine, self.ask)
            keys = self._answer(tree, {})
            if keys is not None and keys.height <= MOST_KEYS:
                yield list(pairs), keys

    def _pairs(self, other: Leaf) -> Iterator[tuple[str, Node]]:
        """Label of the grid -> the expression of another table that it has to be equal to."""
        for columns, left, right in self.clause.shared:
            sides = [any(leaf is one for one in side) for leaf in (self.leaf, other) for side in (left, right)]
            # of several tables to the left it may be another one that has the column
            if sides in ([True, False, False, True], [False, True, True, False]) and self._has(other, columns):
                for column in self.labels.intersection(columns):
                    yield column, {**_COLUMN, "column_names": [column]}
        for condition in self.clause.conditions:
            if condition.get("type") != "COMPARE_EQUAL":
                continue
            for own, others in pairwise([condition["left"], condition["right"], condition["left"]]):
                labels = self._own_columns(own)
                if own.get("class") == "COLUMN_REF" and labels and self._is_of(others, other):
                    yield labels.pop(), others

    def _has(self, other: Leaf, columns: Iterable[str]) -> bool:
        """Whether a table has all of these columns: sure where there is no third one."""
        if len(self.clause.leaves) == 2:
            return True
        tree = self.ask.parse("SELECT * FROM x LIMIT 0")
        select = tree["statements"][0]["node"]
        select["from_table"], select["cte_map"] = other.node, self.clause.ctes
        empty = self._answer(tree, {})
        return empty is not None and set(columns) <= {name.lower() for name in empty.columns}

    def _is_of(self, expression: Node, other: Leaf) -> bool:
        """Whether an expression speaks of one other table alone."""
        names = list(column_names(expression))
        return bool(names) and all(len(each) > 1 and each[-2] == other.alias for each in names)

    def _by_keys(self, columns: Sequence[str], keys: pl.DataFrame) -> None:
        # '5.0' is 5 to DuckDB alone
        columns = [name for name in columns if _is_alike(keys.schema[name], self.grid.schema[name])]
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


_COLUMN: Node = {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": 0, "query_location_length": 0}


def _is_alike(key: pl.DataType, label: pl.DataType) -> bool:
    """Whether values of two types are equal where one is cast to the other."""
    if label == pl.String:
        return isinstance(key, pl.String | pl.Categorical | pl.Enum | pl.Null)
    return key.is_numeric() or isinstance(key, pl.Boolean | pl.Null)


def _as_labels(keys: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Keys in the types of labels; one that has no such value is null, and joins with nothing."""
    return keys.select(pl.col(name).cast(labels.schema[name], strict=False) for name in keys.columns)


def _and(conditions: list[Node], ask: Asker) -> Node | None:
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    both: Node = ask.parse("SELECT 1 WHERE true AND true")["statements"][0]["node"]["where_clause"]
    return {**both, "children": conditions}
