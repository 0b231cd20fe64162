"""Kept answers: a question overwrites nothing, is answered from what is kept, and never from what is out of date."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import actlas.query
from actlas.errors import QueryError, ReadOnlyStore, StaleTable
from actlas.query import (
    Atlas,
    control_experts,
    expert_overlap,
    language_neurons,
    neuron_set_overlap,
    neuron_texts,
    neuron_trajectory,
    open_store,
    overlap_controls,
    overlap_tests,
    probe_classes,
    probe_controls,
    probe_transfer,
    rank_stability,
    score_neurons,
    shared_trajectory,
    top_experts,
    top_texts,
    train_probes,
)
from actlas.query.keep import kept_parts
from actlas.query.measures.registry import MEASURES
from actlas.query.questions.controls import _stream
from actlas.store.cube import ScoreCube

CHECKPOINT = "planted-step64"


def _measured(name: str, store: Any, **kept: Any) -> pl.DataFrame:
    """A measure at one site, without what takes long."""
    site: dict[str, Any] = {"effective_rank": {"sites": ["embed"], "n_splits": 1}}.get(
        name, {"sites": ["attn_out"], "checkpoints": [CHECKPOINT]}
    )
    site |= {
        "neuron_correlation": {"checkpoints": [CHECKPOINT, "planted-step128"]},
        "dimension_overlap": {"n": 4},
    }.get(name, {})
    answer: pl.DataFrame = getattr(actlas.query, name)(store, **site, **kept)
    return answer


#: Every question, asked so that the whole answer could be kept.
QUESTIONS: dict[str, Callable[..., pl.DataFrame]] = {
    "top_experts": lambda store, **kept: top_experts(store, k=4, **kept),
    "expert_overlap": lambda store, **kept: expert_overlap(store, k=4, **kept),
    "overlap_controls": lambda store, **kept: overlap_controls(store, k=4, **kept),
    "overlap_tests": lambda store, **kept: overlap_tests(store, k=4, n_repeats=5, **kept),
    "shared_trajectory": lambda store, **kept: shared_trajectory(store, k=4, **kept),
    "rank_stability": lambda store, **kept: rank_stability(store, k=4, **kept),
    "language_neurons": lambda store, **kept: language_neurons(store, share=0.1, **kept),
    "neuron_set_overlap": lambda store: neuron_set_overlap(store, share=0.1),
    "train_probes": lambda store, **kept: train_probes(store, seeds=(0,), **kept),
    "probe_classes": lambda store, **kept: probe_classes(store, sites=["embed"], seeds=(0,), **kept),
    "probe_controls": lambda store, **kept: probe_controls(store, sites=["embed"], seeds=(0,), **kept),
    "probe_transfer": lambda store, **kept: probe_transfer(store, "concept:salt", sites=["embed"], seeds=(0,), c=1.0, **kept),
    **{measure.function: partial(_measured, measure.function) for measure in MEASURES},
    "top_texts": lambda store, **kept: top_texts(store, sites=["attn_out"], n=3, **kept),
    "control_experts": lambda store: control_experts(store, CHECKPOINT, k=4),
    "neuron_texts": lambda store: neuron_texts(store, CHECKPOINT, "mlp_pre", 0, 4, n=3),
    "neuron_trajectory": lambda store: neuron_trajectory(store, "mlp_pre", 0, 4),
}
#: Public functions that take a store and are no question: they say by their name what they write, or open it.
NOT_QUESTIONS = {"score_neurons", "open_store", "import_neuron_sets", "import_scores"}
#: Questions that keep nothing: about texts of a group of neurons, tokens of texts, texts that steered models wrote, a probe to
#: judge such texts by, and weights.
OF_TEXTS = {"concept_rate", "language_shift", "parameter_space", "steering_languages", "train_concept_probe"}
OF_TEXTS |= {"group_texts", "nearest_texts", "neuron_token_values", "sampled_token_values"}
KEEPING = sorted(name for name in QUESTIONS if "keep" in inspect.signature(getattr(actlas.query, name)).parameters)


def digest(path: Path) -> dict[str, str]:
    """Every file of a store with the hash of its bytes, and every folder."""
    entries = sorted(path.rglob("*"))
    return {str(e.relative_to(path)): hashlib.sha256(e.read_bytes()).hexdigest() if e.is_file() else "" for e in entries}


@pytest.fixture
def own(scored_path: Path, tmp_path: Path) -> Path:
    """A scored store of the test's own."""
    shutil.copytree(scored_path, tmp_path / "own.actlas")
    return tmp_path / "own.actlas"


