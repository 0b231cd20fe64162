"""Shared options, and flags made from declared ones."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest

from actlas.cli.arguments import add_checkpoints, add_choice, add_declared, add_output, add_store, declared_values
from actlas.options import about


@dataclass(frozen=True)
class Options:
    colour: Literal["red", "blue"] = field(default="red", metadata=about("what is painted"))
    weights: Sequence[float] = field(default=(1.0, 0.5), metadata=about("how heavy", metavar="W"))
    is_loud: bool = field(default=False, metadata=about("make noise"))
    sweeps: bool = field(default=True, metadata=about("clean up", flags=("--dirty",)))
    size: int | None = field(default=None, metadata=about("100% of it", unset="all"))
    kinds: Literal["auto", "a"] | Mapping[str, Literal["auto", "a"]] = field(
        default="auto", metadata=about("of what", flags=("--kind",), metavar="KIND|NAME=KIND")
    )


@pytest.fixture
def verb() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_declared(parser, Options)
    return parser


def test_flags_follow_types(verb: argparse.ArgumentParser) -> None:
    given = verb.parse_args(["--colour", "blue", "--weights", "2,3", "--weights", "4", "--is-loud", "--dirty", "--size", "7"])
    values = declared_values(given, Options)
    assert values == {"colour": "blue", "weights": [2.0, 3.0, 4.0], "is_loud": True, "sweeps": False, "size": 7}
    assert declared_values(verb.parse_args([]), Options) == {}
    for flags, kinds in {
        ("--kind", "a"): "a",
        ("--kind", "x=a, y=auto"): {"x": "a", "y": "auto"},
        ("--kind", "x=a", "--kind", "y=a"): {"x": "a", "y": "a"},
    }.items():
        assert declared_values(verb.parse_args(flags), Options) == {"kinds": kinds}


def test_the_help_says_what_holds_without_a_flag(verb: argparse.ArgumentParser) -> None:
    text = " ".join(verb.format_help().split())
    for line in (
        "--colour {red,blue} what is painted (default: red)",
        "--weights W,... how heavy (default: 1,0.5)",
        "--is-loud make noise",
        "--dirty do not clean up",
        "--size N 100% of it (default: all)",
        "--kind KIND|NAME=KIND of what (default: auto)",
    ):
        assert line in text


def test_verbs_share_their_groups() -> None:
    parser = argparse.ArgumentParser()
    add_store(parser)
    add_choice(parser)
    add_output(parser)
    given = parser.parse_args(["s", "--checkpoint", "a", "--checkpoint", "b", "--site", "resid", "--rows", "3"])
    assert (given.checkpoints, given.sites, given.k, given.rows, given.format) == (["a", "b"], ["resid"], 500, 3, "table")
    other = argparse.ArgumentParser()
    add_checkpoints(other)
    assert other.parse_args([]).checkpoints is None
