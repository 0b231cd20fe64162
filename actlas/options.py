"""How an option is declared: as a field of a dataclass, with all that docstrings and the command line say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class About:
    """What is said of an option beside its name, type and default.

    Attributes:
        help: What it does.
        unset: What holds where it is not said, in words; "" where the default says it.
        flags: What the command line calls it, where that is not its name with dashes.
        metavar: What the command line's help calls its value.
        repeats: Whether the command line takes one value at a time, since values may hold commas.
        in_gigabytes: Whether the command line takes gigabytes instead of bytes.
        parts: What is said of each field, of an option that is a dataclass.
    """

    help: str
    unset: str = ""
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    repeats: bool = False
    in_gigabytes: bool = False
    parts: Mapping[str, About] = field(default_factory=dict)


def about(help: str, **rest: Any) -> dict[str, About]:
    """The metadata of an option's field; `rest` are fields of `About`."""
    return {"about": About(help, **rest)}


def declared(options: type) -> list[tuple[str, Any, About]]:
    """Name, type and `About` of every option of a dataclass.

    Example:
        >>> from actlas.extract import ExtractOptions
        >>> name, hint, note = declared(ExtractOptions)[3]
        >>> name, note.help
        ('backend', 'what runs the models: hf (transformers) or vllm; a store holds the values of one of them')
    """
    hints = get_type_hints(options)
    return [(each.name, hints[each.name], each.metadata["about"]) for each in fields(options)]


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types that a type allows, without None.

    Example:
        >>> alternatives(int | None), alternatives(str)
        ((<class 'int'>,), (<class 'str'>,))
    """
    members = () if get_origin(hint) in (None, Literal, tuple, Sequence, Mapping) else get_args(hint)
    return tuple(member for member in members if member is not type(None)) or (hint,)
