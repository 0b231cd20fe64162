"""`actlas steer`: flags reach the run, the arms are shown together or text by text, and what is wrong is said in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from actlas.cli import run
from actlas.intervene import generation
from actlas.intervene.generation import Forcing, ProbeAt, Sampling
from actlas.query import TABLES
from actlas.testing import planted_store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the function behind the verb was asked; it answers with two texts."""
    calls: list[dict[str, Any]] = []

    def generate(store: Any, **given: Any) -> pl.DataFrame:
        calls.append({"store": store, **given})
        row = {"checkpoint": "c", "concept": "salt", "language": "en", "text": "no salt", "text_language": "en", "n_tokens": 3}
        rows = [{**dict.fromkeys(TABLES["generations"].columns), **row, "arm": arm} for arm in ("none", "experts")]
        return pl.DataFrame(rows, schema=dict(TABLES["generations"].columns))

    monkeypatch.setattr(generation, "generate_steered", generate)
    return calls


def test_flags_reach_the_run(tmp_path: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    store = str(planted_store(tmp_path / "s.actlas"))
    (tmp_path / "prompts.txt").write_text("The salt\n\n  \nWo\n", encoding="utf-8")
    few = ["steer", store, "--concept", "salt", "--language", "en"]
    flags = (
        f"--concept water --checkpoint planted-step64 --k 7 --on-value p90 --arms none,experts --skip 9 --other fire "
        f"--control-seed 4 --how add --position last --strength 2 --seeds 3 --prompts {tmp_path / 'prompts.txt'} "
        "--temperature 1 --top-k 10 --top-p 0.9 --max-new-tokens 5 --device cpu --batch 8 --no-keep --format json --texts "
        "--site mlp_pre --probe resid/3"
    )
    assert run([*few, *flags.split()]) == 0
    assert [row["text"] for row in json.loads(capsys.readouterr().out)] == ["no salt", "no salt"]
    (call,) = asked
    assert call["forcing"] == Forcing(7, "p90", ("mlp_pre",), 9, "fire", 4, "add", "last", 2.0)
    assert call["sampling"] == Sampling(1.0, 10, 0.9, 5)
    assert call["probe"] == ProbeAt("resid", 3)
    assert (call["concepts"], call["languages"], call["checkpoints"]) == (["salt", "water"], ["en"], ["planted-step64"])
    assert (call["arms"], call["seeds"], call["prompts"]) == (("none", "experts"), 3, ("The salt", "Wo"))
    assert (call["device"], call["batch"], call["store"].mode) == ("cpu", 8, "r")
    assert call["compute_dtype"] == "auto"
    assert run([*few, "--dtype", "bfloat16"]) == 0
    assert asked.pop()["compute_dtype"] == "bfloat16"
    capsys.readouterr()
    # a live model has one dtype
    assert run([*few, "--compute-dtype", "autocast-bfloat16"]) == 2
    assert "invalid choice: 'autocast-bfloat16' (choose from" in capsys.readouterr().err
    assert run(few) == 0
    assert "experts" in capsys.readouterr().out
    assert asked[1]["forcing"] == Forcing()
    assert asked[1]["sampling"] == Sampling()
    assert (asked[1]["prompts"], asked[1]["store"].mode) == (None, "a")


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    store = str(planted_store(tmp_path / "s.actlas"))
    assert run(["steer", store, "--concept", "salt"]) == 2
    assert "--language" in capsys.readouterr().err
    assert run(["steer", store, "--concept", "salt", "--language", "en", "--probe", "resid"]) == 2
    assert "expected SITE/LAYER such as mlp_pre/3, got 'resid'" in capsys.readouterr().err
    few = ["steer", store, "--concept", "salt", "--language", "en"]
    assert run([*few, "--temperature", "-1"]) == 1
    assert "temperature must be at least 0" in capsys.readouterr().err
    (tmp_path / "none.txt").write_text("\n")
    assert run([*few, "--prompts", str(tmp_path / "none.txt")]) == 1
    assert "holds no prompt" in capsys.readouterr().err
    assert not asked
