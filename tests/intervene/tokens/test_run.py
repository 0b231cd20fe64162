"""Token values against the model run plainly, one text after the other."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

import actlas
from actlas.errors import InterventionError, NeuronSetError, QueryError, WeightsDiffer
from actlas.intervene import LiveModel, load_live, token_values
from actlas.intervene.tokens import run
from actlas.query import Atlas, neuron_texts, neuron_token_values, open_store, top_experts
from actlas.store.cube import Cube

#: Sites of the store, each with the module that gives it and the side.
MODULES = {
    "attn_out": ("self_attn.o_proj", "output"),
    "mlp_pre": ("mlp.gate_proj", "output"),
    "mlp_hidden": ("mlp.down_proj", "input"),
    "mlp_out": ("mlp.down_proj", "output"),
}


def plainly(live: LiveModel, site: str, layer: int, text: str) -> np.ndarray:
    """All neurons at all tokens of one text."""
    name, side = MODULES[site]
    seen: list[torch.Tensor] = []
    module = live.model.get_submodule(f"model.layers.{layer}.{name}")
    handle = module.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0] if side == "input" else output))
    with torch.no_grad():
        live.model(**live.tokenizer(text, return_tensors="pt"))
    handle.remove()
    return seen[0][0].numpy()


def test_values_are_those_of_the_model_run_plainly(store: Callable[[], Atlas], live: LiveModel) -> None:
    opened = store()
    frame = token_values(opened, k=30, n_texts=4)
    experts = top_experts(opened, k=30, keep=False).select("site", "layer", "neuron").unique()
    assert frame.select("site", "layer", "neuron").unique().height == experts.height
    texts = dict(opened.corpus.texts.select("text_id", "text").rows())
    plain = cache(lambda site, layer, text: plainly(live, site, layer, text))
    checked = set()
    for row in frame.iter_rows(named=True):
        if row["site"] in MODULES:
            expected = plain(row["site"], row["layer"], texts[row["text_id"]])[:, row["neuron"]]
            assert np.allclose(row["by_token"], expected, rtol=2e-3, atol=1e-6)
            checked.add(row["site"])
    assert len(checked) >= 3
    for (site, layer, neuron), own in islice(frame.group_by("site", "layer", "neuron", maintain_order=True), 0, None, 9):
        best = neuron_texts(opened, "tiny", site, layer, neuron, n=4)
        assert_frame_equal(own.sort("rank").select("rank", "value", "text_id"), best.select("rank", "value", "text_id"))
    # rounding keeps order: the largest token value is what was kept of the text, to the last bit
    assert (frame["by_token"].list.max() == frame["value"]).mean() > 0.99


@pytest.mark.parametrize("of", ["experts", "lape", "file"])
def test_every_kind_of_set(store: Callable[[], Atlas], tmp_path: Path, of: str) -> None:
    opened = store()
    path = tmp_path / "mine.csv"
    rows = {"site": ["attn_qkv", "attn_qkv", "resid"], "layer": [1, 0, 0], "neuron": [30, 0, 7], "value": 0.0}
    pl.DataFrame(rows).write_csv(path)
    frame = token_values(opened, str(path) if of == "file" else of, n_texts=3, any_weights=True, k=2)
    if of == "file":
        assert frame.select("site", "layer", "neuron").unique(maintain_order=True).rows() == [
            ("attn_qkv", 0, 0),
            ("attn_qkv", 1, 30),
            ("resid", 0, 7),
        ]
    if of == "lape":
        assert frame["site"].unique().to_list() == ["mlp_hidden"]
    # a model of bytes: a token is a character
    lengths = frame.join(opened.corpus.texts, on="text_id")["text"].str.len_chars()
    assert frame.join(opened.corpus.texts, on="text_id")["by_token"].list.len().equals(lengths, check_dtypes=False)


def test_what_is_kept_does_not_run_again(store: Callable[[], Atlas], monkeypatch: pytest.MonkeyPatch) -> None:
    first = token_values(store(), k=2, n_texts=4)

    def refuse(*_: Any, **__: Any) -> LiveModel:
        raise AssertionError("the model was loaded")

    with monkeypatch.context() as patched:
        patched.setattr(run, "load_live", refuse)
        assert token_values(store(), k=2, n_texts=4).equals(first)
        assert token_values(store(), k=2, n_texts=3).equals(first.filter(pl.col("rank") <= 3))
        with pytest.raises(AssertionError, match="loaded"):
            token_values(store(), k=2, n_texts=5)
    # more of them take the place of what is there, other neurons stand beside it
    token_values(store(), k=2, n_texts=5)
    token_values(store(), k=3, n_texts=1)
    opened = store()
    assert opened.sql("SELECT max(rank) AS n FROM token_values").item() == 5
    assert opened.sql("SELECT count(DISTINCT settings) AS n FROM token_values_by_settings").item() == 2


def test_every_checkpoint_is_shown_though_its_experts_are_others(tmp_path: Path) -> None:
    from actlas.testing import random_checkpoint

    texts = pl.DataFrame({"text": ["a cat", "two dogs", "eine Katze", "ein Hund"], "language": ["en", "en", "de", "de"]})
    labels = pl.DataFrame({"text_id": range(4), "concept": "cat", "is_concept": [True, False] * 2})
    models = [random_checkpoint(tmp_path / f"step{seed}", seed=seed) for seed in (0, 1)]
    path = tmp_path / "run.actlas"
    actlas.extract_activations(models, actlas.corpus_from_frames(texts, labels), path, device="cpu")
    actlas.score_neurons(path)
    names = open_store(path).checkpoints
    assert len(names) == 2

    def stop(done: int, total: int, where: str) -> None:
        if where == f"{names[1]} texts":
            raise KeyboardInterrupt

    # what was stopped goes on with the checkpoint that it was stopped at
    with pytest.raises(KeyboardInterrupt):
        token_values(path, k=2, n_texts=2, progress=stop, keep=True)
    assert open_store(path).sql("SELECT DISTINCT checkpoint FROM token_values").rows() == [(names[0],)]
    seen: list[str] = []
    token_values(path, k=2, n_texts=2, progress=lambda done, total, where: seen.append(where), keep=True)
    assert set(seen) == {f"{names[1]} texts"}
    store = open_store(path)
    assert store.sql("SELECT DISTINCT checkpoint FROM token_places").height == 2
    sets = store.sql("SELECT DISTINCT checkpoint, site, layer, neuron FROM token_values").partition_by("checkpoint")
    assert not sets[0].drop("checkpoint").sort(pl.all()).equals(sets[1].drop("checkpoint").sort(pl.all()))


def test_other_neurons_of_the_same_name_take_their_place(store: Callable[[], Atlas], tmp_path: Path) -> None:
    for neuron in (3, 4):
        pl.DataFrame({"site": ["resid"], "layer": [0], "neuron": [neuron], "value": [0.0]}).write_csv(tmp_path / "mine.csv")
        answer = token_values(store(), str(tmp_path / "mine.csv"), n_texts=1, any_weights=True)
        assert answer["neuron"].to_list() == [neuron]
    assert store().sql("SELECT neuron FROM token_values").rows() == [(4,)]


def test_sql_joins_values_and_places(store: Callable[[], Atlas]) -> None:
    opened = store()
    row = token_values(opened, k=2, n_texts=2).row(0, named=True)
    rows = neuron_token_values(opened, "tiny", row["site"], row["layer"], row["neuron"], n=1)
    text = opened.corpus.texts.filter(text_id=row["text_id"])["text"].item()
    assert rows["value"].to_list() == row["by_token"]
    assert [text[start:end] for start, end in rows.select("char_start", "char_end").rows()] == rows["piece"].to_list()
    assert "".join(rows["piece"]) == text


def test_more_than_one_size_of_expert_sets(store: Callable[[], Atlas]) -> None:
    """Without k it is as many as are kept."""
    opened = store()
    # all that is linear: attn_out and mlp_out, attn_qkv, mlp_pre, in two layers
    assert run.kept_k(opened, "tiny") == 2 * (24 + 24 + 72 + 40) // 10
    top_experts(opened, k=3)
    assert run.kept_k(opened, "tiny") == 3
    answer = token_values(opened, n_texts=1)
    experts = opened.sql("SELECT DISTINCT site, layer, neuron FROM experts")
    assert answer.height == experts.height


def test_a_model_that_gives_other_values_is_refused(store: Callable[[], Atlas], monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*args: Any, **options: Any) -> LiveModel:
        live = load_live(*args, **options)
        with torch.no_grad():
            live.model.model.layers[0].self_attn.o_proj.weight.mul_(1.5)
        return live

    monkeypatch.setattr(run, "load_live", other)
    with pytest.raises(InterventionError, match=r"tiny gives other values than .* holds, for .* of .* texts of neurons"):
        token_values(store(), k=5, n_texts=4)
    assert store().table_names() == []


def test_another_tokenizer_is_refused(store: Callable[[], Atlas], monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*args: Any, **options: Any) -> LiveModel:
        live = load_live(*args, **options)
        live.text_tokenizer.hashes = ("another",)
        return live

    monkeypatch.setattr(run, "load_live", other)
    with pytest.raises(InterventionError, match="the tokenizer of tiny is .*, and the texts of .* were divided by"):
        token_values(store(), k=2)


def test_other_weights_are_refused(store: Callable[[], Atlas], tmp_path: Path) -> None:
    from actlas.testing import random_checkpoint

    with pytest.raises(WeightsDiffer, match="name the folder or hub id that it was extracted from"):
        token_values(store(), k=2, model=random_checkpoint(tmp_path / "tiny", seed=1))


def test_too_many_values_are_refused(store: Callable[[], Atlas], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_MOST_VALUES", 100)
    with pytest.raises(QueryError, match=r"token values of .* neurons at 12 texts each take .* ask for fewer texts"):
        token_values(store(), k=5)


def test_progress_and_size_are_told(store: Callable[[], Atlas], caplog: pytest.LogCaptureFixture) -> None:
    seen: list[tuple[int, int, str]] = []
    with caplog.at_level(logging.INFO, "actlas"):
        token_values(store(), k=2, progress=lambda *step: seen.append(step))
    assert seen[-1] == (12, 12, "tiny texts")
    told = [record.getMessage() for record in caplog.records if "% of its cubes" in record.getMessage()]
    # what is expected before the model runs, and what it came to
    assert len(told) == 2
    assert re.fullmatch(
        r"tiny reads 12 texts once: \d+ neurons at 12 texts each have [\d,]+ token values, about .* its cubes", told[0]
    )


@pytest.mark.parametrize("pooling", ["mean", "last", "max_with_pad"])
def test_values_are_checked_whatever_the_pooling(
    tiny: Path, tmp_path: Path, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = pl.DataFrame({"text": ["a cat", "two dogs", "eine Katze", "ein Hund"], "language": ["en", "en", "de", "de"]})
    labels = pl.DataFrame({"text_id": range(4), "concept": "cat", "is_concept": [True, False] * 2})
    path = tmp_path / "run.actlas"
    actlas.extract_activations(tiny, actlas.corpus_from_frames(texts, labels), path, pooling=pooling, device="cpu")
    # every neuron of the site, so that no score is needed
    frame = token_values(path, "all", n_texts=2)
    assert frame.height == 2 * 2 * 40
    read = Cube.read
    monkeypatch.setattr(Cube, "read", lambda cube, *where: read(cube, *where) - (100 if pooling == "max_with_pad" else 1))
    with pytest.raises(InterventionError, match="gives other values"):
        token_values(path, "all", n_texts=2)


def test_a_file_that_names_no_languages_is_imported_first(store: Callable[[], Atlas]) -> None:
    with pytest.raises(NeuronSetError, match="import it under a name"):
        token_values(store(), "published.neuron.pth")


def test_a_store_that_is_read_only_is_not_written(extracted: Path) -> None:
    assert token_values(extracted, k=1, n_texts=1).height > 0
    assert "token_values" not in open_store(extracted).table_names()
