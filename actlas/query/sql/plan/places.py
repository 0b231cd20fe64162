"""Where a query names tables: what its syntax tree says of each place before DuckDB sees it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from actlas.query.sql.guard import walk
from actlas.query.sql.values import Top

Node = dict[str, Any]
#: Rows of the beginning of an order that are told apart while reading, at most.
_MOST_TOP = 1_000_000
#: Integers below are of 64 bits in every engine.
_MOST_INTEGER = 2**62
#: Aggregates that a row more or less of the same labels does not change.
_OF_SETS = frozenset({"min", "max"})


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
        return self.written.lower()

    @property
    def written(self) -> str:
        """The same as the query writes it."""
        return str(self.node.get("alias") or self.node.get("table_name") or "")

    @property
    def start(self) -> int:
        """Where the query names it, in bytes."""
        return int(self.node["query_location"])

    @property
    def length(self) -> int:
        """Of what names it there, in bytes, with the alias."""
        return int(self.node["query_location_length"])


@dataclass
class Clause:
    """One FROM, as far as inner joins and WHERE say something of every row.

    Attributes:
        select: The SELECT that it is of.
        ctes: Common table expressions that are in sight.
        leaves: Its tables.
        conditions: What WHERE and inner joins ask, joined by AND.
        shared: For every inner join with USING its columns, the tables to its left and those to its right.
    """

    select: Node
    ctes: Node
    leaves: list[Leaf] = field(default_factory=list)
    conditions: list[Node] = field(default_factory=list)
    shared: list[tuple[list[str], list[Leaf], list[Leaf]]] = field(default_factory=list)

    def named(self, names: Collection[str]) -> list[tuple[Leaf, str]]:
        """Those of its tables that are called so, and are no common table expressions, where the query has a place for them.

        DESCRIBE and SUMMARIZE of a name have none.
        """
        defined = {str(entry["key"]).lower() for entry in self.ctes["map"]}
        # main.activations.value has no table any more once that is called otherwise
        is_qualified = any(len(column_parts(node)) > 2 for node in walk(self.select))
        found = [(leaf, table_name(leaf.node)) for leaf in self.leaves if not (is_qualified and leaf.node.get("schema_name"))]
        return [(leaf, name) for leaf, name in found if name in names and name not in defined and leaf.length]

    @property
    def takes_sets(self) -> bool:
        """Whether the answer is the same if every row of its tables were there once: DISTINCT, GROUP BY, min and max alone."""
        select = self.select
        if not self._is_plain:
            return False
        said = [select["select_list"], select.get("having"), select.get("modifiers")]
        calls = [node for node in walk(said) if node.get("class") in ("FUNCTION", "WINDOW", "SUBQUERY")]
        if not all(map(_is_of_sets, calls)):
            return False
        is_distinct = any(modifier["type"] == "DISTINCT_MODIFIER" for modifier in select.get("modifiers", ()))
        return bool(calls or is_distinct or select.get("group_expressions"))

    @property
    def _is_plain(self) -> bool:
        select = self.select
        return not select.get("qualify") and not select.get("sample") and select.get("aggregate_handling") == "STANDARD_HANDLING"

    def top(self, columns: Collection[str]) -> Top | None:
        """What an order by one of these columns and a limit ask for of the rows that pass all conditions."""
        select = self.select
        modifiers = select.get("modifiers", ())
        if [modifier["type"] for modifier in modifiers] != ["ORDER_MODIFIER", "LIMIT_MODIFIER"]:
            return None
        if not self._is_plain or select.get("group_expressions") or select.get("having") or _calls(select["select_list"]):
            return None
        order, limit = modifiers[0]["orders"][0], modifiers[1]
        name = _column(order["expression"])
        numbers = [_integer(limit.get(part)) for part in ("limit", "offset") if limit.get(part)]
        is_column = name in columns and all(_is_own(one, name) for one in select["select_list"])
        if not is_column or order["null_order"] == "NULLS FIRST":
            return None
        if limit.get("limit_type", "ROW_COUNT") != "ROW_COUNT" or not limit.get("limit") or None in numbers:
            return None
        n = sum(number for number in numbers if number is not None)
        return Top(name, n, order["type"] == "DESCENDING") if 0 < n <= _MOST_TOP else None


def clauses(tree: Any, ctes: Node | None = None) -> Iterator[Clause]:
    """Every FROM of a query, wherever it is nested."""
    if isinstance(tree, list):
        for one in tree:
            yield from clauses(one, ctes)
    if not isinstance(tree, dict):
        return
    if "cte_map" in tree:
        ctes = {**tree["cte_map"], "map": [*(ctes or {"map": []})["map"], *tree["cte_map"]["map"]]}
    table = tree.get("from_table")
    is_select = tree.get("type") == "SELECT_NODE" and isinstance(table, dict)
    if is_select:
        clause = Clause(tree, ctes or {"map": []}, conditions=list(_conjuncts(tree.get("where_clause"))))
        _walk_from(tree["from_table"], not tree.get("sample"), clause)
        yield clause
    for key, value in tree.items():
        yield from _nested(value, ctes) if is_select and key == "from_table" else clauses(value, ctes)


def table_name(node: Node) -> str:
    """The table of the store that a leaf names; empty where it is something else."""
    own = str(node.get("schema_name", "")).lower() in ("", "main")
    return str(node["table_name"]).lower() if node.get("type") == "BASE_TABLE" and own else ""


def column_names(expression: Any) -> Iterator[list[str]]:
    """Columns that an expression names, each with what qualifies it; those of sub-queries are their own affair."""
    if isinstance(expression, list):
        for one in expression:
            yield from column_names(one)
    elif isinstance(expression, dict):
        if parts := column_parts(expression):
            yield parts
        elif expression.get("class") == "SUBQUERY":
            yield from column_names(expression.get("child"))
        else:
            for value in expression.values():
                yield from column_names(value)


def column_parts(expression: Node) -> list[str]:
    """The name of a column, with what qualifies it; nothing for another expression."""
    return [str(part).lower() for part in expression["column_names"]] if expression.get("class") == "COLUMN_REF" else []


def literal(expression: Node, params: Mapping[str, Any]) -> str | int | None:
    """A string or a 64-bit integer that stands there or is given for a parameter; None for anything else."""
    value: Any = None
    about = expression.get("literal") or {}
    if expression.get("class") == "PARAMETER":
        value = params.get(str(expression["identifier"]))
    elif expression.get("class") == "CONSTANT" and about.get("kind") == "STRING":
        value = str(about["text"])
    elif expression.get("class") == "CONSTANT" and about.get("kind") == "INTEGER":
        value = int(about["text"]) if re.fullmatch(r"-?\d+", about["text"]) else None
    is_plain = isinstance(value, str) or (type(value) is int and abs(value) < _MOST_INTEGER)
    return value if is_plain else None


def _nested(table: Node, ctes: Node | None) -> Iterator[Clause]:
    """Those inside another FROM: of sub-queries, arguments of functions, conditions."""
    if table.get("type") == "JOIN":
        yield from _nested(table["left"], ctes)
        yield from _nested(table["right"], ctes)
        yield from clauses(table.get("condition"), ctes)
    else:
        yield from clauses({key: value for key, value in table.items() if key != "type"}, ctes)


def _walk_from(table: Node, is_kept: bool, clause: Clause) -> None:
    """Leaves of a FROM, with the conditions and USING columns of its inner joins."""
    if table.get("type") != "JOIN":
        # a sample is drawn before any condition, and columns may have been given other names
        is_plain = not table.get("sample") and not table.get("column_name_alias")
        clause.leaves.append(Leaf(table, is_kept and is_plain))
        return
    kind = table["join_type"]
    is_plain = table["ref_type"] in ("REGULAR", "CROSS")
    before = len(clause.leaves)
    _walk_from(table["left"], is_kept and is_plain and kind in ("INNER", "LEFT"), clause)
    between = len(clause.leaves)
    _walk_from(table["right"], is_kept and is_plain and kind in ("INNER", "RIGHT"), clause)
    if kind == "INNER" and is_plain and is_kept:
        clause.conditions += _conjuncts(table.get("condition"))
        columns = [str(column).lower() for column in table.get("using_columns", ())]
        if columns:
            clause.shared.append((columns, clause.leaves[before:between], clause.leaves[between:]))


def _conjuncts(expression: Node | None) -> Iterator[Node]:
    if not expression:
        return
    if expression.get("type") == "CONJUNCTION_AND":
        for child in expression["children"]:
            yield from _conjuncts(child)
    else:
        yield expression


def _is_of_sets(call: Node) -> bool:
    """Whether a call gives the same for rows that are there once and for the same rows several times: ``max(x, 3)`` does not."""
    is_named = call.get("class") == "FUNCTION" and str(call.get("function_name")).lower() in _OF_SETS
    return is_named and not call.get("filter") and len(call.get("children") or ()) == 1


def _calls(expressions: Sequence[Node]) -> bool:
    """Whether any function is called at all: which of them gather rows is not seen in a syntax tree."""
    return any(node.get("class") in ("FUNCTION", "WINDOW", "SUBQUERY") for node in walk(expressions))


def _column(expression: Node) -> str:
    return (column_parts(expression) or [""])[-1]


def _is_own(selected: Node, name: str) -> bool:
    """Whether something that is selected leaves the name of a column to the column."""
    if selected.get("class") == "STAR":
        return not (selected.get("replace_list") or selected.get("rename_list"))
    alias = str(selected.get("alias") or "").lower()
    return alias != name or _column(selected) == name


def _integer(expression: Node) -> int | None:
    value = literal(expression, {})
    return value if isinstance(value, int) else None
