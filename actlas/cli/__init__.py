"""The `actlas` command: the verbs of the library, with no logic of their own. The only part that prints."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, NoReturn

from actlas import __version__
from actlas.cli.output import PrintableLines, tell
from actlas.cli.signals import tell_stopped
from actlas.cli.verbs import (
    explore,
    export,
    extract,
    measures,
    neuron_sets,
    probe,
    questions,
    reproduce,
    score,
    sql,
    stores,
)
from actlas.cli.verbs.interventions import effects, patch, steer, tokens
from actlas.errors import ActlasError
from actlas.words import printable


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without a page of usage before it, and takes options in any place.

    By itself argparse is done with a positional that may be left out, or repeated, where the first option stands.
    """

    _is_intermixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        positionals = [action for action in self._actions if not action.option_strings]
        if self._is_intermixed or not any(action.nargs in ("?", "*", "+") for action in positionals):
            return super().parse_known_args(args, namespace)
        # it parses twice by way of this method
        self._is_intermixed = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_intermixed = False

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message)}; {self.prog} --help says more\n")


@cache
def parser() -> argparse.ArgumentParser:
    """Every verb with its options; the same object every time, for it has hundreds of them."""
    top: argparse.ArgumentParser = _Parser(
        prog="actlas",
        description="Extract the activations of a model's checkpoints once, then query them without the model.",
    )
    top.add_argument("--version", action="version", version=f"actlas {__version__}")
    top.add_argument("--quiet", action="store_true", help="no progress, no notes; errors only")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    stores.add_verbs(verbs)
    extract.add_verbs(verbs)
    score.add_verbs(verbs)
    questions.add_verbs(verbs)
    probe.add_verbs(verbs)
    sql.add_verbs(verbs)
    neuron_sets.add_verbs(verbs)
    patch.add_verbs(verbs)
    reproduce.add_verbs(verbs)
    explore.add_verbs(verbs)
    export.add_verbs(verbs)
    effects.add_verbs(verbs)
    steer.add_verbs(verbs)
    tokens.add_verbs(verbs)
    measures.add_verbs(verbs)
    return top


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        The exit status: 0 on success, 1 for a refused or failed run, 2 for bad usage, 128 and the number of the signal that ended
        it.
    """
    try:
        options = parser().parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    if getattr(options, "safe", False) and options.format != "csv":
        tell(f"actlas {options.verb}: --safe is about CSV; add --format csv, or leave it out")
        return 2
    _log_to_terminal(logging.ERROR if options.quiet else logging.INFO)
    try:
        status = int(options.run(options) or 0)
        # here, where a reader that is gone is an error like any other
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as stop:
        return tell_stopped(stop)
    except ActlasError as error:
        tell(f"actlas: {error}")
    except OSError as error:
        if error.errno == errno.EPIPE:
            return _output_closed()
        tell(f"actlas: {_one_line(error)}")
    except Exception as error:
        # an error of no kind of ours is a mistake of ours
        if os.environ.get("ACTLAS_TRACEBACK"):
            raise
        tell(f"actlas: unexpected {_one_line(error)}; ACTLAS_TRACEBACK=1 shows where, which is what a report of it needs")
    return 1


def _log_to_terminal(level: int) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:
            handler.setFormatter(PrintableLines())
            handler.addFilter(_is_shown)
    logging.getLogger("actlas").setLevel(level)


def _is_shown(record: logging.LogRecord) -> bool:
    """Other libraries may set a level of their own, and tell all that they do."""
    return record.levelno >= logging.WARNING or record.name.startswith("actlas")


def _output_closed() -> int:
    """The reader of our output went away (`| head`): not our failure, and nothing is left to say."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _one_line(error: BaseException) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(f"{type(error).__name__}: {text}".split())
