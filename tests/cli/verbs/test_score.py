"""`actlas score`: what was asked is what is computed, and the table says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from actlas.cli import run
from actlas.store import Store
from actlas.testing.planted import planted_store


def test_the_statistics_that_are_named_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = planted_store(tmp_path / "s")
    checkpoint = Store(path).checkpoints[0]
    arguments = ["--quiet", "score", str(path), "--checkpoint", checkpoint, "--stats", "ap,mean", "--backend", "reference"]
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert checkpoint in shown
    store = Store(path)
    (site, *_) = store.scored_sites(checkpoint)
    assert sorted(store.scores(checkpoint, site).stats) == ["ap", "mean"]
    assert not store.scored_sites(Store(path).checkpoints[1])
    # the same again changes nothing, other settings are refused until they are to replace what is there
    assert run(arguments) == 0
    assert run([*arguments[:-2], "--threshold", "0.5"]) == 1
    assert "overwrite" in capsys.readouterr().err
