"""Options that several verbs share, one function per group; flags made from declared options; texts to values."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import polars as pl

from actlas.allowed import Count, why_not
from actlas.cli.output import FORMATS, show_frame
from actlas.names import NeuronId
from actlas.options import About, alternatives, declared


def add_store(verb: argparse.ArgumentParser) -> None:
    """The store that a verb reads."""
    verb.add_argument("store", type=Path)


def add_checkpoints(verb: argparse.ArgumentParser) -> None:
    """Which of its checkpoints."""
    about = "repeat for more (default: all)"
    verb.add_argument("--checkpoint", type=named, action="append", dest="checkpoints", metavar="ID", help=about)


def add_sites(verb: argparse.ArgumentParser, help: str | None = None) -> None:
    """Which of its sites."""
    verb.add_argument("--site", type=named, action="append", dest="sites", metavar="SITE", help=help)


def add_choice(verb: argparse.ArgumentParser) -> None:
    """Which experts: how many of which checkpoints, languages, concepts and sites."""
    verb.add_argument("--k", type=int, default=500, help="experts per language and concept (default: 500)")
    add_checkpoints(verb)
    verb.add_argument("--language", type=named, action="append", dest="languages", metavar="NAME")
    verb.add_argument("--concept", type=named, action="append", dest="concepts", metavar="NAME")
    add_sites(verb, "default: all linear sites that are scored")


def add_lape_share(verb: argparse.ArgumentParser) -> None:
    """How many neurons LAPE selects."""
    verb.add_argument("--share", type=float, default=0.01, help="share of the neurons that are selected")
    verb.add_argument("--bar-quantile", type=float, default=0.95, help="quantile of all probabilities that a neuron must exceed")


def add_lape(verb: argparse.ArgumentParser) -> None:
    """What LAPE selects, and above which value a token is active."""
    add_lape_share(verb)
    verb.add_argument("--threshold", type=float, help="a token is active above it (default: the lowest that was counted)")


def add_output(verb: argparse.ArgumentParser) -> None:
    """Options of every verb that answers with a frame."""
    verb.add_argument("--format", choices=FORMATS, default="table")
    verb.add_argument("--out", type=named, metavar="FILE", help="write there instead of to standard output")
    verb.add_argument("--safe", action="store_true", help="csv in which no cell is a formula for a spreadsheet")
    verb.add_argument("--rows", type=number(Count), default=50, metavar="N", help="rows of a table that are shown; 0 shows all")


def show(frame: pl.DataFrame, given: argparse.Namespace) -> None:
    """Show an answer as the options of `add_output` have it."""
    show_frame(frame, given.format, given.out, given.rows, is_safe=given.safe)


def add_declared(verb: argparse.ArgumentParser, options: type) -> None:
    """A flag for every option that a dataclass declares; `declared_values` reads them back."""
    for name, hint, about in declared(options):
        for dest, kind, note in _flags(name, hint, about):
            _add_flag(verb, dest, kind, note, getattr(options, name) if dest == name else None)


def declared_values(given: argparse.Namespace, options: type) -> dict[str, Any]:
    """Keyword arguments for the options that were given."""
    values: dict[str, Any] = {}
    for name, hint, note in declared(options):
        kind: Any = alternatives(hint)[0]
        if not note.parts:
            values |= {name: getattr(given, name)} if hasattr(given, name) else {}
            continue
        parts = {part: getattr(given, f"{name}.{part}") for part in note.parts if hasattr(given, f"{name}.{part}")}
        parts = {part: tuple(value) if isinstance(value, list) else value for part, value in parts.items()}
        # one that is given its default is as if it was not given
        if parts and kind(**parts) != kind():
            values[name] = kind(**parts)
    return values


def _flags(name: str, hint: Any, about: About) -> list[tuple[str, Any, About]]:
    """Destination, type and description of the flags of one option: several where it is a dataclass."""
    if not about.parts:
        return [(name, hint, about)]
    hints = get_type_hints(alternatives(hint)[0])
    return [(f"{name}.{part}", hints[part], note) for part, note in about.parts.items()]


def _add_flag(verb: argparse.ArgumentParser, dest: str, hint: Any, about: About, default: Any) -> None:
    """One flag. Without it the namespace has no such name, so that the function's own default holds."""
    kinds = alternatives(hint)
    settings: dict[str, Any] = {"dest": dest, "default": argparse.SUPPRESS, "help": _help(about, default)}
    sequence = next((kind for kind in kinds if get_origin(kind) is Sequence or get_args(kind)[1:] == (...,)), None)
    if kinds == (bool,):
        settings |= {"action": "store_false" if default else "store_true"}
        settings["help"] = f"do not {about.help}" if default else about.help
    elif about.repeats:
        settings |= {"action": "append", "metavar": about.metavar}
    elif sequence is not None:
        element = str if get_origin(get_args(sequence)[0]) is Literal else get_args(sequence)[0]
        settings |= {"type": separated(element), "metavar": f"{about.metavar},..."}
        # a kind of option that is also a switch takes no second list
        settings |= {"nargs": "?", "const": True} if bool in kinds else {"action": "extend"}
    elif any(get_origin(kind) is Mapping for kind in kinds):
        settings |= {"type": assigned, "action": Assigned, "metavar": about.metavar}
    elif get_origin(kinds[0]) is Literal:
        settings |= {"choices": get_args(kinds[0])}
    elif get_origin(kinds[0]) is tuple:
        settings |= {"type": part, "metavar": about.metavar}
    elif about.in_gigabytes:
        settings |= {"type": gigabytes, "metavar": "GB"}
    else:
        metavar = {int: "N", float: "X"}.get(kinds[0], dest.upper())
        settings |= {"type": kinds[0], "metavar": about.metavar or metavar}
    verb.add_argument(*(about.flags or ("--" + dest.replace("_", "-"),)), **settings)


