"""`actlas effects`: what the flags say is what is measured, kept and shown."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import actlas
from actlas.cli import run
from actlas.testing import random_checkpoint


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("effects")
    texts = pl.DataFrame({"text": ["a cat", "two dogs", "ein Hund", "drei Katzen"], "language": ["en", "en", "de", "de"]})
    labels = pl.DataFrame({"text_id": [0, 1], "concept": "cat", "is_concept": [True, False]})
    corpus = actlas.corpus_from_frames(texts, labels)
    actlas.extract_activations(random_checkpoint(folder / "tiny"), corpus, folder / "s.actlas", device="cpu")
    return folder / "s.actlas"


def test_flags_are_options_and_the_answer_is_a_summary(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (store.parent / "mine.csv").write_text("language,site,layer,neuron,value\nen,mlp_hidden,0,3,0\nde,mlp_hidden,1,4,0\n")
    flags = [
        "--set",
        str(store.parent / "mine.csv"),
        "--any-weights",
        "--random",
        "2",
        "--texts",
        "1",
        "--interventions",
        "zero,mean",
    ]
    command = ["--quiet", "effects", str(store), *flags, "--device", "cpu", "--format", "json"]
    assert run(command) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown) == 2 * 2 * 2
    assert {row["n_random"] for row in shown} == {2}
    assert {row["n_texts"] for row in shown} == {1}
    kept = actlas.open_store(store).table("neuron_effects", "tiny")
    assert kept.height == 2 * 2 * 2 * 3
    assert run([*command, "--whole"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == kept.height
    assert run([*command, "--interventions", "zap"]) == 1
    assert "choose one of zero, mean" in capsys.readouterr().err
