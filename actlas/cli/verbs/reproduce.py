"""The verb `reproduce`: a paper's figures from stores, with what became of its findings."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from actlas.allowed import Positive
from actlas.cli.arguments import number
from actlas.cli.output import bullet, say, say_table, tell

if TYPE_CHECKING:
    from actlas.reproduce.papers import Reproduction


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    verb = verbs.add_parser("reproduce", help="a paper's figures from stores, each held against its control")
    kinds = verb.add_subparsers(dest="paper", metavar="PAPER", required=True)
    _add_compression(kinds)


def _add_stores(paper: argparse.ArgumentParser, out: str) -> None:
    paper.add_argument("stores", nargs="+", type=Path, metavar="STORE", help="several are runs that differ by their seed")
    paper.add_argument(
        "--control",
        nargs="+",
        type=Path,
        default=[],
        metavar="STORE",
        help="one per store, in the same order: where nothing should appear",
    )
    paper.add_argument("--out", type=Path, default=Path(out), metavar="FOLDER", help=f"default: {out}")
    paper.add_argument("--no-ask", action="store_true", help="make no table that is missing: the figure says what makes it")


def _add_compression(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    paper = kinds.add_parser("compression", help="arXiv 2506.01629: probes, overlap, trajectories, steering, parameter space")
    _add_stores(paper, "reproduced")
    paper.add_argument("--k", type=number(Positive), default=500, help="experts of tables that are made now (default: 500)")
    paper.set_defaults(run=_compression)


def _compression(options: argparse.Namespace) -> None:
    from actlas.reproduce.papers import reproduce_compression

    _show(
        reproduce_compression(
            options.stores,
            options.out,
            controls=options.control or None,
            k=options.k,
            ask=not options.no_ask,
            progress=_progress(options),
        )
    )


def _progress(options: argparse.Namespace) -> Callable[[str], None]:
    return (lambda line: None) if options.quiet else tell


def _show(done: Reproduction) -> None:
    rows = [
        {"figure": answer.figure.name, "finding": verdict.claim.text, "verdict": verdict.word}
        for answer in done.answers
        for verdict in answer.verdicts
    ]
    if rows:
        say_table(pl.DataFrame(rows))
    for answer in done.answers:
        if answer.missing:
            say(bullet(f"{answer.figure.name}: not there: {answer.missing}"))
    say(f"Pages: {done.page} and {done.page.with_suffix('.md')}")
