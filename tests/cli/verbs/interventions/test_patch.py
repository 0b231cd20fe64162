"""The verbs of concept patching, by the commands of their page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import polars as pl
import pytest

from actlas.cli import run
from actlas.query import open_store
from tests.intervene.concepts.models import word_model

PAGE = Path(__file__).resolve().parents[4] / "docs" / "patching.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's commands start from: a folder `runs` with a checkpoint."""
    folder = tmp_path_factory.mktemp("page")
    word_model(folder / "runs" / "words-step1")
    return folder


def test_the_page_runs(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    blocks = dict(enumerate(re.findall(r"^```(\w*)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)))
    commands = [
        line for kind, block in blocks.values() if kind == "" for line in block.splitlines() if line.startswith("actlas ")
    ]
    assert len(commands) >= 2
    for command in commands:
        assert run(shlex.split(command)[1:]) == 0, capsys.readouterr().err
    for kind, block in blocks.values():
        if kind == "python":
            exec(block, {})
        if kind == "sql":
            assert open_store("prompts.actlas").sql(block).height > 0


def test_the_command_prints_what_the_functions_give(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Runs on the store that the page made."""
    from actlas.query import patching_by_layer, patching_onset

    monkeypatch.chdir(folder)
    store = open_store("prompts.actlas")
    patches = store.sql("FROM patches")
    for by, function in (("layer", patching_by_layer), ("onset", patching_onset)):
        out = str(tmp_path / f"{by}.parquet")
        assert run(["patch", "prompts.actlas", "--tokens", "3", "--by", by, "--format", "parquet", "--out", out]) == 0
        shown = pl.read_parquet(out)
        assert shown.equals(function(patches))
        assert shown.columns == store.sql(f"FROM patching_{by if by == 'onset' else 'by_layer'}()").columns


def test_refusals_are_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    prompts = ["patch-prompts", "runs/words-step1", "--translation", "fr-en", "--out", "more"]
    assert run([*prompts, "--pairs", "5000"]) == 1
    assert "ordered pairs of the 36 concepts share no first token" in capsys.readouterr().err
    assert run([*prompts, "--language-name", "French"]) == 1
    assert "says what a language is called, such as fr=Français" in capsys.readouterr().err
    assert run(["patch", "prompts.actlas", "--setting", "seem"]) == 2
