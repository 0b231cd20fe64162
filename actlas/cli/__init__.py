"""The `actlas` command: the verbs of the library, with no logic of their own. The only part that prints."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from actlas import __version__
from actlas.cli import extract, questions, score, stores
from actlas.cli.output import tell
from actlas.errors import ActlasError


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    top = argparse.ArgumentParser(
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
    return top


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit status is 0 on success, 1 for a refused or failed run, 2 for bad usage."""
    try:
        options = parser().parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    level = logging.ERROR if options.quiet else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("actlas").setLevel(level)
    try:
        return int(options.run(options) or 0)
    except ActlasError as error:
        tell(f"actlas: {error}")
    except BrokenPipeError:
        # the reader of our output went away (`| head`): not our failure, and nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        tell("actlas: interrupted; what is committed stays, and the same command goes on from there")
        return 130
    except (OSError, ValueError, ImportError, LookupError) as error:
        tell(f"actlas: {_one_line(error)}")
        if os.environ.get("ACTLAS_TRACEBACK"):
            raise
    return 1


def _one_line(error: BaseException) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(f"{type(error).__name__}: {text}".split())