def _help(about: About, default: Any) -> str:
    again = "; repeat for more" if about.repeats else ""
    values = default if isinstance(default, tuple) else () if default is None or default is False else (default,)
    unset = about.unset or ",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return f"{about.help}{again}{f' (default: {unset})' if unset else ''}".replace("%", "%%")


def separated(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Reads values between commas.

    Example:
        >>> separated(int)("10, 20")
        (10, 20)
    """

    def read(text: str) -> tuple[Any, ...]:
        values = tuple(kind(part.strip()) for part in text.split(",") if part.strip())
        if not values:
            raise argparse.ArgumentTypeError(f"names nothing: {text!r}")
        return values

    # argparse names the function where a text is none of its values
    read.__name__ = f"list of {kind.__name__}"
    return read


def assigned(text: str) -> str | dict[str, str]:
    """One word, or words that are given names.

    Example:
        >>> assigned("float16"), assigned("mlp_pre=float16,resid=float32")
        ('float16', {'mlp_pre': 'float16', 'resid': 'float32'})
    """
    if "=" not in text:
        return named(text)
    pairs = [[word.strip() for word in part.partition("=")] for part in text.split(",")]
    if not all(name and sign and word for name, sign, word in pairs):
        raise argparse.ArgumentTypeError(f"expected one word, or NAME=WORD,..., got {text!r}")
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise argparse.ArgumentTypeError(f"names something twice: {text!r}")
    return {name: word for name, _, word in pairs}


class Assigned(argparse.Action):
    """Puts what `assigned` reads together where a flag is repeated; one word stands alone."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: object) -> None:
        """Called by argparse for each time that the flag is there."""
        before = getattr(namespace, self.dest, {})
        both = [value for value in (before, values) if value]
        if len(both) == 2 and not all(isinstance(value, dict) and not before.keys() & values.keys() for value in both):
            parser.error(
                f"argument {'/'.join(self.option_strings)}: one word for all, or each name once, not {both[0]} and {both[1]}"
            )
        setattr(namespace, self.dest, {**before, **values} if isinstance(values, dict) else values)


def part(text: str) -> tuple[int, int]:
    """One part of several, as in ``2/8``.

    Example:
        >>> part("2/8")
        (2, 8)
    """
    number, _, whole = text.partition("/")
    if not (number.isdecimal() and whole.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected I/N such as 2/8, got {text!r}")
    return int(number), int(whole)


def named(text: str) -> str:
    """A name, which is never empty.

    Example:
        >>> named("water")
        'water'
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def number(hint: Any) -> Callable[[str], Any]:
    """Reads a number that a type of `actlas.allowed` allows.

    Example:
        >>> number(Count)("3")
        3
    """
    kind = alternatives(get_args(hint)[0])[0]

    def read(text: str) -> Any:
        value = kind(text)
        reason = why_not("", value, hint)
        if reason is not None:
            raise argparse.ArgumentTypeError(reason.strip())
        return value

    read.__name__ = kind.__name__
    return read


def gigabytes(text: str) -> int:
    """Bytes, given in gigabytes.

    Example:
        >>> gigabytes("1.5")
        1500000000
    """
    number = float(text) * 1e9
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"needs a finite number, not {text}")
    return int(number)


def site_layer(text: str) -> tuple[str, int]:
    """A layer of a site, named ``SITE/LAYER``.

    Example:
        >>> site_layer("mlp_pre/3")
        ('mlp_pre', 3)
    """
    site, _, layer = text.partition("/")
    if not (site and layer.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected SITE/LAYER such as mlp_pre/3, got {text!r}")
    return site, int(layer)


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
