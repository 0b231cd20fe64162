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


def test_a_typed_text_is_shown_and_not_kept(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = open_store(path).table_names()
    command = ["--quiet", "tokens", str(path), "--type", "a \x1b[31mcat\u202e"]
    assert run([*command, "--neuron", "mlp_pre/1/3", "--neuron", "mlp_pre/0/5", "--rows", "0"]) == 0
    shown = capfd.readouterr().out
    # no terminal acts on what is in a text
    assert not set("\x1b\u202e") & set(shown)
    assert len(shown.splitlines()) == 1 + 2 * len("a \x1b[31mcat\u202e")
    assert run([*command, "--k", "9", "--pairs", "1", "--format", "csv"]) == 0
    assert capfd.readouterr().out.startswith("position,piece,char_start,char_end,rank,concept,language,n_active,n_experts,")
    assert open_store(path).table_names() == before


def test_what_cannot_be_is_one_line(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for options, said in (
        (["--of", "nobody"], "no sets called nobody"),
        (["--checkpoint", "nowhere"], "nowhere"),
        (["--model", str(path.parent)], "actlas: "),
        (["--texts", "9"], "has 4 texts"),
        (["--of", "lape", "--concept", "cat"], "leave the concepts out"),
        (["--neuron", "mlp_pre/0/1"], "--neuron says nothing without --type"),
        (["--type", "a", "--texts", "3"], "--texts says nothing with --type"),
        (["--type", "a", "--of", "lape"], "--of lape says nothing with --type"),
        (["--type", "a", "--neuron", "mlp_pre/0/1", "--k", "3"], "--k says nothing with --neuron"),
        (["--type", "a", "--neuron", "mlp_pre/0/99"], "no neuron 99"),
        (["--type", ""], "text is empty"),
        (["--type", "a", "--checkpoint", "tiny", "--checkpoint", "tiny"], "2 are named"),
    ):
        keeping = [] if "--type" in options else ["--no-keep"]
        assert run(["--quiet", "tokens", str(path), *keeping, *options]) == 1
        error = capfd.readouterr().err
        assert said in error
        assert error.count("\n") == 1, error
