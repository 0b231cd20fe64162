"""Constants that a query compares names with: one that names nothing is told, since an answer without rows reads as a finding."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from actlas.query.schema import TABLES
from actlas.query.sql.guard import ReadOnlyQuery, walk
from actlas.query.sql.plan.places import column_parts, literal
from actlas.store.store import Store
from actlas.words import no_such

_LOG = logging.getLogger(__name__)
#: Column -> what it holds names of.
_NAMES = {
    "checkpoint": "checkpoint",
    "checkpoint_b": "checkpoint",
    "language": "language",
    "language_a": "language",
    "language_b": "language",
    "concept": "concept",
    "site": "site",
}
#: Tables with names of languages that the corpus need not have.
_OTHER_LANGUAGES = {"neuron_sets", "patches"}
_COMPARISONS = frozenset({"COMPARE_EQUAL", "COMPARE_NOTEQUAL", "COMPARE_IN", "COMPARE_NOT_IN"})


def tell_unknown_names(store: Store, query: ReadOnlyQuery, params: Mapping[str, Any]) -> None:
    """Warn of every constant, or value of a parameter, that a column of names is compared with and that is none of the store's.

    It is no error: a query may ask for what only some stores have. A query over tables of another kind is not looked at.

    Args:
        store: Whose names.
        query: What is asked.
        params: Values of its ``$name``.
    """
    if any(name.removesuffix("_by_settings") not in TABLES for name in query.tables - query.defined - query.catalog):
        return
    asked: dict[str, dict[str, None]] = {}
    for column, name in _compared(query.tree, params):
        if not (_NAMES[column] == "language" and query.tables & _OTHER_LANGUAGES):
            asked.setdefault(_NAMES[column], {})[name] = None
    for what, names in asked.items():
        unknown = [name for name in names if name not in _noted(store, what)]
        existing = _existing(store, what) if unknown else ()
        unknown = [name for name in unknown if name not in existing]
        if unknown:
            _LOG.warning("%s", no_such(what, unknown, existing, store.path))


def _compared(tree: Any, params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(Column of names, string that it is compared with) of every comparison."""
    for node in walk(tree):
        # of a sample the type is an object
        if str(node.get("type")) in _COMPARISONS:
            sides = node.get("children") or [node["left"], node["right"]]
            columns = [parts[-1] for side in sides if (parts := column_parts(side))]
            values = [literal(side, params) for side in sides]
            yield from ((column, value) for column in columns if column in _NAMES for value in values if isinstance(value, str))


def _noted(store: Store, what: str) -> frozenset[str]:
    """Names that the records of a store hold: not always all of them, but read already."""
    snapshot = store.snapshot()
    if what == "concept":
        return frozenset(name for record in snapshot.scores.values() for name in record.concepts)
    if what == "language":
        return frozenset(name for record in snapshot.scores.values() for name in record.languages)
    return frozenset(_existing(store, what))


def _existing(store: Store, what: str) -> Sequence[str]:
    """All names that a store has."""
    if what == "checkpoint":
        return store.checkpoints
    if what == "site":
        records = store.snapshot().checkpoints.values()
        return sorted({site for record in records for site in (*record.sites, *record.token_cubes, *record.counts)})
    return store.corpus.languages if what == "language" else store.corpus.concepts
