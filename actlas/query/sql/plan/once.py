"""Parts of a query that may be other rows each time they are asked, such as a sample: they are asked once.

A plan asks for the keys of a join and the values of a sub-query, and the query that is run then would ask for them again: of
``ORDER BY random() LIMIT 5``, or of five out of many equals, these could be others, and rows of the answer would be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actlas.query.sql.guard import identifier, walk
from actlas.query.sql.plan.places import Node, clauses

#: Functions of one row that need not give the same twice.
_RANDOM = frozenset({"random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "nextval", "currval", "setval", "setseed"})
#: Aggregates that depend on the order of rows, which is another one each time where several threads read them.
_ORDERED = frozenset(
    {"any_value", "arbitrary", "first", "last", "mode", "list", "array_agg", "string_agg", "group_concat", "listagg"}
    | {f"{name}{ending}" for name in ("arg_max", "arg_min") for ending in ("", "_null", "_nulls_last")}
    | {"argmax", "argmin", "max_by", "min_by", "sum", "avg", "mean", "fsum", "favg", "sumkahan", "kahan_sum"}
    | {"reservoir_quantile", "approx_quantile", "approx_top_k", "approx_count_distinct"}
)


@dataclass(frozen=True)
class Part:
    """A part of a query that is asked once.

    Attributes:
        select: Its syntax tree, with the common table expressions that are in sight of it.
        places: Where its rows are named: (start, length) in bytes, and what follows the name there.
    """

    select: Node
    places: Sequence[tuple[int, int, str]]


def is_unsteady(expression: Any, ctes: Node) -> bool:
    """Whether an expression or a table may be something else each time it is asked.

    Args:
        expression: Its syntax tree.
        ctes: Common table expressions that it can name.
    """
    return any(map(_is_drawn, _in_sight(expression, ctes)))


def is_random(expression: Any) -> bool:
    """Whether an expression of one row may be something else each time it is asked."""
    return any(str(node.get("function_name")).lower() in _RANDOM for node in walk(expression) if node.get("class") == "FUNCTION")


def _is_drawn(node: Node) -> bool:
    if node.get("class") == "FUNCTION":
        return str(node.get("function_name")).lower() in _RANDOM | _ORDERED
    kinds = [modifier.get("type") for modifier in node.get("modifiers") or ()]
    is_cut = "LIMIT_MODIFIER" in kinds or any(modifier.get("distinct_on_targets") for modifier in node.get("modifiers") or ())
    return is_cut or node.get("class") == "WINDOW" or bool(node.get("sample"))


def unsteady_ctes(tree: Node, names: Collection[str], parse: Callable[[str], Node]) -> Iterator[tuple[str, Part]]:
    """Common table expressions of a query that names a grid, by their names, in the order in which they are defined.

    Only those of a name that stands for nothing else anywhere in the query.

    Args:
        tree: Syntax tree of the query.
        names: Of grids.
        parse: SELECT -> its syntax tree.
    """
    maps = [node["cte_map"]["map"] for node in walk(tree) if "cte_map" in node]
    defined = [str(entry["key"]).lower() for entries in maps for entry in entries]
    for clause in clauses(tree):
        said = [[leaf.node for leaf in clause.leaves], clause.conditions] if clause.named(names) else []
        reached = {str(node.get("table_name")).lower() for node in _in_sight(said, clause.ctes)}
        for entry in clause.ctes["map"]:
            name = str(entry["key"]).lower()
            own = {id(node) for node in walk(entry["value"])}
            if name not in reached or id(clause.select) in own:
                continue
            named = [node for node in walk(tree) if _names(node, name) and id(node) not in own]
            is_placed = all(node["query_location_length"] and not node.get("sample") for node in named)
            if defined.count(name) == 1 and name not in names and is_placed and is_unsteady(entry["value"], clause.ctes):
                places = [(*_place(node), _alias(node)) for node in named]
                select = parse(f"SELECT * FROM {identifier(name)}")["statements"][0]["node"]
                yield name, Part(_with_ctes(select, clause.ctes), places)


def unsteady_selects(tree: Node, names: Collection[str]) -> Iterator[Part]:
    """Sub-queries that bound a grid, none inside another one.

    Args:
        tree: Syntax tree of the query.
        names: Of grids.
    """
    for clause in clauses(tree):
        if clause.named(names):
            tables = [leaf.node for leaf in clause.leaves if leaf.is_kept and leaf.node.get("type") == "SUBQUERY"]
            for node in (*tables, *_selects(clause.conditions)):
                if is_unsteady(node["subquery"], clause.ctes):
                    yield Part(_with_ctes(node["subquery"]["node"], clause.ctes), [(*_place(node), "")])


def _in_sight(expression: Any, ctes: Node) -> Iterator[Node]:
    """Every node of an expression, and of the common table expressions that it names, or those name again."""
    bodies = {str(entry["key"]).lower(): entry["value"] for entry in ctes["map"]}
    todo = [expression]
    while todo:
        for node in walk(todo.pop()):
            yield node
            name = str(node.get("table_name")).lower()
            if node.get("type") == "BASE_TABLE" and name in bodies:
                todo.append(bodies.pop(name))


def _selects(expressions: Any) -> Iterator[Node]:
    """Sub-queries of conditions, but EXISTS, whose rows do not matter."""
    if isinstance(expressions, list):
        for one in expressions:
            yield from _selects(one)
    elif isinstance(expressions, dict):
        if expressions.get("class") == "SUBQUERY":
            if expressions["subquery_type"] in ("ANY", "SCALAR"):
                yield expressions
        else:
            yield from _selects(list(expressions.values()))


def _with_ctes(select: Node, ctes: Node) -> Node:
    """A query with those common table expressions around it that it needs."""
    own = {str(entry["key"]).lower() for entry in select["cte_map"]["map"]}
    named = {str(node.get("table_name")).lower() for node in _in_sight(select, ctes)}
    others = [entry for entry in ctes["map"] if str(entry["key"]).lower() in named - own]
    return {**select, "cte_map": {**select["cte_map"], "map": [*others, *select["cte_map"]["map"]]}}


def _names(node: Mapping[str, Any], name: str) -> bool:
    return node.get("type") == "BASE_TABLE" and not node.get("schema_name") and str(node["table_name"]).lower() == name


def _place(node: Node) -> tuple[int, int]:
    return int(node["query_location"]), int(node["query_location_length"])


def _alias(node: Node) -> str:
    columns = ", ".join(map(identifier, node.get("column_name_alias") or ()))
    return f" AS {identifier(str(node.get('alias') or node['table_name']))}" + (f"({columns})" if columns else "")
