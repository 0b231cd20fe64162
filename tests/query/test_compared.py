"""Names in conditions that are not there: a warning with the nearest, and the answer all the same."""

from __future__ import annotations

import logging
import re
from typing import Any

import polars as pl
import pytest

from actlas.errors import ActlasError
from actlas.query import Atlas


@pytest.mark.parametrize(
    ("condition", "params", "said"),
    [
        ("concept = 'watr'", {}, "no concept 'watr' in .*; did you mean 'water'\\? it has fire, salt, water, yeast"),
        ("'watr' = e.concept", {}, "no concept 'watr'"),
        ("language IN ('en', 'ens', 'eng')", {}, "no language 'ens', 'eng' in .*; did you mean"),
        ("language NOT IN ('engl')", {}, "no language 'engl'"),
        ("checkpoint = $c", {"c": "planted-step46"}, "no checkpoint 'planted-step46' in .*; did you mean 'planted-step64'"),
        ("rank = 1 AND (site = 'mlp_per' OR layer = 0)", {}, "no site 'mlp_per' in .*; did you mean 'mlp_pre'"),
        ("neuron IN (SELECT neuron FROM lape WHERE language = 'xx')", {}, "no language 'xx'"),
        ("concept <> 'slat'", {}, "no concept 'slat'"),
    ],
)
def test_a_name_that_is_not_there_is_told(
    asked: Atlas, caplog: pytest.LogCaptureFixture, condition: str, params: dict[str, Any], said: str
) -> None:
    with caplog.at_level(logging.WARNING):
        asked.sql(f"SELECT count(*) FROM experts AS e WHERE {condition}", params)
    (record,) = caplog.records
    assert re.search(said, record.getMessage()), record.getMessage()


@pytest.mark.parametrize(
    "query",
    [
        "FROM experts WHERE concept = 'water' AND language IN ('en', 'fr') AND site = 'mlp_pre' AND checkpoint = 'planted-step0'",
        "FROM experts WHERE concept LIKE 'wat%' OR upper(concept) = 'WATER'",
        "FROM texts WHERE text = 'watr'",
        # these have languages of their own
        "FROM neuron_sets WHERE language = 'vi'",
        "FROM patches WHERE language = 'it'",
        "FROM lape WHERE site = 'mlp_hidden'",
        "SELECT count(*) FROM probe WHERE site = 'embed'",
    ],
)
def test_a_query_over_what_is_there_says_nothing(asked: Atlas, caplog: pytest.LogCaptureFixture, query: str) -> None:
    asked.sql(query)
    assert not caplog.records


def test_other_tables_have_names_of_their_own(asked: Atlas, caplog: pytest.LogCaptureFixture) -> None:
    mine = pl.DataFrame({"concept": ["mine"]})
    assert asked.sql("FROM mine WHERE concept = 'mine'", tables={"mine": mine}).height == 1
    assert asked.sql("FROM o.experts WHERE concept = 'mine'", stores={"o": asked.path}).height == 0
    assert not caplog.records


def test_names_that_functions_and_tables_do_not_have_are_answered_with_the_nearest(asked: Atlas, scored: Atlas) -> None:
    for ask, said in (
        (lambda: asked.cube("planted-step46", "mlp_pre"), "did you mean 'planted-step64'"),
        (lambda: asked.cube("planted-step64", "mlp_per"), "did you mean 'mlp_pre'"),
        (lambda: asked.token_cube("planted-step64", "resd"), "did you mean 'resid'"),
        (lambda: asked.token_counts("planted-step64", "mlp_hiden"), "did you mean 'mlp_hidden'"),
        (lambda: asked.scores("planted-step64", "mlp_pre").read("auroo"), "did you mean 'auroc'"),
        (lambda: asked.sql("FROM overlp"), "did you mean 'overlap'"),
        # one that was not computed, too
        (lambda: scored.scan("generatons"), "did you mean 'generations'"),
        (lambda: asked.sql("SELECT overlp FROM overlap"), 'Candidate bindings: "overlap"'),
        (lambda: asked.sql("SELECT o.overlp FROM overlap AS o"), "a column named \"overlp\"; did you mean 'overlap'"),
        (lambda: asked.ask("shared_experts", checkpoint="planted-step64", concpt="salt"), "did you mean 'concept'"),
    ):
        with pytest.raises(ActlasError, match=said):
            ask()
