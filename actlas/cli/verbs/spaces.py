"""Verbs about spaces: how weights move from step to step, and how many directions representations use."""

from __future__ import annotations

import argparse

from actlas.cli.arguments import add_checkpoints, add_output, add_store
from actlas.cli.output import show_frame


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


def _weights(options: argparse.Namespace) -> None:
    from actlas.query import parameter_space

    frame = parameter_space(options.store, checkpoints=options.checkpoints)
    show_frame(frame, options.format, options.out, options.rows, is_safe=options.safe)
