"""`actlas tokens` shows and keeps what its function returns."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import actlas
from actlas.cli import run
from actlas.query import open_store
from actlas.testing import random_checkpoint


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored store of two texts with what no terminal should act on."""
    folder = tmp_path_factory.mktemp("tokens")
    texts = pl.DataFrame({"text": ["a \x1b[31mcat", "dogs", "eine Katze", "ein Hund"], "language": ["en", "en", "de", "de"]})
    labels = pl.DataFrame({"text_id": range(4), "concept": "cat", "is_concept": [True, False] * 2})
    corpus = actlas.corpus_from_frames(texts, labels)
    actlas.extract_activations(random_checkpoint(folder / "tiny"), corpus, folder / "run.actlas", device="cpu")
    actlas.score_neurons(folder / "run.actlas")
    return folder / "run.actlas"


def test_token_values_are_shown_and_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = ["tokens", str(path), "--k", "2", "--texts", "2"]
    assert run([*command, "--no-keep"]) == 0
    assert "token_values" not in open_store(path).table_names()
    assert run([*command, "--format", "csv"]) == 0
    assert "% of its cubes" in caplog.text
    kept = open_store(path).sql("FROM token_values")
    assert kept.equals(actlas.token_values(path, k=2, n_texts=2))
    assert kept["rank"].max() == 2


def test_what_cannot_be_is_one_line(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for options, said in (
        (["--of", "nobody"], "no sets called nobody"),
        (["--checkpoint", "nowhere"], "nowhere"),
        (["--model", str(path.parent)], "actlas: "),
        (["--texts", "9"], "has 4 texts"),
        (["--of", "lape", "--concept", "cat"], "leave the concepts out"),
    ):
        assert run(["--quiet", "tokens", str(path), "--no-keep", *options]) == 1
        error = capfd.readouterr().err
        assert said in error
        assert error.count("\n") == 1, error
