from __future__ import annotations

import json

import polars as pl
import pytest

from actlas.query import open_store
from actlas.reproduce.compression import OVERLAP, PROBING
from actlas.reproduce.gather import Answer, gather
from actlas.reproduce.pages import figure_word, write_pages


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    stores = [[open_store(runs[name])] for name in ("model", "control")]
    answers = [gather(OVERLAP, *stores), Answer(PROBING, {}, (), "no probe here: actlas probe STORE")]
    write_pages(folder, "page", "A page", ["About <it>."], [("Paper", answers)])
    return folder, answers


def test_both_pages_have_verdicts_sql_and_what_is_missing(written):
    folder, _ = written
    for name in ("page.html", "page.md"):
        text = (folder / name).read_text()
        for words in (
            "pass",
            "overlap above its null at the last checkpoint",
            "FROM overlap_controls",
            "Not there: no probe here: actlas probe STORE",
        ):
            assert words.lower() in text.lower(), (name, words)
    assert "About &lt;it&gt;." in (folder / "page.html").read_text()


def test_numbers_are_files(written):
    folder, answers = written
    rows = pl.read_csv(folder / "page" / "overlap.csv", schema_overrides={"low": pl.Float64, "high": pl.Float64})
    assert rows.height == sum(frame.height for frame in answers[0].sides.values())
    assert rows.columns == ["side", "panel", "series", "step", "value", "low", "high", "n_runs"]
    told = json.loads((folder / "page.json").read_text())
    assert [(one["figure"], one["word"]) for one in told] == [("overlap", "not shown"), ("probing", "")]
    assert (folder / "page" / "overlap.svg").read_text().startswith("<svg xmlns")


def test_the_same_answers_give_the_same_bytes(written, tmp_path):
    folder, answers = written
    write_pages(tmp_path, "page", "A page", ["About <it>."], [("Paper", answers)])
    for path in folder.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()


def test_a_figure_passes_only_where_all_its_findings_do(written):
    _, (overlap, probing) = written
    passed = Answer(OVERLAP, overlap.sides, overlap.verdicts[:2])
    assert [figure_word(one) for one in (passed, overlap, probing)] == ["pass", "not shown", ""]
