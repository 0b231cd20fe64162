"""Verbs that ask: what they keep, what they say of it, and that they answer where nothing can be kept."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from actlas.cli import run
from actlas.query import open_store, score_neurons, top_experts
from actlas.testing.planted import Planting, planted_store


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = planted_store(tmp_path_factory.mktemp("cli") / "s.actlas")
    score_neurons(path, stats=("ap", "median"))
    return path


@pytest.fixture
def own(scored: Path, tmp_path: Path) -> Path:
    shutil.copytree(scored, tmp_path / "own.actlas")
    return tmp_path / "own.actlas"


def test_an_answer_is_kept_and_that_is_said(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(["experts", str(own), "--k", "5", "--rows", "1"]) == 0
    assert f"kept in {own}: table experts of 3 checkpoints" in caplog.text
    caplog.clear()
    assert run(["experts", str(own), "--k", "3", "--rows", "1"]) == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"answered from what is kept in {own}: table experts of 3 checkpoints"
    ]
    store = open_store(own)
    assert [store.table_settings("experts", checkpoint)["k"] for checkpoint in store.checkpoints] == [5, 5, 5]


def test_nothing_is_kept_where_that_is_asked_for_or_the_answer_is_a_part(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(["experts", str(own), "--k", "5", "--rows", "1", "--no-keep"]) == 0
    assert run(["overlap", str(own), "--k", "5", "--rows", "1", "--no-halves", "--concept", "water"]) == 0
    assert "nothing is kept: an answer for some" in caplog.text
    assert open_store(own).table_names() == []


def test_other_settings_stand_beside_until_they_replace(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    linear = top_experts(own, k=4, keep=True)
    assert run(["experts", str(own), "--k", "4", "--site", "mlp_hidden", "--rows", "1"]) == 0
    assert "beside those that SQL shows as experts" in caplog.text
    assert open_store(own).sql("FROM experts").equals(linear)
    assert run(["--quiet", "experts", str(own), "--k", "4", "--site", "mlp_hidden", "--rows", "1", "--replace"]) == 0
    assert open_store(own).sql("SELECT DISTINCT site FROM experts")["site"].to_list() == ["mlp_hidden"]
    assert open_store(own).table_variants("experts") == []


def test_lape_says_where_tokens_were_counted(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["lape", str(own), "--share", "0.1", "--format", "json"]) == 0
    answer = capfd.readouterr()
    assert {row["site"] for row in json.loads(answer.out)} == {"mlp_hidden"}
    assert "active tokens of mlp_hidden\n" in answer.err
    assert run(["lape", str(own), "--site", "mlp_pre"]) == 1
    assert "were not counted at mlp_pre; counted are mlp_hidden" in capfd.readouterr().err


def test_controls_answer_and_keep_both_tables(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--quiet", "overlap", str(own), "--k", "5", "--controls", "--format", "json"]) == 0
    controls = json.loads(capfd.readouterr().out)
    means = open_store(own).sql(
        "SELECT checkpoint, avg(overlap) AS overlap FROM overlap JOIN checkpoints USING (checkpoint) "
        "GROUP BY checkpoint, position ORDER BY position"
    )
    assert [row["overlap"] for row in controls] == pytest.approx(means["overlap"].to_list())
    assert open_store(own).sql("SELECT count(*) AS n FROM overlap_controls")["n"].item() == 3


def test_tests_answer_by_pair_layer_and_concept_and_keep_all_three(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["--quiet", "overlap", str(own), "--k", "5", "--tests", "--repeats", "9", "--format", "json"]
    n_rows = {}
    for by in ("pair", "layer", "concept"):
        assert run([*asked, "--by", by]) == 0
        rows = json.loads(capfd.readouterr().out)
        n_rows[by] = len(rows)
        assert {row["p_value"] for row in rows if row["p_value"] is not None} <= {n / 10 for n in range(1, 11)}
    assert n_rows == {"pair": 3 * 4 * 3, "layer": 2 * 3 * 4 * 3, "concept": 3 * 4}
    store = open_store(own)
    assert [name for name in store.table_names() if name.startswith("overlap")] == [
        "overlap_tests", "overlap_tests_by_concept", "overlap_tests_by_layer",
    ]  # fmt: skip
    assert store.sql("SELECT DISTINCT n_tests FROM overlap_tests").rows() == [(10,)]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tests", "--controls"], "--tests says nothing with --controls"),
        (["--tests", "--no-halves"], "--no-halves says nothing with --tests"),
        (["--by", "concept"], "rows by concept are those of --tests"),
        (["--repeats", "9"], "--repeats says nothing without --controls or --tests"),
        (["--controls", "--by", "pair"], "--controls has a row per checkpoint, or --by layer; rows by pair are those of --tests"),
    ],
)
def test_flags_of_other_questions_are_refused(
    own: Path, flags: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["overlap", str(own), "--k", "5", *flags]) == 1
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["experts", "--k", "4"],
        ["overlap", "--k", "4", "--controls"],
        ["trajectory", "--k", "4"],
        ["trajectory", "--k", "4", "--stability"],
        ["lape", "--share", "0.1"],
        ["probe", "--seeds", "1"],
        ["top-texts", "--site", "attn_out", "--n", "2"],
        ["top-texts", "--neuron", "mlp_pre/0/4"],
    ],
)
@pytest.mark.parametrize("seen_before", [True, False], ids=["by its permissions", "by the first write"])
def test_a_folder_that_cannot_be_written_to_answers(
    arguments: list[str],
    seen_before: bool,
    scored: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    verb, *rest = arguments
    monkeypatch.setattr(os, "access", lambda *_: not seen_before)
    monkeypatch.setattr("actlas.store.contents.parts.write_atomically", refuse)
    assert run([verb, str(scored), *rest, "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)
    if "--neuron" not in rest:  # which keeps nothing anyway
        assert "nothing is kept" in caplog.text
        assert ("cannot be written to" if seen_before else "Read-only file system") in caplog.text
    assert open_store(scored).table_names() == []


def test_a_random_twin_is_told_as_a_control_and_is_not_the_last_step(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(planted_store(tmp_path / "s", Planting(n_groups=8, steps=(0, 9), sharing=(0.0, 1.0), has_twin=True)))
    assert run(["info", path]) == 0
    assert "control: planted-random0 is the random-weights twin of planted-step9, seed 0" in capfd.readouterr().out
    assert run(["top-texts", path, "--neuron", "mlp_pre/0/4", "--n", "1", "--format", "csv"]) == 0
    assert capfd.readouterr().out.splitlines()[1].startswith("planted-step9,")


def test_texts_of_a_group(scored: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def asked(*words: str) -> list[dict[str, Any]]:
        assert run([words[0], str(scored), *words[1:], "--format", "json"]) == 0
        rows: list[dict[str, Any]] = json.loads(capfd.readouterr().out)
        return rows

    group = ("--checkpoint", "planted-step64", "--concept", "water", "--language", "en", "--k", "3")
    by_experts = asked("top-texts", *group, "--combine", "max", "--n", "4")
    experts = top_experts(scored, k=3, checkpoints=["planted-step64"], languages=["en"], concepts=["water"])
    experts.write_csv(tmp_path / "group.csv")
    own = ("--checkpoint", "planted-step64", "--group", str(tmp_path / "group.csv"))
    assert by_experts == asked("top-texts", *own, "--combine", "max", "--n", "4")
    assert [row["rank"] for row in by_experts] == [1, 2, 3, 4]
    near = asked("nearest-texts", *group, "--text", "3", "--metric", "cosine", "--n", "4")
    assert near == asked("nearest-texts", *own, "--text", "3", "--metric", "cosine", "--n", "4")
    assert len(near) == 4
    for words, message in (
        (["top-texts", *own, "--k", "3"], "--k says nothing with --group"),
        (["top-texts", "--language", "en", "--site", "mlp_pre"], "--language says nothing without --concept or --group"),
        (["top-texts", "--concept", "water"], "in which language"),
        (["nearest-texts", "--text", "3"], "name the group"),
        (["nearest-texts", *own, "--text", "3000"], "no text 3000"),
    ):
        assert run([words[0], str(scored), *words[1:]]) == 1
        assert message in capfd.readouterr().err
