"""Lines are drawn so that concepts have positives, and what is found of a model and its twin becomes the tables of a page."""

import re

import numpy as np
import pytest

from actlas.testing import random_checkpoint
from benchmarks.real_model import CONCEPTS, Job, chosen_lines, corpus_of, files_of, run, settings_of
from benchmarks.real_tables import REAL_TABLES, quarters

LANGUAGES = ("eng", "deu")
WORDS = {"sea": "Meer", "law": "Recht", "town": "Stadt"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two line-aligned files, named as NTREX-128 names them."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    lines = [(list(WORDS)[number % 4] if number % 4 < 3 else "one", number, rng.integers(100)) for number in range(60)]
    english = "".join(f"the {word} of {number} and {other}\n" for word, number, other in lines)
    german = "".join(f"{WORDS.get(word, 'eins')} von {number} und {other}\n" for word, number, other in lines)
    (folder / "newstest2019-src.eng.txt").write_text(english)
    (folder / "newstest2019-ref.deu.txt").write_text(german)
    return folder


@pytest.fixture
def few_concepts(monkeypatch):
    for concept in CONCEPTS.keys() - {"water", "law", "city"}:
        monkeypatch.delitem(CONCEPTS, concept)


def labels(*rows):
    return np.array(rows, dtype=bool)


def test_every_concept_gets_its_lines_and_the_rest_is_any():
    is_concept = np.zeros((100, 3), dtype=bool)
    is_concept[:4, 0] = is_concept[10:40, 1] = is_concept[20:60, 2] = True
    chosen = chosen_lines(is_concept, 20, 4, 0)
    assert chosen.sum() == 20
    assert is_concept[chosen].sum(axis=0).min() >= 4
    assert (chosen == chosen_lines(is_concept, 20, 4, 0)).all()
    assert (chosen != chosen_lines(is_concept, 20, 4, 1)).any()


def test_too_few_lines_are_refused():
    rare = labels([1, 1], [0, 1], [0, 1], [0, 0])
    with pytest.raises(SystemExit, match="a concept has 1 lines of 4, and 2 are asked for"):
        chosen_lines(rare, 3, 2, 0)
    apart = labels([1, 0], [1, 0], [0, 1], [0, 1])
    with pytest.raises(SystemExit, match="2 lines of every concept are 4 lines, more than 3"):
        chosen_lines(apart, 3, 2, 0)


def test_files_are_found_by_their_language_under_either_name(folder, tmp_path):
    assert files_of(folder, ("deu",)) == {"deu": folder / "newstest2019-ref.deu.txt"}
    (tmp_path / "zho-CN.txt").touch()
    assert files_of(tmp_path, ("zho-CN",)) == {"zho-CN": tmp_path / "zho-CN.txt"}
    with pytest.raises(SystemExit, match=r"has no nld, pol; it has deu, eng"):
        files_of(folder, ("eng", "nld", "pol"))


def test_expressions_of_the_concepts_find_what_they_are_about():
    found = [
        name for name, expression in CONCEPTS.items() if re.search(expression, "Officers met the minister in a town at sea", re.I)
    ]
    assert found == ["water", "police", "government", "city"]


def test_translations_are_kept_together(folder, few_concepts):
    corpus = corpus_of(folder, Job(LANGUAGES, n_lines=40, n_positives=8))
    assert (corpus.n_texts, corpus.concepts) == (80, ("city", "law", "water"))
    english, german = (corpus.texts.filter(language=language) for language in LANGUAGES)
    assert english["parallel_id"].to_list() == german["parallel_id"].to_list()
    is_water, _ = corpus.concept_matrix("deu", ["water"])
    assert is_water[:, 0].tolist() == german["text"].str.contains("Meer").to_list()


def test_a_run_becomes_a_page(folder, few_concepts, tmp_path):
    job = Job(LANGUAGES, n_lines=40, n_positives=8, n_repeats=9, k=10, max_tokens=32)
    row = run("smollm2-135m", random_checkpoint(tmp_path / "tiny"), corpus_of(folder, job), tmp_path / "run.actlas", job)
    model, twin = row["checkpoints"]
    assert (model["is_twin"], twin["is_twin"], twin["checkpoint"]) == (False, True, "tiny-random0")
    assert model["widths"] == twin["widths"]
    for found in row["checkpoints"]:
        assert found["controls"]["overlap"] == pytest.approx(np.mean([pair["overlap"] for pair in found["pairs"]]))
        assert found["controls"]["overlap"] == pytest.approx(sum(layer["overlap"] for layer in found["layers"]))
        assert found["controls"]["overlap"] == pytest.approx(np.mean([concept["overlap"] for concept in found["concepts"]]))
    excess = [np.mean([each["overlap"] - each["null"] for each in found["concepts"]]) for found in row["checkpoints"]]
    assert row["beyond_twin"]["mean"] == pytest.approx(excess[0] - excess[1])
    assert row["beyond_twin"]["low"] <= row["beyond_twin"]["mean"] <= row["beyond_twin"]["high"]
    saved = {"settings": settings_of(job, 80), "rows": [row]}
    for name, render in REAL_TABLES.items():
        assert "tiny" not in render(saved), name
        assert render(saved).count("\n") >= 2, name
    assert f"{model['controls']['overlap']:.3f} (" in REAL_TABLES["real_models-overlap"](saved)


def test_layers_are_added_up_in_quarters():
    assert quarters([1.0] * 30) == [8, 7, 7, 8]
    assert sum(quarters(np.arange(18.0))) == pytest.approx(np.arange(18).sum())
