"""`actlas score`: what was asked is what is computed, and the table says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from actlas.cli import run
from actlas.query import top_experts
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


def test_a_table_of_scores_becomes_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{concept},0,{neuron},{0.1 * neuron + 0.2:.1f}" for concept in ("iron", "salt") for neuron in range(3)]
    (tmp_path / "scores.csv").write_text("\n".join(["concept,layer,neuron,ap", *rows]))
    (tmp_path / "counts.csv").write_text("language,concept,n_positive,n_texts\nen,iron,1,5\nen,salt,1,5\n")
    arguments = ["import-scores", "table", str(tmp_path / "scores.csv"), "--store", str(tmp_path / "s")]
    arguments += [
        "--language",
        "en",
        "--site",
        "mlp_pre",
        "--provenance",
        "by hand",
        "--label-counts",
        str(tmp_path / "counts.csv"),
    ]
    assert run(arguments) == 1
    assert "checkpoint is missing" in capsys.readouterr().err
    assert run([*arguments, "--checkpoint", "m-step8=8", "--model", "m"]) == 0
    assert "m-step8" in capsys.readouterr().out
    assert Store(tmp_path / "s").checkpoint("m-step8")["model"] == "m"
    # the first neuron has the score of a guess, one of five
    assert top_experts(tmp_path / "s", k=2)["neuron"].to_list() == [2, 1, 2, 1]
    assert run([*arguments, "--checkpoint", "m=x"]) == 1
    assert "expected ID or ID=STEP" in capsys.readouterr().err
    assert run([*arguments, "--checkpoint", "m", "--concept", "gold"]) == 1
    assert "leave --concept out" in capsys.readouterr().err
