"""A line of the package changed for one test, to see that another test would notice."""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import pytest


@dataclass(frozen=True)
class Mutation:
    """What is changed: a function or method, by whom it is looked up, and the words in its source.

    Attributes:
        owners: Modules or classes that have it under this name.
        name: Of the function.
        old: Part of its source that occurs once.
        new: What stands there instead.
    """

    owners: tuple[Any, ...]
    name: str
    old: str
    new: str

    def apply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Change it until the test ends."""
        function: FunctionType = inspect.unwrap(getattr(self.owners[0], self.name))
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.old) == 1, (
            f"{self.name} has {source.count(self.old)} times {self.old!r}; this test is out of date"
        )
        names = dict(function.__globals__)
        code = "from __future__ import annotations\n" + source.replace(self.old, self.new)
        exec(compile(code, f"<{self.name}, changed>", "exec"), names)
        for owner in self.owners:
            monkeypatch.setattr(owner, self.name, names[self.name])
