from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from actlas.options import About, about, alternatives, declared


@dataclass(frozen=True)
class Choice:
    k: int | None = field(default=None, metadata=about("how many", unset="all", metavar="N"))


def test_what_is_declared_of_an_option_is_found_with_its_type() -> None:
    assert declared(Choice) == [("k", int | None, About("how many", unset="all", metavar="N"))]


def test_the_types_that_a_type_allows_are_those_of_a_union_alone() -> None:
    kinds = Literal["a", "b"]
    assert alternatives(kinds | None) == (kinds,)
    assert alternatives(Sequence[str]) == (Sequence[str],)
    assert alternatives(bool | Sequence[str]) == (bool, Sequence[str])
