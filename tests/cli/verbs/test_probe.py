"""The verb that trains probes shows what the functions return."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

import pytest

from actlas.cli import parser, run
from actlas.query import open_store, probe_classes, probe_controls, probe_summary, probe_transfer, train_probes
from actlas.query.probing.settings import SolverName, Values
from actlas.testing.planted import planted_store


def test_each_answer_is_that_of_its_function(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = planted_store(tmp_path / "s")
    flags = ["--checkpoint", "planted-step64", "--c", "0.1", "--seeds", "1", "--format", "json", "--no-keep"]
    chosen = {"checkpoints": ["planted-step64"], "c": 0.1, "seeds": (0,)}
    expected = {
        "": train_probes(store, **chosen),
        "--summary": probe_summary(train_probes(store, **chosen)),
        "--of classes --values tokens": probe_classes(store, **chosen),
        "--of controls --site embed": probe_controls(store, **chosen, sites=["embed"]),
        "--of transfer --label concept:salt --site mlp_pre": probe_transfer(store, "concept:salt", **chosen, sites=["mlp_pre"]),
    }
    for more, frame in expected.items():
        assert run(["--quiet", "probe", str(store), *flags, *more.split()]) == 0
        assert json.loads(capsys.readouterr().out) == frame.to_dicts()
    assert "probe" not in open_store(store).table_parts()


def test_flags_that_say_nothing_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(planted_store(tmp_path / "s"))
    assert run(["probe", store, "--of", "classes", "--summary"]) == 1
    assert run(["probe", store, "--of", "controls", "--values", "pooled"]) == 1
    told = capsys.readouterr().err
    assert "--summary says nothing with --of classes" in told
    assert "leave --values pooled out" in told


def test_choices_are_those_of_the_functions() -> None:
    (verbs,) = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    choices = {action.dest: action.choices for action in verbs.choices["probe"]._actions}
    assert choices["solver"] == get_args(SolverName)
    assert choices["values"] == get_args(Values)
