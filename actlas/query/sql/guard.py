"""What SQL may contain: one SELECT, or EXPLAIN of one, after any number of SET VARIABLE.

The kind of a statement is not enough to tell: DuckDB parses ``WITH x AS (COPY ... TO 'file') SELECT 1`` as a SELECT
and writes the file. So the syntax tree is walked and everything in it has to be on a list of what only reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from actlas.errors import QueryError
from actlas.words import did_you_mean

#: Query nodes that only read. INSERT_QUERY_NODE, COPY_QUERY_NODE and the like are what this list keeps out.
READING_NODES = frozenset(
    {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"},
)
#: Table functions without files, settings or nested SQL behind them.
TABLE_FUNCTIONS = frozenset(
    {"range", "generate_series", "unnest", "repeat", "json_each", "json_tree"}
    | {"duckdb_columns", "duckdb_functions", "duckdb_tables", "duckdb_types", "duckdb_variables"}
    | {"pragma_table_info", "pragma_version"}
)
#: What lists tables; asking for it makes every table first.
_LISTINGS = frozenset({"tables", "__show_tables_expanded", "databases", "pg_tables", "duckdb_tables", "duckdb_columns"})
#: Catalogs that tell where on this machine the files of a table are.
_TELLING = frozenset({"duckdb_settings", "duckdb_views", "sqlite_master", "sqlite_schema", "pg_views", "views", "pg_settings"})
#: Scalar functions that reach beyond the tables, or do nothing but wait: name -> why they are refused.
_REFUSED_FUNCTIONS = {
    **dict.fromkeys(("current_setting", "pg_get_viewdef"), "tells where on this machine the store is"),
    "json_serialize_plan": "plans SQL that was not looked at, which computes what is constant in it",
    "write_log": "writes",
    **dict.fromkeys(("sleep_ms", "pg_sleep"), "does nothing but wait"),
}
_CATALOGS = ("information_schema", "pg_catalog")
_LEADING = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.S)
_SET_VARIABLE = re.compile(r"SET\s+VARIABLE\s+([A-Za-z_][A-Za-z0-9_]*)\s*(?:=|\bTO\b)\s*(.+)", re.S | re.I)
_EXPLAIN = re.compile(r"EXPLAIN\s+(?:ANALYZE\s+)?(.+)", re.S | re.I)
_ALLOWED = "actlas sql takes one SELECT or EXPLAIN SELECT, after any number of SET VARIABLE name = (...)"


@dataclass
class ReadOnlyQuery:
    """A query that only reads.

    Attributes:
        variables: (name, expression) to set first, in order.
        query: The statement to run.
        tree: Its syntax tree.
        n_bytes: Length of the SELECT at the end of it, which the tree is of.
        tables: Names of tables that the SQL mentions.
        elsewhere: (Name of another store, table) for those that it mentions with a name before them.
        parameters: Names of its ``$name``.
        defined: Those that it defines itself, as common table expressions.
        functions: Names of table functions and table macros that it calls.
        calls: For every statement (those of `variables`, then the query) the calls of macros in it, as syntax trees.
        catalog: Which of `tables` are DuckDB's own catalogs.
        shows_all: Whether it lists the tables (SHOW TABLES and the like).
        is_explain: Whether `query` is an EXPLAIN.
    """

    variables: list[tuple[str, str]] = field(default_factory=list)
    query: str = ""
    tree: dict[str, Any] = field(default_factory=dict)
    n_bytes: int = 0
    tables: set[str] = field(default_factory=set)
    elsewhere: set[tuple[str, str]] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    defined: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    calls: list[list[dict[str, Any]]] = field(default_factory=list)
    catalog: set[str] = field(default_factory=set)
    shows_all: bool = False
    is_explain: bool = False


def read_only(
    statements: Collection[str],
    *,
    serialize: Callable[[str], str],
    macros: Collection[str],
) -> ReadOnlyQuery:
    """Take SQL apart and refuse whatever could do more than read tables of this store.

    Args:
        statements: The single statements, in order.
        serialize: Gives DuckDB's syntax tree of a SELECT as JSON (``json_serialize_sql``).
        macros: Table macros that may be called besides `TABLE_FUNCTIONS`.

    Raises:
        QueryError: If the SQL is empty, has several queries, or has anything that is not on the lists above.
    """
    parts = ReadOnlyQuery()
    for statement in statements:
        text = statement[_LEADING.match(statement).end() :].rstrip().rstrip(";").rstrip()  # type: ignore[union-attr]
        if not text:
            continue
        if parts.query:
            raise QueryError(f"there is a second statement after the query: {_shown(text)}; {_ALLOWED}")
        variable = _SET_VARIABLE.fullmatch(text)
        if variable:
            name, expression = variable.groups()
            _inspect(f"SELECT {expression}", serialize, macros, parts)
            parts.variables.append((name, expression))
            continue
        explained = _EXPLAIN.fullmatch(text)
        select = explained[1] if explained else text
        parts.tree = _inspect(select, serialize, macros, parts)
        parts.query, parts.n_bytes, parts.is_explain = text, len(select.encode()), explained is not None
    if not parts.query:
        raise QueryError(f"there is no query; {_ALLOWED}")
    return parts


def _inspect(select: str, serialize: Callable[[str], str], macros: Collection[str], parts: ReadOnlyQuery) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(serialize(select))
    if tree["error"]:
        reason = "" if "Only SELECT" in tree["error_message"] else f" ({tree['error_message']})"
        raise QueryError(f"refused: {_shown(select)}{reason}; {_ALLOWED}")
    if len(tree["statements"]) != 1:
        raise QueryError(f"refused: {len(tree['statements'])} statements in {_shown(select)}; {_ALLOWED}")
    nodes = list(walk(tree))
    for node in nodes:
        _inspect_node(node, macros, parts)
    called = [node["function"] for node in nodes if node.get("type") == "TABLE_FUNCTION"]
    parts.calls.append([call for call in called if str(call["function_name"]).lower() in macros])
    for node in nodes:
        if node.get("type") == "BASE_TABLE":
            _add_table(parts, str(node["table_name"]).lower(), str(node.get("schema_name", "")).lower())
        if node.get("type") == "SHOW_REF" and node.get("table_name"):
            name = str(node["table_name"]).strip('"').lower()
            if node["show_type"] == "SHOW_SPECIAL" or name in _LISTINGS:
                parts.shows_all = True
            else:
                _add_table(parts, name, "")
    parts.shows_all |= bool(parts.catalog or parts.functions & _LISTINGS)
    return tree


def _inspect_node(node: dict[str, Any], macros: Collection[str], parts: ReadOnlyQuery) -> None:
    kind = node.get("type")
    if isinstance(kind, str) and kind.endswith("_NODE") and kind not in READING_NODES:
        what = kind.removesuffix("_NODE").removesuffix("_QUERY").replace("_", " ")
        raise QueryError(f"refused: {what} inside a query; {_ALLOWED}")
    if kind == "TABLE_FUNCTION":
        parts.functions.add(_known_function(str(node["function"]["function_name"]).lower(), macros))
    elif node.get("class") == "FUNCTION":
        _refuse_function(str(node.get("function_name")).lower())
    elif node.get("class") == "PARAMETER":
        parts.parameters.add(str(node["identifier"]))
    if "cte_map" in node:
        parts.defined |= {str(entry["key"]).lower() for entry in node["cte_map"]["map"]}


def _known_function(name: str, macros: Collection[str]) -> str:
    """The name of a table function that may be called."""
    if name in TABLE_FUNCTIONS or name in macros:
        return name
    hint = did_you_mean([name], sorted(macros))
    known = ", ".join(sorted(macros)) or "none"
    raise QueryError(f"refused: table function {name} may reach outside the store; {hint}macros of this store: {known}")


def _refuse_function(name: str) -> None:
    if name in _REFUSED_FUNCTIONS:
        raise QueryError(f"refused: {name} {_REFUSED_FUNCTIONS[name]}")


def _add_table(parts: ReadOnlyQuery, name: str, schema: str) -> None:
    if name in _TELLING and (schema in _CATALOGS or name != "views"):
        raise QueryError(f"refused: {name} tells where on this machine the store is; SHOW TABLES and DESCRIBE say what is in it")
    if schema and schema not in ("main", *_CATALOGS):
        parts.elsewhere.add((schema, name))
        return
    parts.tables.add(name)
    if schema in _CATALOGS or name in _LISTINGS:
        parts.catalog.add(name)


def walk(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a syntax tree."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def identifier(name: str) -> str:
    """A name as SQL writes it where it may be anything."""
    return '"' + name.replace('"', '""') + '"'


def quoted(text: str) -> str:
    """A text as SQL writes it, whatever is in it."""
    return "'" + text.replace("'", "''") + "'"


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."
