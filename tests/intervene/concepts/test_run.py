"""Concept patching against a plain twin: one prompt at a time, hooks of torch, no batch, no store but for its texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from actlas.errors import QueryError, ReadOnlyStore
from actlas.extract.backends.hf.tokenizer import HfTokenizer
from actlas.intervene.concepts.greedy import prompt_batches
from actlas.intervene.concepts.latents import LatentRows
from actlas.intervene.concepts.pairs import first_tokens
from actlas.intervene.concepts.run import patch_concepts
from actlas.intervene.concepts.settings import source_pairs
from actlas.query import Atlas, open_store, patching_by_layer, patching_onset
from tests.intervene.concepts.conftest import LANGUAGES, N_PAIRS

CHECKPOINT = "words-step2"
KEY = ["setting", "layer", "pair", "language"]


class Plain:
    """What the method says, the slow and obvious way."""

    def __init__(self, store: Path) -> None:
        folder = store.parent / CHECKPOINT
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.texts = open_store(store).corpus.texts

    def prompt(self, pair: int, role: str, between: tuple[str, str]) -> tuple[str, int]:
        """A prompt, and the position of the last token of the word to translate."""
        own = self.texts.filter(pair=pair, role=role, language=between[0], language_out=between[1]).row(0, named=True)
        return own["text"], len(self.tokenizer(own["text"][: own["source_word_end"]])["input_ids"]) - 1

    def run(self, text: str, position: int, latents: dict[int, torch.Tensor]) -> tuple[list[torch.Tensor], np.ndarray]:
        """Block outputs at a position, and probabilities of the next token, some block outputs there replaced."""
        outputs: list[torch.Tensor] = []

        def hook(number: int, hidden: torch.Tensor) -> torch.Tensor:
            if number in latents:
                hidden = hidden.clone()
                hidden[0, position] = latents[number]
            outputs.append(hidden[0, position].clone())
            return hidden

        blocks = self.model.model.layers
        hooks = [blocks[n].register_forward_hook(lambda _, __, output, n=n: hook(n, output)) for n in range(len(blocks))]
        with torch.no_grad():
            logits = self.model(**self.tokenizer(text, return_tensors="pt", return_token_type_ids=False)).logits[0, -1]
        for one in hooks:
            one.remove()
        return outputs, logits.softmax(0).numpy()

    def p(self, pair: int, role: str, language: str, probabilities: np.ndarray) -> float:
        answers = json.loads(self.texts.filter(pair=pair, role=role)["answers"][0])[language]
        ids = set().union(*first_tokens(HfTokenizer(self.tokenizer), answers, '"').values())
        return float(sum(probabilities[one] for one in ids))

    def rows(
        self, setting: str, between: tuple[str, str], pairs: Iterator[int]
    ) -> Iterator[tuple[str, int, int, str, float, float]]:
        for pair in pairs:
            text, position = self.prompt(pair, "target", between)
            if setting == "tgt_tgt":
                sources = [self.prompt(pair, "target", between)]
            else:
                sources = [self.prompt(pair, "source", each) for each in source_pairs(setting, between, LANGUAGES)]
            outputs = [self.run(*source, {})[0] for source in sources]
            means = {layer: torch.stack([own[layer] for own in outputs]).mean(0) for layer in range(3)}
            for layer in range(3):
                _, found = self.run(text, position, {n: means[n] for n in range(layer, 3)})
                for language in LANGUAGES:
                    yield setting, layer, pair, language, *(self.p(pair, role, language, found) for role in ("source", "target"))


@pytest.fixture(scope="module")
def reference(prompt_store: Path) -> pl.DataFrame:
    plain = Plain(prompt_store)
    rows = [row for setting in ("seen", "tgt") for row in plain.rows(setting, ("fr", "en"), iter(range(N_PAIRS)))]
    schema = {"setting": pl.String, "layer": pl.Int32, "pair": pl.Int32, "language": pl.String}
    return pl.DataFrame(rows, schema={**schema, "p_source": pl.Float64, "p_target": pl.Float64}, orient="row").sort(KEY)


def found_by(store: Path, rows_per_batch: int) -> pl.DataFrame:
    return patch_concepts(
        store,
        ["fr-en"],
        settings=["seen", "tgt"],
        checkpoints=[CHECKPOINT],
        n_tokens=0,
        rows_per_batch=rows_per_batch,
        device="cpu",
    )


def check(found: pl.DataFrame, reference: pl.DataFrame) -> None:
    found = found.sort(KEY)
    assert found.select(KEY).equals(reference.select(KEY))
    for name in ("p_source", "p_target"):
        np.testing.assert_allclose(found[name], reference[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("rows_per_batch", [3, 64])
def test_rows_are_those_of_prompts_alone(prompt_store: Path, reference: pl.DataFrame, rows_per_batch: int) -> None:
    """A batch of three is smaller than the seven prompts: each prompt gets the latents of its own pair."""
    check(found_by(prompt_store, rows_per_batch), reference)


@pytest.mark.parametrize("rows_per_batch", [3, 64])
def test_latents_of_other_rows_would_be_seen(
    prompt_store: Path, reference: pl.DataFrame, rows_per_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A known mistake: every batch is patched with the latents of the first one; here, in the order of the pairs too."""
    monkeypatch.setattr(LatentRows, "rows_of", lambda self, pairs: np.arange(len(pairs)))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(found_by(prompt_store, rows_per_batch), reference)


