"""A model is steered out of its store, and what came out becomes the tables of a page."""

from contextlib import closing

import pytest

import actlas
from actlas.testing import ModelPlan, planted_model
from benchmarks import real_steering
from benchmarks.real_steering import WORDS, Steering, run
from benchmarks.steering_tables import STEERING_TABLES

PLAN = ModelPlan(steps=(0,), n_groups=24)
CHOSEN = Steering("planted", ("fr",), k=PLAN.k, seeds=4, max_new_tokens=12)


@pytest.fixture
def result(tmp_path, monkeypatch):
    words = {concept: {language: (word,) for language, word in own.items()} for concept, own in PLAN.words().items()}
    monkeypatch.setattr(real_steering, "WORDS", {name: words[name] for name in ("water", "book")})
    model = planted_model(tmp_path / "planted", PLAN) / "step-0"
    actlas.extract_activations(model, PLAN.corpus(), tmp_path / "run.actlas", sites=("mlp_pre",), device="cpu", syncs=False)
    with closing(actlas.open_store(tmp_path / "run.actlas", "a")) as store:
        actlas.score_neurons(store)
    row = run(model, tmp_path / "run.actlas", CHOSEN)
    return {"settings": {"k": CHOSEN.k, "seeds": 4, "max_new_tokens": 12, "temperature": 0.8}, "rows": [row]}


def test_a_run_becomes_a_page(result):
    (row,) = result["rows"]
    assert row["n_texts"] == 2 * 5 * 4
    of_arm = {(rate["concept"], rate["arm"]): rate["rate"] for rate in row["rates"]}
    assert of_arm["water", "experts"] == of_arm["book", "experts"] == 1
    assert of_arm["water", "other"] == of_arm["book", "other"] == 0
    assert {shift["share"] for shift in row["shifts"]} == {1}
    tables = {name: render(result) for name, render in STEERING_TABLES.items()}
    assert tables["real_steering"].count("\n") == 3 + 2 * 5
    assert "| water | fr | its experts | 1.00 |  |" in tables["real_steering"]
    assert tables["real_steering-languages"].count("\n") == 1 + 2 * 4
    assert "mon eau" in tables["real_steering-texts"]


def test_words_are_given_for_every_language_of_the_corpus():
    for own in WORDS.values():
        assert list(own) == ["eng", "deu", "spa", "ind", "zho-CN"]
        assert all(own.values())


def test_cells_hold_no_characters_of_markdown():
    text = {"concept": "water", "language": "eng", "arm": "none", "experts_of": None, "text": "a | b\n* <c> `d`"}
    table = STEERING_TABLES["real_steering-texts"]({"settings": {}, "rows": [{"texts": [text]}]})
    assert table.endswith(r"| a \| b \* \<c\> \`d\` |")
