"""Verbs that ask: sql and the question functions. Each opens the store, calls one function, shows its frame."""

from __future__ import annotations

import argparse
from pathlib import Path

from actlas.cli.show import FORMATS, show_frame


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the top parser."""
    sql = verbs.add_parser("sql", help="one read-only SQL query over the tables of a store")
    sql.add_argument("store", type=Path)
    sql.add_argument("query")
    add_output(sql)
    sql.set_defaults(run=_sql)


def add_output(verb: argparse.ArgumentParser) -> None:
    """Options of every verb that answers with a frame."""
    verb.add_argument("--format", choices=FORMATS, default="table")
    verb.add_argument("--out", metavar="FILE", help="write there instead of to standard output")
    verb.add_argument("--rows", type=int, default=50, metavar="N", help="rows of a table that are shown; 0 shows all")


def _sql(options: argparse.Namespace) -> None:
    from actlas.query import open_store

    show_frame(open_store(options.store).sql(options.query), options.format, options.out, options.rows)
