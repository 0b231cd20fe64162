"""Runs write what was asked once, keep it under its settings, and go on where they were stopped."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from actlas.errors import CheckpointNotFound, CubeNotFound, NeuronSetError, QueryError, StaleTable
from actlas.intervene.generation import Forcing, ForeignNeurons, ProbeAt, Sampling, generate_steered, identify_languages, run
from actlas.intervene.generation.arms import ArmMaker
from actlas.intervene.generation.presence import has_word, probe_texts
from actlas.intervene.generation.sampling import write_texts
from actlas.intervene.generation.settings import TextPlan
from actlas.intervene.live import LiveModel
from actlas.names import ARMS
from actlas.query import TABLES, Atlas, ConceptProbe, open_store, score_neurons, train_concept_probe

FORCING = Forcing(k=8)
SAMPLING = Sampling(temperature=1.0, max_new_tokens=10)
CHECKPOINT = "tiny-step8"


def steered(
    store: Atlas, concepts: tuple[str, ...] = ("salt",), languages: tuple[str, ...] = ("de",), **more: Any
) -> pl.DataFrame:
    settings: dict[str, Any] = {"forcing": FORCING, "sampling": SAMPLING, "seeds": 4, "device": "cpu"} | more
    return generate_steered(store, concepts=concepts, languages=languages, **settings)


@pytest.fixture
def own(steerable: Path, tmp_path: Path) -> Atlas:
    """A copy to write into."""
    return open_store(shutil.copytree(steerable, tmp_path / "own.actlas"), "a")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch, live: LiveModel) -> list[str]:
    """Checkpoints that were loaded."""
    names: list[str] = []

    class Loaded:
        def __init__(self, store: Atlas, checkpoint: str, **_: Any) -> None:
            names.append(checkpoint)

        def __enter__(self) -> LiveModel:
            return live

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(run, "load_live", Loaded)
    return names


def test_rows_are_those_of_each_arm_prompt_and_seed(store: Atlas, live: LiveModel) -> None:
    found = steered(store, ("salt", "milk"), ("de", "fr"), prompts=("das", "wo"))
    assert list(found.columns) == list(TABLES["generations"].columns)
    assert found.height == 2 * 2 * 5 * 2 * 4
    assert found.filter(concept="milk")["arm"].unique(maintain_order=True).to_list() == list(ARMS)
    assert found.select("checkpoint", "step", "k", "on_value").unique().rows() == [(CHECKPOINT, 8, 8, "median")]
    for arm in ArmMaker(store, CHECKPOINT, ["fr"], ["milk"], FORCING).make("milk", "fr"):
        rows = found.filter(concept="milk", language="fr", arm=arm.name)
        plans = [TextPlan(prompt, seed, arm.frame) for prompt in ("das", "wo") for seed in range(4)]
        assert rows["text"].to_list() == write_texts(live, plans, SAMPLING)["text"].to_list()
        assert rows["experts_of"].unique().to_list() == [arm.experts_of]
        languages = identify_languages(rows["text"].to_list(), store.corpus.languages)
        assert rows["text_language"].to_list() == languages["language"].to_list()
    unsteered = found.filter(arm="none").partition_by("concept", "language", include_key=False)
    assert all(part.equals(unsteered[0]) for part in unsteered)


def test_what_is_there_is_not_written_again(own: Atlas, loads: list[str]) -> None:
    first = steered(own)
    assert own.sql("SELECT count(*) FROM generations").item() == 20
    assert steered(own).equals(first)
    assert loads == [CHECKPOINT]
    both = steered(own, ("salt", "milk"))
    assert loads == [CHECKPOINT] * 2
    assert both.filter(concept="salt").equals(first)
    assert own.sql("SELECT concept, count(*) FROM generations GROUP BY ALL ORDER BY ALL").rows() == [("milk", 20), ("salt", 20)]
    settings = own.table_settings("generations", CHECKPOINT)
    assert settings["sampling"] == {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 10}
    assert settings["forcing"]["on_value"] == "median"
    assert settings["weight_hash"] == own.checkpoint(CHECKPOINT)["weight_hash"]
    assert settings["start_token"] == "<s>"
    assert settings["seeds"] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "other",
    [
        {"seeds": 3},
        {"prompts": ("wo",)},
        {"forcing": Forcing(k=7)},
        {"forcing": Forcing(k=8, on_value="p90")},
        {"sampling": Sampling(temperature=0.5, max_new_tokens=10)},
        {"arms": ("none", "experts")},
    ],
)
def test_other_settings_stand_beside(own: Atlas, loads: list[str], other: dict[str, Any]) -> None:
    first, second = steered(own), steered(own, **other)
    assert len(loads) == 2
    assert not second.equals(first)
    assert own.sql("SELECT count(*) FROM generations").item() == first.height
    assert own.sql("SELECT count(*) FROM generations_by_settings").item() == first.height + second.height
    assert steered(own, replace=True, **other).equals(second)
    assert own.sql("SELECT count(*) FROM generations").item() == second.height


def test_a_stopped_run_goes_on_where_it_was(own: Atlas, loads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int, _: str) -> None:
        assert total == 20 + 2 * 16
        if done > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        steered(own, ("bread", "milk", "salt"), progress=stop, batch=20)
    there = own.sql("SELECT concept, count(*) FROM generations GROUP BY ALL ORDER BY ALL").rows()
    assert there == [("bread", 20), ("milk", 20)]
    told: list[tuple[int, int]] = []
    whole = steered(own, ("bread", "milk", "salt"), progress=lambda done, total, _: told.append((done, total)))
    assert told[-1] == (20, 20)
    assert whole.equals(steered(open_store(own.path), ("bread", "milk", "salt")))
    assert whole.equals(steered(own, ("bread", "milk", "salt"), keep=False, batch=3))


def test_texts_are_told_again_by_other_words(own: Atlas, loads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = steered(own, ("salt", "milk"))
    assert found["has_word"].null_count() == found.height
    words = {"salt": {language: list("abcdefgh") for language in own.corpus.languages}}
    told = steered(own, ("salt", "milk"), words=words)
    assert told.drop("has_word").equals(found.drop("has_word"))
    assert told.filter(concept="milk")["has_word"].null_count() == 20
    own_rows = told.filter(concept="salt")
    assert 0 < own_rows["has_word"].sum() < own_rows.height
    assert own_rows["has_word"].to_list() == has_word(own_rows["text"], own_rows["text_language"], words["salt"]).to_list()
    # what is kept is what is answered, and stays when no words are given
    assert own.sql("SELECT count(has_word) FROM generations").item() == 20
    assert steered(own, ("salt", "milk")).equals(told)
    monkeypatch.setattr(run, "identify_languages", lambda texts, _: identify_languages(["das Salz ist hier"] * len(texts)))
    monkeypatch.setattr(run, "IDENTIFIER", SimpleNamespace(name="other", version="2"))
    assert steered(own)["text_language"].unique().to_list() == ["de"]
    assert own.table_settings("generations", CHECKPOINT)["identifier"][:2] == ["other", "2"]
    assert loads == [CHECKPOINT]


def test_probes_are_asked_about_kept_texts_and_new_ones(
    own: Atlas, live: LiveModel, loads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # a dozen texts are too few to know anything from
    monkeypatch.setattr(ConceptProbe, "is_above_chance", True)
    first = steered(own)
    assert first["probe_p"].null_count() == 20
    at = ProbeAt("mlp_pre", 1)
    # salt is only asked about, milk is written, too
    told = steered(own, ("salt", "milk"), probe=at)
    assert told.filter(concept="salt").drop("probe_p").equals(first.drop("probe_p"))
    kept = own.table_settings("generations", CHECKPOINT)["probes"]
    assert told["probe_p"].count() > 30
    for concept in ("salt", "milk"):
        probe = train_concept_probe(own, CHECKPOINT, concept, site="mlp_pre", layer=1)
        assert kept[concept]["de"] == probe.to_json()
        rows = told.filter(concept=concept)
        assert rows["probe_p"].to_list() == probe_texts(live, own.recipe, probe, rows["text"].to_list()).to_list()
    assert own.sql("SELECT count(probe_p) FROM generations").item() == told["probe_p"].count()
    assert len(loads) == 2
    # what was asked is not asked again, and other words or no probe leave it
    assert steered(own, ("salt", "milk"), probe=at).equals(told)
    assert steered(own, words={"salt": {"de": ("Salz",)}})["probe_p"].equals(told.filter(concept="salt")["probe_p"])
    assert len(loads) == 2
    steered(own, probe=ProbeAt("attn_out", 0))
    assert own.table_settings("generations", CHECKPOINT)["probes"]["salt"]["de"]["site"] == "attn_out"
    assert len(loads) == 3


def test_a_language_that_no_text_can_be_found_in_is_said(
    store: Atlas, loads: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    steered(store, languages=("de", "fr"), arms=("none",), seeds=1)
    assert "text_language" not in caplog.text
    monkeypatch.setattr(run, "identifiable", lambda _: ("de", "en"))
    steered(store, languages=("de", "fr"), arms=("none",), seeds=1)
    assert "py3langid does not know fr, or not apart" in caplog.text


def test_a_place_without_values_is_refused_before_anything_is_loaded(own: Atlas, loads: list[str]) -> None:
    for at, error in ((ProbeAt("resid", 0), CubeNotFound), (ProbeAt("mlp_pre", 7), QueryError)):
        with pytest.raises(error):
            steered(own, probe=at)
    assert not loads


def test_texts_outlive_no_scores(own: Atlas, loads: list[str]) -> None:
    steered(own)
    score_neurons(own, stats=("ap", "mean", "median"), overwrite=True)
    with pytest.raises(StaleTable, match="actlas steer"):
        own.sql("FROM generations")
    steered(own)
    assert own.sql("SELECT count(*) FROM generations").item() == 20
    assert len(loads) == 2


def test_nothing_is_kept_in_a_store_that_is_read(store: Atlas, steerable: Path, loads: list[str]) -> None:
    steered(store)
    assert not store.table_files("generations")


def test_what_cannot_be_steered_is_refused_before_anything_is_loaded(
    store: Atlas, loads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    for wrong, error, match in (
        ({"languages": ("it",)}, QueryError, "no language 'it'"),
        ({"concepts": ("pepper",)}, QueryError, "no concept 'pepper'"),
        ({"checkpoints": ["step9"]}, CheckpointNotFound, "step9"),
        ({"arms": ("experts", "best")}, QueryError, "best"),
        ({"seeds": 0}, QueryError, "seeds must be at least 1"),
        ({"forcing": Forcing(k=1000)}, QueryError, "does not fit 128 neurons"),
    ):
        with pytest.raises(error, match=match):
            steered(store, **wrong)
    assert not loads


def test_neurons_of_a_file_are_an_arm_of_their_own(own: Atlas, live: LiveModel, tmp_path: Path) -> None:
    experts = ArmMaker(own, CHECKPOINT, ["de"], ["salt"], FORCING).make("salt", "de", ["experts"])[0].frame
    assert experts is not None
    experts.drop("weight_hash").head(3).with_columns(language=pl.lit("de")).write_csv(tmp_path / "mine.csv")
    mine = ForeignNeurons(tmp_path / "mine.csv", any_weights=True)
    texts = steered(own, neurons=mine, checkpoints=[CHECKPOINT], arms=("none", "experts"), keep=True)
    assert texts.select("arm", "k", "on_value").unique(maintain_order=True).rows() == [
        ("none", 8, "median"),
        ("experts", 8, "median"),
        ("file", 3, None),
    ]
    plan = [TextPlan(None, seed, experts.head(3)) for seed in range(4)]
    assert texts.filter(arm="file")["text"].to_list() == write_texts(live, plan, SAMPLING)["text"].to_list()
    assert own.table_settings("generations", CHECKPOINT)["neurons"] == mine.to_json()
    with pytest.raises(QueryError, match="the file names no neurons of salt and|the file names no neurons of"):
        steered(own, languages=("en",), neurons=mine, checkpoints=[CHECKPOINT], arms=("none",))
    with pytest.raises(NeuronSetError, match="does not say which weights"):
        steered(own, neurons=ForeignNeurons(tmp_path / "mine.csv"), checkpoints=[CHECKPOINT], arms=("none",))
    with pytest.raises(NeuronSetError, match="actlas neuron-sets import, and go on .* actlas export --from"):
        steered(own, neurons=ForeignNeurons(tmp_path / "x.neuron.pth"), checkpoints=[CHECKPOINT], arms=("none",))
    with pytest.raises(QueryError, match="none is named"):
        steered(own, arms=("file",))
