"""A text with the values of its tokens: kept, sampled or read by a model; and right in every script."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import actlas
from actlas.explore.heat import heat
from actlas.intervene import load_live, text_token_values, token_values
from actlas.query import Atlas, open_store
from actlas.testing import random_checkpoint

TEXTS = ["a cat", "two dogs sleep", "the cat eats", "a dog", "eine Katze", "zwei Hunde", "die Katze", "ein Hund"]
#: What is drawn wrong where characters and tokens are taken for one another.
HARD = (
    "שלום the עולם",
    "مرحبا بالعالم",
    "東京の猫 cat",
    "👩‍👩‍👧 and 🇫🇷",
    "e\u0301a\u0308 नमस्ते",
    "\u202etac\u202c \x1b[31m",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and its store, with vectors of two tokens of every text."""
    folder = tmp_path_factory.mktemp("heat")
    texts = pl.DataFrame({"text": TEXTS, "language": ["en"] * 4 + ["de"] * 4})
    labels = pl.DataFrame({"text_id": range(8), "concept": "cat", "is_concept": [True, False] * 4})
    corpus = actlas.corpus_from_frames(texts, labels)
    sample = actlas.names.TokenSample(per_text=2)
    sites = ["mlp_pre", "resid"]
    actlas.extract_activations(
        random_checkpoint(folder / "tiny"), corpus, folder / "run.actlas", sites=sites, token_sample=sample, device="cpu"
    )
    actlas.score_neurons(folder / "run.actlas", sites=["mlp_pre"])
    actlas.top_experts(folder / "run.actlas", k=20, keep=True)
    return folder


@pytest.fixture
def store(folder: Path) -> Atlas:
    return open_store(folder / "run.actlas")


def asked(**more: Any) -> dict[str, Any]:
    return {"checkpoint": "tiny", "site": "resid", "layer": "1", "neuron": "3", **more}


