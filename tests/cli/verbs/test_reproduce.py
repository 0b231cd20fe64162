from __future__ import annotations

import pytest

from actlas.cli import run
from actlas.testing.planted import Planting, planted_store


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return planted_store(tmp_path_factory.mktemp("cli") / "bare.actlas", Planting(steps=(0,), sharing=(0.0,)))


def test_the_command_shows_verdicts_and_what_is_not_there(bare, tmp_path, capsys):
    assert run(["reproduce", "compression", str(bare), "--no-ask", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "not shown" in shown
    assert "probing: not there: model:" in shown
    assert (tmp_path / "compression.md").exists()


def test_a_store_that_is_not_there_is_one_line(tmp_path, capsys):
    assert run(["reproduce", "compression", str(tmp_path / "none.actlas"), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("actlas: ")
