"""Shares of texts under forced experts: the differences that were written are found, and nothing where there are none."""

from __future__ import annotations

import shutil

import pytest

from actlas.query import open_store
from actlas.reproduce.forced import CONCEPTS, LANGUAGES
from actlas.reproduce.gather import gather
from tests.reproduce.made import RATES, with_generations


@pytest.fixture
def stores(runs, tmp_path):
    made = {}
    for name, rates in (("model", RATES), ("control", {**RATES, "experts": RATES["random"]})):
        made[name] = open_store(shutil.copytree(runs[name], tmp_path / name), "a")
        with_generations(made[name], rates)
    return made


def test_the_pull_into_the_language_is_the_difference_to_random_neurons(stores):
    pull, fall = (stores["model"].sql(claim.sql).row(0, named=True) for claim in LANGUAGES.claims)
    assert pull["effect"] == pytest.approx(0.2)
    assert fall["effect"] == pytest.approx(0.0)


def test_words_of_the_concept_count_in_any_language_and_elsewhere(stores):
    anywhere, elsewhere = (stores["model"].sql(claim.sql).row(0, named=True) for claim in CONCEPTS.claims)
    assert anywhere["effect"] == pytest.approx(0.5)
    assert elsewhere["effect"] == pytest.approx(0.3)


def test_figures_have_every_arm_and_language_and_judge_against_the_control(stores):
    answer = gather(CONCEPTS, [stores["model"]], [stores["control"]])
    assert set(answer.sides["model"]["series"]) == set(RATES)
    assert [verdict.word for verdict in answer.verdicts] == ["pass", "pass"]
    lines = gather(LANGUAGES, [stores["model"]], [stores["control"]]).sides["model"]
    assert set(lines["series"]) == {"texts in en", "texts in es", "texts in fr", "en, nothing forced", "en, random neurons"}
    assert (lines.filter(series="texts in es")["value"] == 0).all()


def test_without_texts_the_command_is_named(runs):
    answer = gather(CONCEPTS, [open_store(runs["model"])], [])
    assert "actlas steer" in answer.missing
