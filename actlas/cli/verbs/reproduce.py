"""The verb `reproduce`: a paper's figures from stores, with what became of its findings."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from actlas.allowed import Positive, Seed
from actlas.cli.arguments import number
from actlas.cli.output import bullet, say, say_table, tell
from actlas.demo.settings import CONDITIONS

if TYPE_CHECKING:
    from actlas.reproduce.papers import Reproduction


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    verb = verbs.add_parser("reproduce", help="a paper's figures from stores, each held against its control")
    kinds = verb.add_subparsers(dest="paper", metavar="PAPER", required=True)
    _add_compression(kinds)
    _add_concept_spaces(kinds)
    _add_miniature(kinds)


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


def _add_compression(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    paper = kinds.add_parser("compression", help="arXiv 2506.01629: probes, overlap, trajectories, steering, parameter space")
    _add_stores(paper, "reproduced")
    paper.add_argument("--k", type=number(Positive), default=500, help="experts of tables that are made now (default: 500)")
    paper.add_argument("--no-ask", action="store_true", help="make no table that is missing: the figure says what makes it")
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


def _add_concept_spaces(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    paper = kinds.add_parser("concept-spaces", help="arXiv 2601.22851: patching between languages, by setting, layer and step")
    _add_stores(paper, "reproduced")
    paper.set_defaults(run=_concept_spaces)


def _concept_spaces(options: argparse.Namespace) -> None:
    from actlas.reproduce.papers import reproduce_concept_spaces

    _show(reproduce_concept_spaces(options.stores, options.out, controls=options.control or None, progress=_progress(options)))


def _add_miniature(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    both = kinds.add_parser("miniature", help="train small models and their controls, and draw every figure of both papers")
    both.add_argument("--out", type=Path, default=Path("miniature-out"), metavar="FOLDER", help="default: miniature-out")
    both.add_argument("--pages", type=Path, metavar="FOLDER", help="where the pages go (default: where the stores are)")
    both.add_argument("--seeds", type=number(Positive), default=3, help="models, and as many controls (default: 3)")
    both.add_argument("--seed", type=number(Seed), default=0, help="with --condition: of weights, documents and sentences")
    both.add_argument("--condition", choices=CONDITIONS, help="build only a model (multi) or its control (mono), no pages")
    both.set_defaults(run=_miniature)


def _miniature(options: argparse.Namespace) -> None:
    if options.condition is not None:
        from actlas.reproduce.miniature_condition import build_in_this_process

        build_in_this_process(options.condition, options.out, say, seed=options.seed)
        return
    from actlas.reproduce.miniature import reproduce_miniature

    _show(reproduce_miniature(options.out, options.pages, seeds=options.seeds, progress=_progress(options)))


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