def test_a_position_next_to_the_word_would_be_seen(
    prompt_store: Path, reference: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beside(*given: object) -> Iterator[object]:
        for batch in prompt_batches(*given):  # type: ignore[arg-type]
            yield type(batch)(batch.pairs, batch.token_ids, batch.is_token, batch.position - 1)

    monkeypatch.setattr("actlas.intervene.concepts.run.prompt_batches", beside)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(found_by(prompt_store, 64), reference)


@pytest.fixture(scope="module")
def patched(prompt_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """A copy of the store in which the table is kept."""
    path = tmp_path_factory.mktemp("kept") / "run.actlas"
    shutil.copytree(prompt_store, path)
    store = open_store(path, "a")
    patch_concepts(store, ["fr-en"], layers=[0, 2], n_tokens=2, device="cpu")
    return store


def test_the_table_says_what_it_was_made_with(patched: Atlas) -> None:
    settings = patched.table_settings("patches", CHECKPOINT)
    assert settings["made_with"]["seed"] == 42
    assert settings["settings"] == {"fr-en": ["seen", "tgt", "en_en", "tgt_tgt", "unpatched", "unpatched_source"]}
    assert (settings["layers"], settings["n_tokens"], settings["computed_in"]) == ([0, 2], 2, "float32")
    assert settings["weight_hash"] == patched.checkpoint(CHECKPOINT)["weight_hash"]


def test_own_latents_change_nothing_and_other_settings_do(patched: Atlas) -> None:
    frame = patched.scan("patches").collect()
    assert frame["setting"].unique().sort().to_list() == ["en_en", "seen", "tgt", "tgt_tgt", "unpatched", "unpatched_source"]
    plain = frame.filter(setting="unpatched")
    assert plain["layer"].null_count() == plain.height == 2 * N_PAIRS * len(LANGUAGES)
    for setting, is_same in (("tgt_tgt", True), ("tgt", False)):
        both = frame.filter(setting=setting).join(plain, on=["checkpoint", "pair", "language"], suffix="_plain")
        assert both.height == 4 * N_PAIRS * len(LANGUAGES)
        assert np.allclose(both["p_target"], both["p_target_plain"], rtol=1e-4, atol=1e-7) is is_same
        assert both["continuation"].eq_missing(both["continuation_plain"]).all() is is_same


def test_texts_are_greedy_ones_in_the_rows_of_the_output_language(patched: Atlas, prompt_store: Path) -> None:
    frame = patched.scan("patches").collect()
    assert frame.filter(language="en")["continuation"].null_count() == 0
    assert frame.filter(pl.col("language") != "en")["continuation"].n_unique() == 1
    plain = Plain(prompt_store)
    for row in frame.filter(checkpoint=CHECKPOINT, setting="unpatched", language="en").iter_rows(named=True):
        text, _ = plain.prompt(row["pair"], "target", ("fr", "en"))
        ids = plain.tokenizer(text)["input_ids"]
        for _ in range(2):
            with torch.no_grad():
                ids.append(int(plain.model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert row["continuation"] == plain.tokenizer.decode(ids[-2:], skip_special_tokens=True)


def test_the_same_question_again_loads_no_model(patched: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("actlas.intervene.concepts.run.load_live", refuse)
    kept = patched.scan("patches").collect()
    assert patch_concepts(patched, ["fr-en"], layers=[2, 0], n_tokens=2).equals(kept)
    with pytest.raises(AssertionError, match="a model was loaded"):
        patch_concepts(patched, ["fr-en"], layers=[0, 2], n_tokens=3)


def test_a_run_that_was_stopped_goes_on_with_the_checkpoint_it_had_not_done(
    prompt_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actlas.intervene.concepts import run

    shutil.copytree(prompt_store, tmp_path / "run.actlas")
    store = open_store(tmp_path / "run.actlas", "a")
    asked = {"translations": ["fr-en"], "settings": ["tgt"], "layers": [1], "n_tokens": 0, "device": "cpu"}
    original, loaded = run.load_live, []

    def stopping(store: Atlas, name: str, **given: object) -> object:
        loaded.append(name)
        if len(loaded) == 2:
            raise KeyboardInterrupt
        return original(store, name, **given)

    monkeypatch.setattr(run, "load_live", stopping)
    with pytest.raises(KeyboardInterrupt):
        patch_concepts(store, **asked)
    assert patch_concepts(store, **asked)["checkpoint"].unique(maintain_order=True).to_list() == ["words-step1", "words-step2"]
    assert loaded == ["words-step1", "words-step2", "words-step2"]


def test_function_and_macro_give_the_same_rows(patched: Atlas) -> None:
    frame = patched.scan("patches").collect()
    for function in (patching_by_layer, patching_onset):
        by_sql = patched.sql(f"FROM {function.__name__}()")
        ours = function(frame)
        assert by_sql.columns == ours.columns
        for name in ours.columns:
            if ours[name].dtype.is_float():
                np.testing.assert_allclose(by_sql[name].to_numpy(), ours[name].to_numpy(), rtol=1e-9, atol=1e-12)
            else:
                assert by_sql[name].to_list() == ours[name].to_list(), name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"settings": ["sene"]}, "no setting 'sene' in concept patching; did you mean 'seen'"),
        ({"translations": ["en-fr"]}, "no translation 'en-fr' in the store's prompts; .*it has fr-en, es-de"),
        ({"layers": [0, 3]}, "no layer 3; words-step1 has layers 0 to 2"),
        ({"seen": ["fr", "de"], "settings": ["seen"]}, "needs two seen languages, neither English nor"),
        ({"n_tokens": -1}, "n_tokens must be at least 0, not -1"),
    ],
)
def test_what_cannot_be_asked(prompt_store: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        patch_concepts(prompt_store, **{"device": "cpu", **given})  # type: ignore[arg-type]


def test_a_store_open_for_reading_keeps_nothing(prompt_store: Path) -> None:
    with pytest.raises(ReadOnlyStore):
        patch_concepts(open_store(prompt_store), keep=True)
