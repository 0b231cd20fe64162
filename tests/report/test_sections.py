"""Sections by themselves: what they say where something is missing."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from actlas.explore.view import Part, picture
from actlas.query import open_store
from actlas.query.schema import TABLES
from actlas.report import parts, sections
from actlas.report.measures import Labelled
from actlas.report.questions import Question
from tests.report.conftest import ACCURACY, publish_probe


@pytest.fixture
def bare(bare_store):
    return Labelled("bare", bare_store)


def test_a_part_is_drawn_with_its_numbers_and_its_query_filled(shared):
    sql = "SELECT language, count(*) AS n FROM texts WHERE text_id < $most GROUP BY 1 ORDER BY 1"
    part = Part("n", "Texts by language", sql, picture("bars", x="language", y="n"), "How many.")
    made = sections.shown(part, [shared], is_several=False, most=60)
    for words in ("<h3>Texts by language</h3>", "<svg", "Numbers of this figure", "WHERE text_id &lt; 60", "How many."):
        assert words in made
    assert "$most" not in made
    assert "<svg" not in sections.shown(Part("n", "Texts", "FROM texts LIMIT 2"), [shared])


def test_a_long_table_is_written_out_as_far_as_it_is_read(shared):
    made = sections.shown(Part("n", "Numbers", "SELECT range AS n FROM range(1234)"), [shared], is_several=False)
    assert made.count("<tr>") == 1 + 400
    assert "400 of 1,234 rows are written out; the query gives all." in made
    carried = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', made)[0])["answer"]
    assert (len(carried["values"][0]), carried["is_whole"]) == (1234, True)
    longer = sections.shown(Part("n", "Numbers", "SELECT range AS n FROM range(20001)"), [shared], is_several=False)
    assert "400 of 20,001 rows are written out, 20,000 are drawn; the query gives all." in longer
    assert "rows are written out" not in sections.shown(Part("n", "Numbers", "SELECT range AS n FROM range(400)"), [shared])


def test_a_part_that_cannot_be_answered_says_why_and_the_others_stay(bare):
    for sql, words in (
        ("FROM overlap", "Not shown: table overlap was not computed yet: actlas overlap bare.actlas."),
        ("FROM texts WHERE false", "No row: nothing in this store answers to that."),
        ("SELECT nothing FROM texts", "Not shown: Referenced column"),
    ):
        made = sections.shown(Part("n", "A title", sql), [bare])
        assert words in made
        assert made.startswith("<h3>A title</h3>")
        assert "<figure" not in made


@pytest.mark.parametrize("make", ["overlap_section", "probe_section", "places_section", "steering_section"])
def test_a_section_without_its_table_names_the_command(make, bare):
    made = getattr(sections, make)([bare])
    assert made.startswith("<section")
    assert "Not shown: table" in made
    assert "was not computed yet: actlas" in made


def test_what_is_not_shown_is_what_no_one_asked_for(bare, shared):
    made = sections.missing_section([bare, shared])
    kept = {name for name, table in TABLES.items() if table.command and table.stored}
    for source in (bare, shared):
        for name in kept:
            n_there = len(source.store.table_files(name))
            row = f'<td dir="auto">{source.label}</td><td dir="auto">{name}</td><td dir="auto">{n_there} of 3</td>'
            assert (row in made) == (n_there < 3), name
    assert "STORE" not in made


def test_a_table_of_some_checkpoints_is_shown_as_far_as_it_goes(bare_store, tmp_path):
    store = open_store(shutil.copytree(bare_store.path, tmp_path / "cut.actlas"), "a")
    publish_probe(store, dict(list(ACCURACY.items())[:2]))
    cut = Labelled("cut", store)
    assert '<td dir="auto">probe</td><td dir="auto">2 of 3</td>' in sections.missing_section([cut])
    assert "at step 64" in sections.probe_section([cut])
    assert "&quot;seeds&quot;" in sections.provenance_section([cut])


def test_a_store_with_everything_misses_nothing(shared, monkeypatch):
    monkeypatch.setattr(sections, "TABLES", {"experts": TABLES["experts"]})
    assert "Every table that there is a command for was computed." in sections.missing_section([shared])


def test_questions_are_asked_in_order_or_not_at_all(shared):
    made = sections.question_section(shared, [Question("First?", "SELECT 1 AS one"), Question("Second?", "SELECT 2 AS two")])
    assert made.index("First?") < made.index("Second?")
    assert sections.question_section(shared, []) == ""


def test_checkpoints_to_look_at_twice_are_shown_where_there_are_any(shared, monkeypatch):
    assert "look at twice" not in sections.provenance_section([shared])
    flags = replace(parts.FLAGS, sql="SELECT 'planted-step64' AS checkpoint, true AS is_duplicate")
    monkeypatch.setattr(parts, "FLAGS", flags)
    assert "Checkpoints to look at twice" in sections.provenance_section([shared])
