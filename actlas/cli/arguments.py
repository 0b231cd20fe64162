"""Options that several verbs share, one function per group, and how their texts become values."""

from __future__ import annotations

import argparse
from pathlib import Path

from actlas.cli.output import FORMATS
from actlas.names import NeuronId


def add_store(verb: argparse.ArgumentParser) -> None:
    """The store that a verb reads."""
    verb.add_argument("store", type=Path)


def add_checkpoints(verb: argparse.ArgumentParser) -> None:
    """Which of its checkpoints."""
    verb.add_argument("--checkpoint", action="append", dest="checkpoints", metavar="ID", help="repeat for more (default: all)")


def add_sites(verb: argparse.ArgumentParser, help: str | None = None) -> None:
    """Which of its sites."""
    verb.add_argument("--site", action="append", dest="sites", metavar="SITE", help=help)


def add_choice(verb: argparse.ArgumentParser) -> None:
    """Which experts: how many of which checkpoints, languages, concepts and sites."""
    verb.add_argument("--k", type=int, default=500, help="experts per language and concept")
    add_checkpoints(verb)
    verb.add_argument("--language", action="append", dest="languages", metavar="NAME")
    verb.add_argument("--concept", action="append", dest="concepts", metavar="NAME")
    add_sites(verb, "default: all linear sites that are scored")


def add_output(verb: argparse.ArgumentParser) -> None:
    """Options of every verb that answers with a frame."""
    verb.add_argument("--format", choices=FORMATS, default="table")
    verb.add_argument("--out", metavar="FILE", help="write there instead of to standard output")
    verb.add_argument("--rows", type=int, default=50, metavar="N", help="rows of a table that are shown; 0 shows all")


def neuron(text: str) -> NeuronId:
    """One neuron, named ``SITE/LAYER/NEURON``.

    Example:
        >>> neuron("mlp_pre/3/117")
        NeuronId(site='mlp_pre', layer=3, neuron=117)
    """
    site, _, rest = text.partition("/")
    layer, _, number = rest.partition("/")
    if not (site and layer.isdecimal() and number.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected SITE/LAYER/NEURON such as mlp_pre/3/117, got {text!r}")
    return NeuronId(site, int(layer), int(number))


def names(text: str) -> tuple[str, ...]:
    """Names between commas.

    Example:
        >>> names("ap, auroc")
        ('ap', 'auroc')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())