def check(found: dict[str, Any]) -> None:
    """What a page relies on, whatever the source."""
    assert found["error"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    reached = 0
    for token in found["tokens"]:
        # in order, and without a gap; two that share a character may both have it
        assert token["start"] <= reached
        assert token["start"] <= token["end"]
        assert not token["is_kept"] or found["low"] <= token["value"] <= found["high"]
        reached = max(reached, token["end"])
    assert reached == len(found["text"])


def test_what_is_kept_comes_first(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.actlas"
    shutil.copytree(folder / "run.actlas", path)
    kept = token_values(path, k=2, n_texts=2, device="cpu", keep=True)
    row = kept.row(1, named=True)
    params = {name: str(row[name]) for name in ("checkpoint", "site", "layer", "neuron", "text_id")}
    found = heat(open_store(path), params, model="nowhere")
    check(found)
    assert found["text"] == TEXTS[row["text_id"]]
    assert [token["value"] for token in found["tokens"]] == row["by_token"]
    assert found["source"] == "kept at tiny; number 2 among the texts of the neuron"
    best = kept.filter(site=row["site"], layer=row["layer"], neuron=row["neuron"], rank=1)["value"].item()
    assert found["high"] == max(best, 0.0)


def test_sampled_tokens_are_shown_among_others(store: Atlas) -> None:
    found = heat(store, asked(text_id=1))
    check(found)
    assert found["language"] == "en"
    assert found["source"] == "kept at tiny by the extraction, of only 2 of its tokens"
    assert sum(token["is_kept"] for token in found["tokens"]) == 2
    assert all(token["value"] is None for token in found["tokens"] if not token["is_kept"])
    whole = heat(store, asked(text_id=1), model="auto")
    check(whole)
    assert whole["source"] == "read by tiny just now"
    values = {token["start"]: token["value"] for token in whole["tokens"]}
    for token in found["tokens"]:
        assert not token["is_kept"] or token["value"] == pytest.approx(values[token["start"]], abs=1e-3)


@pytest.mark.parametrize("text", HARD)
def test_a_typed_text_in_any_script(store: Atlas, text: str) -> None:
    found = heat(store, asked(text=text), model="auto")
    check(found)
    assert found["text"] == text
    assert [text[token["start"] : token["end"]] for token in found["tokens"]] == list(text)


def test_a_typed_text_tells_whose_experts_are_active(store: Atlas) -> None:
    found = heat(store, {"text": "a cat sleeps", "checkpoint": "tiny"}, model="auto")
    check(found)
    names = [column["name"] for column in found["experts"]["columns"]]
    assert all(column["about"] for column in found["experts"]["columns"])
    rows = [dict(zip(names, row, strict=True)) for row in zip(*found["experts"]["values"], strict=True)]
    assert {row["concept"] for row in rows} == {"cat"}
    best = {row["position"]: row["n_active"] / row["n_experts"] for row in rows if row["rank"] == 1}
    assert [token["value"] for token in found["tokens"]] == pytest.approx([best.get(place, 0.0) for place in range(12)])


def test_a_loaded_model_is_used_as_it_is(store: Atlas, folder: Path) -> None:
    with load_live(store, "tiny", device="cpu") as live:
        found = heat(store, asked(text="a cat"), model=live)
        neuron = pl.DataFrame({"site": ["resid"], "layer": [1], "neuron": [3]})
        assert [token["value"] for token in found["tokens"]] == text_token_values(live, "a cat", neuron, store=store)[
            "value"
        ].to_list()
    # one that is given is not the one that is held
    assert heat(store, asked(text="a cat"), model=folder / "tiny")["error"] is None


def test_a_model_is_loaded_once(store: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    assert heat(store, asked(text="a"), model="auto")["error"] is None
    monkeypatch.setattr("actlas.intervene.load_live", None)
    assert heat(store, asked(text="b"), model="auto")["error"] is None


@pytest.mark.parametrize(
    ("params", "kind", "said"),
    [
        (asked(text_id=1, site="mlp_pre"), "QueryError", "keep those of the strongest texts: actlas tokens"),
        (asked(text="a cat"), "QueryError", "has to be read by a model"),
        (asked(), "QueryError", "name a text by its text_id"),
        (asked(text_id="first"), "QueryError", "text_id must be a whole number, not 'first'"),
        (asked(text_id=-1), "QueryError", "text_id must be from 0"),
        (asked(text_id=99), "QueryError", "no text 99"),
        (asked(text_id=1, neuron=10**9), "QueryError", "no neuron 1000000000"),
        (asked(text_id=1, site="nowhere"), "QueryError", "are not kept"),
        (asked(text_id=1, checkpoint="other"), "CheckpointNotFound", "other"),
        (asked(text_id=1, layer=""), "QueryError", "a neuron is named by site, layer and neuron"),
        (asked(text="a" * 20_001), "QueryError", "20,000 characters at most"),
        ({"text_id": "1"}, "QueryError", "none is given"),
    ],
)
def test_what_cannot_be_shown_is_one_line(store: Atlas, params: dict[str, Any], kind: str, said: str) -> None:
    found = heat(store, params)
    assert found["error"]["kind"] == kind
    assert said in found["error"]["text"]
    assert "\n" not in found["error"]["text"]
    assert found["tokens"] == []


def test_what_a_model_refuses_is_one_line(store: Atlas, tmp_path: Path) -> None:
    other = random_checkpoint(tmp_path / "tiny", seed=3)
    assert heat(store, asked(text="a cat"), model=other)["error"]["kind"] == "WeightsDiffer"
    assert heat(store, asked(text=""), model="auto")["error"]["kind"] == "QueryError"
    assert heat(store, asked(text="a", neuron=99), model="auto")["error"]["text"].startswith("resid of tiny has 2 layers")
    assert heat(store, asked(text="a", site="attn_none"), model="auto")["error"]["kind"] == "SiteNotProved"
