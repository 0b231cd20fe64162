"""`import_scores`: the answers of the store that the scores came from, and one line for whatever needs values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import actlas
from actlas.cli import run
from actlas.errors import ActlasError, QueryError, RecipeMismatch, ScoreImportError
from actlas.names import Checkpoint
from actlas.query import (
    Atlas,
    anti_experts,
    first_shared,
    neuron_texts,
    random_experts,
    rank_stability,
    same_weights,
    top_experts,
)
from actlas.store import Store
from actlas.store.write import score_import

SITES = ("attn_out", "mlp_pre")


def checkpoints_of(store: Store) -> list[Checkpoint]:
    records = {name: store.checkpoint(name) for name in store.checkpoints}
    return [Checkpoint(name, record["model"], record["step"], record["revision"]) for name, record in records.items()]


def arrays_of(store: Store) -> dict[str, Any]:
    return {
        name: {site: {stat: store.scores(name, site).read(stat) for stat in store.scores(name, site).stats} for site in SITES}
        for name in store.checkpoints
    }


def counts_of(store: Store) -> pl.DataFrame:
    rows = []
    for language in store.corpus.languages:
        n_positive, n_member = store.corpus.label_counts(language, store.corpus.concepts)
        rows += zip([language] * len(n_member), store.corpus.concepts, n_positive.tolist(), n_member.tolist(), strict=True)
    return pl.DataFrame(rows, schema=["language", "concept", "n_positive", "n_texts"], orient="row")


def import_all(path: Path, store: Store, scores: Any = None, **others: Any) -> pl.DataFrame:
    about: dict[str, Any] = {
        "provenance": "a planted store",
        "languages": store.corpus.languages,
        "concepts": store.corpus.concepts,
        "checkpoints": checkpoints_of(store),
        "label_counts": counts_of(store),
    }
    return actlas.import_scores(path, arrays_of(store) if scores is None else scores, **{**about, **others})


@pytest.fixture(scope="module")
def imported_path(tmp_path_factory: pytest.TempPathFactory, scored_path: Path) -> Path:
    path = tmp_path_factory.mktemp("imports") / "imported.actlas"
    import_all(path, Store(scored_path))
    return path


@pytest.fixture
def imported(imported_path: Path) -> Atlas:
    return actlas.open_store(imported_path)


SQL = """
SELECT checkpoint, language, neuron, ap, median FROM scores
WHERE layer = 1 AND concept = 'salt' AND site = 'mlp_pre' ORDER BY ALL
"""
QUESTIONS: dict[str, Callable[[Atlas], pl.DataFrame]] = {
    "experts": lambda store: actlas.top_experts(store, k=5, sites=SITES),
    "overlap": lambda store: actlas.expert_overlap(store, k=5, sites=SITES, halves=False),
    "layers": lambda store: actlas.expert_overlap(store, k=5, sites=SITES, halves=False, by_layer=True),
    "trajectory": lambda store: actlas.shared_trajectory(store, k=5, sites=SITES),
    "first": lambda store: first_shared(actlas.shared_trajectory(store, k=5, sites=SITES), min_languages=2),
    "stability": lambda store: rank_stability(store, k=5, sites=SITES),
    "neuron": lambda store: actlas.neuron_trajectory(store, "mlp_pre", 1, 5),
    "anti-experts": lambda store: anti_experts(store, "planted-step64", "en", "salt", n=3),
    "random experts": lambda store: random_experts(store, "planted-step64", "en", "salt", k=9),
    "sql": lambda store: store.sql(SQL),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_answers_as_the_store_does_that_the_scores_are_from(question: str, imported: Atlas, scored: Atlas) -> None:
    answer = QUESTIONS[question](imported)
    assert answer.height
    assert answer.equals(QUESTIONS[question](scored))


def test_it_is_whole_and_says_what_it_is(
    imported_path: Path, imported: Atlas, scored: Atlas, capsys: Any, tmp_path: Path
) -> None:
    assert actlas.verify(imported.path).damage == ()
    assert imported.checkpoint("planted-step64")["provenance"] == "a planted store"
    assert (imported.corpus.languages, imported.corpus.n_texts) == (scored.corpus.languages, 0)
    assert imported.corpus.has_answer("en", "water")
    assert imported.sites("planted-step64") == []
    assert imported.sql("SELECT DISTINCT source FROM score_sources").item() == "imported"
    assert run(["info", str(imported.path)]) == 0
    shown = capsys.readouterr().out
    assert "source  planted-step64: a planted store" in shown
    assert "mlp_pre (scores)" in shown
    assert "planted-step64" in actlas.write_report(imported.path, tmp_path / "page.html").read_text()


REFUSED: dict[str, Callable[[Atlas], object]] = {
    "values": lambda store: store.cube("planted-step64", "mlp_pre"),
    "activations": lambda store: store.sql("SELECT * FROM activations LIMIT 1"),
    "halves": lambda store: actlas.expert_overlap(store, k=5),
    "nulls": lambda store: actlas.overlap_tests(store, k=5),
    "controls": lambda store: actlas.overlap_controls(store, k=5),
    "texts": lambda store: neuron_texts(store, "planted-step64", "mlp_pre", 0, 1),
    "languages": lambda store: actlas.language_neurons(store),
    "probes": lambda store: actlas.train_probes(store),
    "rank": lambda store: actlas.effective_rank(store),
    "scores": lambda store: actlas.score_neurons(actlas.open_store(store.path, "a")),
}


@pytest.mark.parametrize("question", REFUSED)
def test_what_needs_values_is_refused_in_one_line(question: str, imported: Atlas) -> None:
    with pytest.raises(ActlasError, match="holds imported scores only") as refused:
        REFUSED[question](imported)
    assert "\n" not in str(refused.value)


def test_a_guess_is_an_expert_only_where_it_is_not_known(tmp_path: Path) -> None:
    scores = {"m": {"mlp_pre": {"ap": np.array([[[[0.25, 0.25, 0.2, 0.1]]]])}}}
    named: dict[str, Any] = {"provenance": "by hand", "languages": ["en"], "concepts": ["salt"]}
    counts = pl.DataFrame({"language": ["en"], "concept": ["salt"], "n_positive": [1], "n_texts": [4]})
    actlas.import_scores(tmp_path / "known", scores, label_counts=counts, **named)
    actlas.import_scores(tmp_path / "unknown", scores, **named)
    experts = {name: top_experts(tmp_path / name, k=2)["neuron"].to_list() for name in ("known", "unknown")}
    assert experts == {"known": [2, 3], "unknown": [0, 1]}
    assert "no neuron is left out" in Store(tmp_path / "unknown").checkpoint("m")["label_counts"]
    drawn = {name: random_experts(tmp_path / name, "m", "en", "salt", k=4)["neuron"].to_list() for name in experts}
    assert {name: sorted(neurons) for name, neurons in drawn.items()} == {"known": [2, 3], "unknown": [0, 1, 2, 3]}
    assert anti_experts(tmp_path / "known", "m", "en", "salt")["neuron"].to_list() == [3, 2]
    with pytest.raises(QueryError, match="not known without the counts of labels"):
        anti_experts(tmp_path / "unknown", "m", "en", "salt")


def test_the_order_of_concepts_and_the_form_do_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ap = rng.random((2, 2, 1, 3))
    named: dict[str, Any] = {"provenance": "by hand", "languages": ["fr", "en"]}
    actlas.import_scores(tmp_path / "arrays", {"m": {"mlp_pre": {"ap": ap}}}, concepts=["salt", "iron"], **named)
    cells = [
        {"checkpoint": "m", "language": language, "concept": concept, "site": "mlp_pre", "layer": 0, "neuron": neuron}
        | {"ap": float(ap[row, column, 0, neuron])}
        for row, language in enumerate(("fr", "en"))
        for column, concept in enumerate(("salt", "iron"))
        for neuron in range(3)
    ]
    frame = pl.DataFrame(cells).sample(fraction=1, shuffle=True, seed=1)
    actlas.import_scores(tmp_path / "frame", frame, **named)
    for name in ("arrays", "frame"):
        cube = Store(tmp_path / name).scores("m", "mlp_pre")
        assert (cube.languages, cube.concepts) == (("fr", "en"), ("iron", "salt"))
        np.testing.assert_array_equal(cube.read("ap", ["fr", "en"], "salt"), ap[:, 0])


def test_further_checkpoints_come_later_and_the_same_again_changes_nothing(tmp_path: Path) -> None:
    named: dict[str, Any] = {"provenance": "by hand", "concepts": ["salt"]}
    first, second = ({f"m-step{step}": {"mlp_pre": {"ap": np.full((1, 1, 1, 2), step / 8)}}} for step in (1, 2))
    actlas.import_scores(tmp_path / "s", first, languages=["en"], checkpoints=[Checkpoint("m-step1", "m", 1)], **named)
    actlas.import_scores(tmp_path / "s", second, checkpoints=[Checkpoint("m-step2", "m", 2)], **named)
    before = sorted((tmp_path / "s/log").iterdir())
    actlas.import_scores(tmp_path / "s", second, checkpoints=[Checkpoint("m-step2", "m", 2)], **named)
    assert sorted((tmp_path / "s/log").iterdir()) == before
    assert Store(tmp_path / "s").checkpoints == ["m-step1", "m-step2"]
    # of weights that are not known, nothing says that they are the same
    assert same_weights(tmp_path / "s").is_empty()
    other = {"m-step2": {"mlp_pre": {"ap": np.full((1, 1, 1, 2), 0.5)}}}
    with pytest.raises(RecipeMismatch, match="holds other scores of checkpoint m-step2"):
        actlas.import_scores(tmp_path / "s", other, checkpoints=[Checkpoint("m-step2", "m", 2)], **named)
    with pytest.raises(RecipeMismatch, match="corpus"):
        actlas.import_scores(tmp_path / "s", first, languages=["de"], **named)


def test_an_import_that_was_stopped_shows_nothing_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {name: {"mlp_pre": {"ap": np.full((1, 1, 2, 2), 0.5)}} for name in ("a", "b")}
    named: dict[str, Any] = {"provenance": "by hand", "languages": ["en"], "concepts": ["salt"]}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(score_import, "_write_record", stop)
        with pytest.raises(KeyboardInterrupt):
            actlas.import_scores(tmp_path / "s", scores, **named)
    assert Store(tmp_path / "s").checkpoints == []
    assert actlas.verify(tmp_path / "s").damage == ()
    with pytest.raises(ActlasError, match="run the same import again"):
        Store(tmp_path / "s").checkpoint("a")
    # other numbers than those that were begun with take their place
    changed = {**scores, "b": {"mlp_pre": {"ap": np.full((1, 1, 2, 2), 0.25)}}}
    actlas.import_scores(tmp_path / "s", changed, **named)
    store = Store(tmp_path / "s")
    assert [float(store.scores(name, "mlp_pre").read("ap").max()) for name in store.checkpoints] == [0.5, 0.25]
    assert actlas.verify(tmp_path / "s").damage == ()


ONE = np.full((1, 1, 1, 2), 0.5)
WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "nothing": ({}, {}, "no checkpoint"),
    "site": ({"m": {"mlp": {"ap": ONE}}}, {}, "site 'mlp' of m is not known"),
    "statistic": ({"m": {"mlp_pre": {"apx": ONE}}}, {}, "'apx' is not known"),
    "no statistic": ({"m": {"mlp_pre": {}}}, {}, "has no statistic"),
    "width": ({"m": {"mlp_pre": {"ap": ONE}}}, {"neurons": {"mlp_pre": (1, 3)}}, "1 layers x 3 neurons make"),
    "grid": ({"m": {"mlp_pre": {"ap": ONE}}}, {"neurons": {"mlp_out": (1, 2)}}, "the grid has mlp_out"),
    "languages": ({"m": {"mlp_pre": {"ap": ONE}}}, {"languages": ["en", "de"]}, "2 languages x 1 concepts"),
    "twice": ({"m": {"mlp_pre": {"ap": ONE}}}, {"languages": ["en", "en"]}, "every language needs one name"),
    "checkpoint": ({"m": {"mlp_pre": {"ap": ONE}}}, {"checkpoints": [Checkpoint("n", "n")]}, "m has scores and was not named"),
    "provenance": ({"m": {"mlp_pre": {"ap": ONE}}}, {"provenance": " "}, "provenance is empty"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_is_refused_before_anything_is_written(wrong: str, tmp_path: Path) -> None:
    scores, changed, message = WRONG[wrong]
    about: dict[str, Any] = {"provenance": "by hand", "languages": ["en"], "concepts": ["salt"], **changed}
    with pytest.raises(ScoreImportError, match=message):
        actlas.import_scores(tmp_path / "s", scores, **about)
    assert not (tmp_path / "s").exists()


def test_a_store_with_values_takes_no_imported_scores(bare: Path) -> None:
    with pytest.raises(RecipeMismatch, match="backend"):
        actlas.import_scores(bare, {"m": {"mlp_pre": {"ap": ONE}}}, provenance="x", languages=["en"], concepts=["salt"])
