"""Packages whose names are loaded when they are first used, so that using one of them imports no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazily(package: str, homes: Mapping[str, str], names: Sequence[str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """What a package calls `__getattr__` and `__dir__`.

    Args:
        package: Its name.
        homes: Public name -> the module that has it.
        names: All public names.

    Returns:
        The two functions.

    Example:
        >>> get, listed = lazily("letters", {"digits": "string"}, ["digits"])
        >>> get("digits"), listed()
        ('0123456789', ['digits'])
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return get, lambda: sorted(names)
