"""Verbs about whole spaces: how weights move from step to step, and published measures by their names."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from actlas.cli.arguments import add_checkpoints, add_output, add_sites, add_store, named, number, show
from actlas.cli.output import ProgressLine, show_frame, step_progress
from actlas.cli.verbs.questions import add_kept_output, opened
from actlas.query.measures.registry import MEASURES, Measure, Option


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the top parser, and one below `measure` for every measure."""
    weights = verbs.add_parser(
        "weights",
        help="norm and spectrum of every weight matrix, how far it is from one checkpoint earlier and from the last",
    )
    add_store(weights)
    add_checkpoints(weights)
    add_output(weights)
    weights.set_defaults(run=_weights)
    verb = verbs.add_parser("measure", help="a published measure of representations or neurons; without a name, what there is")
    verb.set_defaults(run=_list)
    names = verb.add_subparsers(dest="measure", metavar="NAME")
    for measure in MEASURES:
        description = f"Source: {measure.source}. {measure.differs}".replace("%", "%%")
        own = names.add_parser(measure.name, help=measure.about, description=description)
        add_store(own)
        add_checkpoints(own)
        add_sites(own, "repeat for more (default: all)")
        for option in measure.options:
            _add_option(own, option)
        add_kept_output(own)
        own.set_defaults(run=functools.partial(_measure, measure))


def _weights(options: argparse.Namespace) -> None:
    from actlas.query import parameter_space

    show(parameter_space(options.store, checkpoints=options.checkpoints), options)


def _add_option(verb: argparse.ArgumentParser, option: Option) -> None:
    """One flag; without it the function's own default holds."""
    base = get_args(option.kind)[0] if get_origin(option.kind) is Annotated else option.kind
    settings: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS}
    unset = option.default if option.unset is None and option.default not in (None, False) else option.unset
    settings["help"] = option.help if unset is None else f"{option.help} (default: {unset})"
    if base is bool:
        settings["action"] = "store_true"
    elif get_origin(base) is Literal:
        settings["choices"] = get_args(base)
    elif base is str or get_origin(base) is Sequence:
        settings |= {"type": named, "metavar": "NAME", "action": "store" if base is str else "append"}
    elif base is Path:
        settings |= {"type": Path, "metavar": "FILE"}
    else:
        settings |= {"type": number(option.kind), "metavar": "N" if base is int else "X"}
    verb.add_argument(f"--{option.dashed}", **settings)


def _list(options: argparse.Namespace) -> None:
    import polars as pl

    columns = [{"measure": measure.name, "about": measure.about, "source": measure.source} for measure in MEASURES]
    show_frame(pl.DataFrame(columns), "table", max_rows=0)


def _measure(measure: Measure, options: argparse.Namespace) -> None:
    import actlas.query

    line = ProgressLine(options.quiet)
    settings = {option.name: getattr(options, option.name) for option in measure.options if hasattr(options, option.name)}
    frame = getattr(actlas.query, measure.function)(
        opened(options),
        checkpoints=options.checkpoints,
        sites=options.sites,
        replace=options.replace,
        progress=step_progress(line, "steps"),
        **settings,
    )
    line.end()
    show(frame, options)
