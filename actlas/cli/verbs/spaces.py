"""Verbs about spaces: how weights move from step to step, and how many directions representations use."""

from __future__ import annotations

import argparse

from actlas.allowed import Count
from actlas.cli.arguments import add_checkpoints, add_output, add_sites, add_store, number
from actlas.cli.output import ProgressLine, show_frame, step_progress
from actlas.cli.verbs.questions import opened


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the top parser."""
    weights = verbs.add_parser(
        "weights",
        help="norm and spectrum of every weight matrix, how far it is from one checkpoint earlier and from the last",
    )
    add_store(weights)
    add_checkpoints(weights)
    add_output(weights)
    weights.set_defaults(run=_weights)
    measure = verbs.add_parser("measure", help="effective-rank: how many directions token vectors use, by layer and language")
    measure.add_argument("name", choices=("effective-rank",), metavar="NAME", help="effective-rank")
    add_store(measure)
    add_checkpoints(measure)
    add_sites(measure, "default: all with token vectors")
    measure.add_argument(
        "--vectors", type=number(Count), metavar="N", help="of each language (default: as many as the one with the fewest has)"
    )
    measure.add_argument("--splits", type=number(Count), default=10, metavar="N", help="halvings for the interval; 0: none")
    measure.add_argument("--seed", type=int, default=0, help="of the draws")
    add_output(measure)
    measure.add_argument("--no-keep", action="store_true", help="answer only; keep no table in the store")
    measure.add_argument(
        "--replace", action="store_true", help="replace a kept table of other settings (default: stand beside it)"
    )
    measure.set_defaults(run=_measure)


def _weights(options: argparse.Namespace) -> None:
    from actlas.query import parameter_space

    frame = parameter_space(options.store, checkpoints=options.checkpoints)
    show_frame(frame, options.format, options.out, options.rows, is_safe=options.safe)


def _measure(options: argparse.Namespace) -> None:
    from actlas.query import effective_rank

    line = ProgressLine(options.quiet)
    frame = effective_rank(
        opened(options),
        checkpoints=options.checkpoints,
        sites=options.sites,
        n_vectors=options.vectors,
        n_splits=options.splits,
        seed=options.seed,
        progress=step_progress(line, "layers"),
        replace=options.replace,
    )
    line.end()
    show_frame(frame, options.format, options.out, options.rows, is_safe=options.safe)