@pytest.fixture
def count_score_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Statistics read out of score cubes, in order."""
    reads: list[str] = []
    original = ScoreCube.read

    def counting(self: ScoreCube, stat: str, *args: Any, **kwargs: Any) -> Any:
        reads.append(stat)
        return original(self, stat, *args, **kwargs)

    monkeypatch.setattr(ScoreCube, "read", counting)
    return reads


def shown_k(store: Atlas, table: str = "experts") -> list[int]:
    return [store.table_settings(table, checkpoint)["k"] for checkpoint in store.checkpoints]


def test_every_question_is_here() -> None:
    public = {name: getattr(actlas.query, name) for name in actlas.query.__all__}
    asked = {n for n, f in public.items() if inspect.isfunction(f) and {"store", "path"} & inspect.signature(f).parameters.keys()}
    # those of lookups ask what others kept
    lookups = {name for name in asked if public[name].__module__.startswith("actlas.query.lookups.")}
    assert asked - NOT_QUESTIONS - OF_TEXTS - lookups == set(QUESTIONS)
    assert not [name for name in lookups if "keep" in inspect.signature(public[name]).parameters]
    assert not OF_TEXTS - asked
    assert not [name for name in OF_TEXTS if "keep" in inspect.signature(public[name]).parameters]


@pytest.mark.parametrize("given", ["path", "reader"])
def test_a_question_leaves_the_bytes_of_a_store_alone(scored_path: Path, own: Path, given: str) -> None:
    top_experts(own, k=9, keep=True)
    before = digest(own)
    for question in QUESTIONS.values():
        assert question(str(own) if given == "path" else open_store(own)).height > 0
    store = open_store(own)
    store.sql("SELECT count(*) FROM experts")
    store.scan("experts").collect()
    assert digest(own) == before


@pytest.mark.parametrize("name", KEEPING)
def test_a_question_is_answered_from_what_it_kept(name: str, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = QUESTIONS[name]
    first = question(own, keep=True)
    assert open_store(own).table_names() != []
    before = digest(own)
    for module in ("questions.controls", "texts.top_texts"):
        monkeypatch.setattr(f"actlas.query.{module}.neuron_blocks", None)
    monkeypatch.setattr("actlas.query.probing.solvers.SklearnSolver.__call__", None)
    monkeypatch.setattr("actlas.store.store.Store.token_counts", None)
    monkeypatch.setattr(ScoreCube, "read", None)
    for store, kept in ((own, {}), (open_store(own), {}), (open_store(own, "a"), {}), (own, {"keep": True})):
        again = question(store, **kept)
        assert again.equals(first)
        assert again.schema == first.schema
    assert digest(own) == before


def test_answers_are_kept_only_where_that_was_asked_for(own: Path) -> None:
    top_experts(own, k=3)
    top_experts(open_store(own), k=3)
    top_experts(open_store(own, "a"), k=3, keep=False)
    assert open_store(own).table_names() == []
    with pytest.raises(ReadOnlyStore, match="mode='a'"):
        top_experts(open_store(own), k=3, keep=True)
    top_experts(open_store(own, "a"), k=3)
    assert open_store(own).table_names() == ["expert_mask", "experts", "layer_histogram", "rankable"]


@pytest.mark.parametrize("by_path", [True, False])
def test_the_largest_k_is_kept_and_a_smaller_one_is_a_filter_of_it(
    own: Path, by_path: bool, count_score_reads: list[str]
) -> None:
    def ask(k: int) -> pl.DataFrame:
        return top_experts(own, k=k, keep=True) if by_path else top_experts(open_store(own, "a"), k=k)

    whole = ask(50)
    n_reads = len(count_score_reads)
    assert ask(3).equals(whole.filter(pl.col("rank") <= 3))
    assert len(count_score_reads) == n_reads
    store = open_store(own)
    assert shown_k(store) == shown_k(store, "expert_mask") == shown_k(store, "layer_histogram") == [50, 50, 50]
    assert store.sql("FROM experts").equals(whole)
    assert ask(60).filter(pl.col("rank") <= 50).equals(whole)
    assert shown_k(open_store(own)) == [60, 60, 60]
    assert store.table_variants("experts") == []
    part = top_experts(own, k=5, languages=["es", "en"], concepts=["water"], checkpoints=[CHECKPOINT])
    assert part.equals(whole.filter(pl.col("rank") <= 5, pl.col("language") != "fr", concept="water", checkpoint=CHECKPOINT))


def test_overlap_and_its_kin_take_the_experts_that_are_kept(own: Path, count_score_reads: list[str]) -> None:
    fresh = {k: expert_overlap(own, k=k, halves=False) for k in (6, 4)}
    by_layer, stability = expert_overlap(own, k=4, halves=False, by_layer=True), rank_stability(own, k=4)
    following = control_experts(own, CHECKPOINT, k=3, skip=2, kind="next")
    top_experts(own, k=6, keep=True)
    count_score_reads.clear()
    for k, frame in fresh.items():
        assert expert_overlap(own, k=k, halves=False).equals(frame)
    assert expert_overlap(own, k=4, halves=False, by_layer=True).equals(by_layer)
    assert rank_stability(own, k=4).equals(stability)
    assert count_score_reads == []
    assert control_experts(own, CHECKPOINT, k=3, skip=2, kind="next").equals(following)
    assert "ap" not in count_score_reads


def test_settings_stand_beside_each_other(own: Path) -> None:
    linear = top_experts(own, k=5, keep=True)
    hidden = top_experts(own, k=5, sites=["mlp_hidden"], checkpoints=[CHECKPOINT], keep=True)
    store = open_store(own)
    assert store.sql("FROM experts").equals(linear)
    assert top_experts(store, k=5, sites=["mlp_hidden"], checkpoints=[CHECKPOINT]).equals(hidden)
    (variant,) = store.table_variants("experts")
    both = store.sql("FROM experts_by_settings")
    assert both.columns == [*linear.columns, "settings"]
    assert both.filter(settings=variant).drop("settings").equals(hidden)
    assert both.filter(pl.col("settings") != variant).drop("settings").sort(pl.all()).equals(linear.sort(pl.all()))
    assert store.scan("experts_by_settings").collect().sort(pl.all()).equals(both.sort(pl.all()))
    listed = store.sql("SELECT checkpoint, settings, is_shown, is_current, details FROM settings WHERE table_name = 'experts'")
    assert listed.filter(is_shown=False).select("checkpoint", "settings").rows() == [(CHECKPOINT, variant)]
    assert listed["is_current"].all()
    assert all('"k": 5' in details for details in listed["details"])


def test_each_k_of_an_overlap_is_kept_and_halves_add_to_it(own: Path) -> None:
    plain = expert_overlap(own, k=5, halves=False, keep=True)
    expert_overlap(own, k=3, halves=False, keep=True)
    store = open_store(own)
    assert store.sql("FROM overlap").equals(plain)
    ks = store.sql("SELECT k, count(*) AS n FROM overlap_by_settings GROUP BY k ORDER BY k")
    assert ks.rows() == [(3, plain.height), (5, plain.height)]
    full = expert_overlap(own, k=5, keep=True)
    assert open_store(own).sql("FROM overlap").equals(full)
    assert full["ceiling"].null_count() < full.height
    assert expert_overlap(own, k=5, halves=False, keep=True).equals(plain)
    assert open_store(own).sql("FROM overlap").equals(full)
    part = expert_overlap(own, k=5, languages=["fr", "en"], concepts=["salt", "water"])
    wanted = full.filter(pl.col("language_a") == "en", pl.col("language_b") == "fr", pl.col("concept").is_in(["salt", "water"]))
    assert part.equals(wanted)


def test_replacing_is_asked_for(own: Path) -> None:
    top_experts(own, k=5, keep=True)
    top_experts(own, k=5, sites=["mlp_hidden"], checkpoints=[CHECKPOINT], keep=True)
    hidden = top_experts(own, k=4, sites=["mlp_hidden"], keep=True, replace=True)
    store = open_store(own)
    assert store.sql("FROM experts WHERE rank <= 4").sort(pl.all()).equals(hidden.sort(pl.all()))
    assert store.table_variants("experts") == []
    for name in ("experts", "expert_mask", "layer_histogram"):
        assert len(list(kept_parts(store, name))) == 3
        assert {
            site
            for settings in store.sql(f"SELECT details FROM settings WHERE table_name = '{name}'")["details"]
            for site in json.loads(settings)["sites"]
        } == {"mlp_hidden"}


def test_replacing_one_checkpoint_sets_the_others_aside(own: Path) -> None:
    linear = top_experts(own, k=5, keep=True)
    hidden = top_experts(own, k=5, sites=["mlp_hidden"], checkpoints=[CHECKPOINT], keep=True, replace=True)
    store = open_store(own)
    assert store.sql("FROM experts").equals(hidden)
    beside = store.sql("SELECT DISTINCT checkpoint FROM experts_by_settings WHERE site <> 'mlp_hidden' ORDER BY ALL")
    assert beside["checkpoint"].to_list() == ["planted-step0", "planted-step128"]
    again = top_experts(own, k=5, keep=True, replace=True)
    assert again.equals(linear)
    store = open_store(own)
    assert store.sql("FROM experts").sort(pl.all()).equals(linear.sort(pl.all()))
    assert store.table_variants("experts") == []


def test_a_table_of_older_scores_is_no_answer(own: Path) -> None:
    before = top_experts(own, k=5, keep=True)
    expert_overlap(own, k=5, halves=False, keep=True)
    shared_trajectory(own, k=5, keep=True)
    values = {"planted-step0": 1.0, CHECKPOINT: -1.0}
    store = open_store(own, "a")
    for checkpoint, sign in values.items():
        for site in ("attn_out", "mlp_pre"):
            old = store.scores(checkpoint, site)
            ap = old.read("ap")
            arrays = {"ap": ap if sign > 0 else 1 - ap, "median": old.read("median")}
            settings = {"stats": ["ap", "median"], "languages": old.languages, "concepts": old.concepts, "settings": {"x": sign}}
            with store.score_writer(checkpoint, site, **settings, overwrite=True) as writer:
                for layer in writer.pending_layers():
                    writer.write_layer(layer, {stat: array[:, :, layer] for stat, array in arrays.items()})
                writer.finish()
    current = store.sql("SELECT DISTINCT table_name, checkpoint FROM settings WHERE is_current ORDER BY ALL")
    assert current.rows() == [
        (name, "planted-step128")
        for name in ("expert_mask", "experts", "layer_histogram", "overlap", "overlap_by_layer", "rankable")
    ]
    now = top_experts(own, k=2)
    key = ["checkpoint", "language", "concept", "rank", "site", "layer", "neuron", "ap"]
    assert (
        now.filter(pl.col("checkpoint") != CHECKPOINT)
        .select(key)
        .equals(before.filter(pl.col("checkpoint") != CHECKPOINT, pl.col("rank") <= 2).select(key))
    )
    best, worst = (frame.filter(pl.col("rank") == 1, checkpoint=CHECKPOINT).select(key) for frame in (before, now))
    assert best.join(worst, on=key).is_empty()
    experts = {
        key: set(part.select("site", "layer", "neuron").rows())
        for key, part in now.filter(checkpoint=CHECKPOINT, concept="water").group_by("language")
    }
    row = expert_overlap(own, k=2, halves=False, concepts=["water"]).filter(
        checkpoint=CHECKPOINT, language_a="en", language_b="es"
    )
    assert row["shared"].item() == len(experts["en",] & experts["es",])
    # what is out of date does not shrink when it is made again
    top_experts(own, k=2, keep=True)
    assert shown_k(open_store(own)) == [5, 5, 5]
    assert top_experts(own, k=5).filter(pl.col("rank") <= 2).equals(now)


def test_scores_made_again_with_other_settings_make_tables_out_of_date(own: Path) -> None:
    top_experts(own, k=3, keep=True)
    score_neurons(own, sites=["mlp_pre"], stats=("ap", "median"), overwrite=True)
    store = open_store(own)
    assert store.sql("SELECT DISTINCT is_current FROM settings")["is_current"].to_list() == [False]


def test_a_part_of_an_answer_is_never_the_table(own: Path) -> None:
    for question in (top_experts, expert_overlap, overlap_controls, rank_stability):
        with pytest.raises(QueryError, match="cannot be kept"):
            question(own, k=3, languages=["en"], keep=True)
    with pytest.raises(QueryError, match="all checkpoints"):
        shared_trajectory(own, k=3, checkpoints=[CHECKPOINT], keep=True)
    store = open_store(own, "a")
    overlap_controls(store, k=3, concepts=["water"])
    rank_stability(store, k=3, concepts=["water"])
    shared_trajectory(store, k=3, min_languages=3)
    assert store.table_names() == []


def test_followed_neurons_come_out_of_the_kept_table(own: Path, count_score_reads: list[str]) -> None:
    wanted = {
        "three": shared_trajectory(own, k=6, min_languages=3),
        "some": shared_trajectory(own, k=6, checkpoints=["planted-step0", CHECKPOINT], concepts=["salt", "water"]),
    }
    shared_trajectory(own, k=6, keep=True)
    count_score_reads.clear()
    assert shared_trajectory(own, k=6, min_languages=3).equals(wanted["three"])
    some = shared_trajectory(own, k=6, checkpoints=["planted-step0", CHECKPOINT], concepts=["salt", "water"])
    assert some.equals(wanted["some"])
    assert count_score_reads == []


def test_controls_keep_the_overlap_that_they_are_the_mean_of(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("actlas.query.questions.controls._stream", lambda *args, **kw: calls.append(1) or _stream(*args, **kw))
    overlap_controls(own, k=5)
    assert (
        len(calls) == 3 * 4
    )  # of each checkpoint one pass over the cubes for the halves, and one for each kind of permuted labels
    controls = overlap_controls(own, k=5, keep=True)
    store = open_store(own)
    assert store.table_names() == [
        "control_experts", "expert_mask", "experts", "layer_histogram",
        "overlap", "overlap_by_layer", "overlap_controls", "overlap_controls_by_layer", "rankable",
    ]  # fmt: skip
    assert store.sql("FROM overlap").equals(expert_overlap(own, k=5))
    assert store.sql("FROM overlap_controls").equals(controls)


def test_sites_of_top_texts_join_one_table(own: Path) -> None:
    first = top_texts(own, sites=["mlp_pre"], n=5, keep=True)
    second = top_texts(own, sites=["attn_out", "mlp_pre"], n=3, keep=True)
    table = open_store(own).sql("FROM top_texts")
    assert table.filter(site="mlp_pre").equals(first)
    assert table.filter(site="attn_out").equals(second.filter(site="attn_out"))
    assert second.filter(site="mlp_pre").equals(first.filter(pl.col("rank") <= 3))
    assert top_texts(own, sites=["attn_out"], n=4, keep=True).filter(pl.col("rank") <= 3).equals(second.filter(site="attn_out"))
    assert open_store(own).table_settings("top_texts", CHECKPOINT)["n_of_site"] == {"attn_out": 4, "mlp_pre": 5}


def test_a_table_of_an_older_version_is_shown_and_made_again(own: Path) -> None:
    store = open_store(own, "a")
    rows = top_experts(own, k=4)
    for (checkpoint,), part in rows.group_by("checkpoint"):
        older = {"k": 4, "sites": ["attn_out", "mlp_pre"], "n_neurons": 128, "actlas": "0.0.9"}
        store.publish_table("experts", str(checkpoint), part.with_columns(ap=pl.lit(0.0)), older)
    assert store.sql("SELECT DISTINCT ap FROM experts")["ap"].to_list() == [0.0]
    assert store.sql("SELECT DISTINCT is_shown, is_current FROM settings").rows() == [(True, False)]
    assert top_experts(own, k=3).equals(rows.filter(pl.col("rank") <= 3))
    top_experts(own, k=3, keep=True)
    assert open_store(own).sql("FROM experts").equals(rows)


def test_an_answer_is_given_where_nothing_can_be_kept(
    own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("actlas.store.contents.parts.write_atomically", refuse)
    with caplog.at_level(logging.INFO, "actlas"):
        assert top_experts(open_store(own, "a"), k=3).height > 0
    assert "Read-only file system" in caplog.text
    with pytest.raises(OSError, match="Read-only"):
        top_experts(own, k=3, keep=True)


def test_what_was_kept_is_said_once(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "actlas"):
        top_experts(own, k=3, keep=True)
        top_experts(own, k=2, keep=True)
        expert_overlap(own, k=3, halves=False, keep=True)
        expert_overlap(own, k=2, halves=False, keep=True)
    said = [said for record in caplog.records if not (said := record.getMessage()).startswith("answered from")]
    assert [line.split(": ", 1)[1] for line in said[:5]] == [
        "table experts of 3 checkpoints",
        "table expert_mask of 3 checkpoints",
        "table layer_histogram of 3 checkpoints",
        "table rankable of 3 checkpoints",
        "table overlap of 3 checkpoints",
    ]
    assert len(said) == 8
    assert "beside" in said[6]
    assert "beside" in said[7]


def test_what_reads_more_than_is_kept_is_refused_in_sql(own: Path) -> None:
    top_experts(own, k=5, keep=True)
    store = open_store(own)
    calls = {
        "overlap_at('planted-step64', 'water', {})": 3,
        "best_experts('planted-step64', 'en', 'water', n := {})": 5,
        "steering_mask('planted-step64', 'en', 'water', n := {})": 5,
    }
    for call, height in calls.items():
        assert store.sql(f"FROM {call.format(5)}").height == height
        with pytest.raises(QueryError, match="holds the 5 best neurons of planted-step64, not 6"):
            store.sql(f"FROM {call.format(6)}")
    with pytest.raises(QueryError, match="not 500"):
        store.sql("FROM steering_mask('planted-step64', 'en', 'water')")
    at = store.sql("FROM overlap_at('planted-step64', 'water', 4)")
    frame = expert_overlap(own, k=4, halves=False, checkpoints=[CHECKPOINT], concepts=["water"])
    np.testing.assert_array_equal(at["shared"], frame["shared"])


def test_a_table_that_outlived_its_scores_is_refused_wherever_it_is_asked(own: Path) -> None:
    top_experts(own, k=3, keep=True)
    top_experts(own, k=3, sites=["attn_out"], keep=True)
    expert_overlap(own, k=4, sites=["attn_out"], halves=False, keep=True)
    rank_stability(own, k=3, sites=["mlp_pre"], keep=True)
    store = open_store(own)
    assert store.sql("SELECT count(*) AS n FROM experts").item() > 0
    score_neurons(own, sites=["mlp_pre"], stats=("ap", "median"), overwrite=True)
    again = f"make it again: actlas experts {own} --k 3 --site attn_out --site mlp_pre"
    for query in (
        "FROM experts",
        "FROM experts_by_settings",
        "SELECT 1 FROM best_experts('planted-step0', 'en', 'water', n := 1)",
    ):
        with pytest.raises(
            StaleTable, match="^table experts of planted-step0 stands on the scores of the checkpoint, which changed"
        ):
            store.sql(query)
    for ask in (lambda: store.sql("FROM experts"), lambda: store.scan("experts"), lambda: store.table("experts", CHECKPOINT)):
        with pytest.raises(StaleTable) as caught:
            ask()
        assert str(caught.value).endswith(again)
    with pytest.raises(StaleTable, match=r"actlas trajectory \S+ --stability --k 3 --site mlp_pre$"):
        store.scan("rank_stability")
    # what stands on other scores is shown, and the tables are still listed
    assert store.sql("SELECT count(*) AS n FROM overlap").item() > 0
    assert "experts" in store.sql("SHOW TABLES")["name"].to_list()
    assert not store.sql("SELECT is_current FROM settings WHERE table_name = 'experts' AND is_shown")["is_current"].any()
    top_experts(own, k=3, keep=True)
    assert store.sql("SELECT count(*) AS n FROM experts_by_settings").item() > 0
    assert store.sql("SELECT count(*) AS n FROM experts").item() > 0


def test_the_command_that_makes_a_part_again_has_its_settings(own: Path) -> None:
    store = open_store(own, "a")
    language_neurons(store, share=0.05)
    overlap_controls(store, k=3, concepts=None, seed=2)
    top_texts(store, sites=["mlp_pre"], n=5)
    commands = {name: next(kept_parts(store, name)).command(store) for name in ("lape", "overlap_controls", "top_texts")}
    assert commands == {
        "lape": f"actlas lape {own} --site mlp_hidden --share 0.05 --bar-quantile 0.95 --threshold 0.0",
        "overlap_controls": f"actlas overlap {own} --controls --k 3 --site attn_out --site mlp_pre --seed 2 --repeats 99",
        "top_texts": f"actlas top-texts {own} --n 5 --site mlp_pre",
    }


def test_a_table_of_an_earlier_version_without_a_column_is_made_again(own: Path) -> None:
    wanted = expert_overlap(own, k=4, keep=True)
    store = open_store(own, "a")
    for checkpoint in store.checkpoints:
        settings = store.table_settings("overlap", checkpoint)
        store.publish_table("overlap", checkpoint, wanted.filter(checkpoint=checkpoint).drop("n_rankable"), settings)
    with pytest.raises(StaleTable, match="kept by an earlier version, without column n_rankable; make it again: actlas overlap"):
        open_store(own).sql("FROM overlap")
    assert not open_store(own).sql("SELECT bool_or(is_current) FROM settings WHERE table_name = 'overlap'").item()
    assert expert_overlap(own, k=4).equals(wanted)
    assert expert_overlap(own, k=4, keep=True).equals(wanted)
    assert open_store(own).sql("FROM overlap").sort(pl.all()).equals(wanted.sort(pl.all()))
