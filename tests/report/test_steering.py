"""Rates of steered texts and the sentences about them: of texts whose rates were written by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actlas.errors import TableNotFound
from actlas.query import Atlas, open_store
from actlas.report.measures import Labelled
from actlas.report.steering import steering_findings, steering_rates
from actlas.testing.planted import planted_store
from tests.reproduce.made import RATES, with_generations


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_store(tmp_path_factory.mktemp("steered") / "bare.actlas")


def written(bare: Path, folder: Path, rates: dict[str, tuple[int, int, int]]) -> Atlas:
    store = open_store(shutil.copytree(bare, folder / "store.actlas"), "a")
    with_generations(store, rates)
    return store


def test_rates_are_those_of_the_texts_of_the_last_checkpoint(bare: Path, tmp_path: Path) -> None:
    store = written(bare, tmp_path, dict(RATES))
    arms = {row["arm"]: row for row in steering_rates(Labelled("model", store)).iter_rows(named=True)}
    for arm, (own, words, elsewhere) in RATES.items():
        assert arms[arm]["n_texts"] == 10 * len(store.corpus.concepts)
        assert arms[arm]["rate"] == pytest.approx(words / 10)
        assert arms[arm]["in_language"] == pytest.approx(own / 10)
        assert arms[arm]["rate_elsewhere"] == pytest.approx(elsewhere / (10 - own))
    assert arms["random"]["difference"] == pytest.approx(0.5)
    assert arms["random"]["low"] < 0.5 < arms["random"]["high"]
    assert arms["experts"]["difference"] is None


def test_sentences_say_what_the_intervals_show(bare: Path, tmp_path: Path) -> None:
    store = written(bare, tmp_path, {"none": (5, 0, 0), "experts": (5, 9, 4), "random": (5, 0, 0)})
    concept, elsewhere, language = steering_findings([("model", steering_rates(Labelled("model", store)))])
    assert concept.startswith("model: at step 128")
    assert "90.0% of the texts have a word of the concept; 0.0% with nothing forced, 0.0% with random neurons" in concept
    assert "That is more than under any control" in concept
    assert "80.0% have a word of the concept" in elsewhere
    assert "No difference is shown to texts with nothing forced or with random neurons" in language


def test_fewer_is_said_too(bare: Path, tmp_path: Path) -> None:
    store = written(bare, tmp_path, {"experts": (5, 0, 0), "random": (5, 10, 5)})
    (concept, *_) = steering_findings([("model", steering_rates(Labelled("model", store)))])
    assert "That is less than with random neurons of the same layers." in concept


def test_a_store_that_was_not_steered_says_so(bare: Path) -> None:
    with pytest.raises(TableNotFound, match="actlas steer"):
        steering_rates(Labelled("model", open_store(bare)))
