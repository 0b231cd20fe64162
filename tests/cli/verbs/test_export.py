"""`actlas export`: what is chosen is what is in the file."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from actlas.cli import run
from actlas.query import language_neurons, open_store
from actlas.testing import planted_store


def test_language_sets_are_exported_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = planted_store(tmp_path / "s.actlas")
    arguments = [
        "export",
        str(store),
        str(tmp_path / "x.parquet"),
        "--checkpoint",
        "planted-step64",
        "--from",
        "lape",
        "--share",
        "0.1",
    ]
    assert run(arguments) == 0
    expected = language_neurons(open_store(store), checkpoints=["planted-step64"], share=0.1)
    frame = pl.read_parquet(tmp_path / "x.parquet")
    columns = ["language", "layer", "neuron"]
    assert frame.select(columns).sort(columns).equals(expected.select(columns).sort(columns))
    # languages in the order of the store
    assert frame["language"].unique(maintain_order=True).to_list() == list(open_store(store).corpus.languages)
    assert f"{expected.height} neurons of planted-step64" in capsys.readouterr().err
    assert run([*arguments, "--language", "xx"]) == 1
    assert "no set of lape of language 'xx'" in capsys.readouterr().err
