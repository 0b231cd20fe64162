"""Prompts: what they say, that the word to translate stands where they mark it, and that too small a table is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import polars as pl
import pytest

from actlas.errors import WordsError
from actlas.extract.backends.hf.tokenizer import HfTokenizer
from actlas.intervene.concepts.pairs import first_tokens
from actlas.intervene.concepts.prompts import TEMPLATE, Template, translation_prompts
from actlas.intervene.concepts.words import WordTable, read_words
from actlas.store import Corpus
from tests.intervene.concepts.models import word_tokenizer

LANGUAGES = ["en", "fr", "de", "it", "es"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tokenizer, which is all that prompts need of a model."""
    folder = tmp_path_factory.mktemp("model")
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(model: Path) -> Corpus:
    return translation_prompts(None, model, ["fr-en", "es-de"], languages=LANGUAGES, n_pairs=12, n_shots=3)


def test_a_prompt_is_written_as_published() -> None:
    writes = Template(TEMPLATE, {"fr": "Français", "en": "English"})
    text, start, end = writes.prompt(("fr", "en"), [("livre", "book"), ("soleil", "sun")], "nuage")
    assert text == 'Français: "livre" - English: "book"\nFrançais: "soleil" - English: "sun"\nFrançais: "nuage" - English: "'
    assert text[start:end] == "nuage"
    assert writes.ends_with == '"'


def test_braces_in_words_are_words() -> None:
    text, start, end = Template("{word_in}={word_out}", {}).prompt(("fr", "en"), [("{word_out}", "{x}")], "{word_in}")
    assert text == "{word_out}={x}\n{word_in}="
    assert text[start:end] == "{word_in}"


@pytest.mark.parametrize(
    "line", ["", "{word_in}", "{word_out} {word_in}", "{word_in}{word_in} {word_out}", "{word_in} {word_out}{word_out}"]
)
def test_templates_that_are_none(line: str) -> None:
    with pytest.raises(WordsError, match="a template has {word_in} once, and {word_out} once behind it"):
        Template(line, {})


def test_texts_mark_the_word_and_stand_for_their_pair(corpus: Corpus) -> None:
    words, texts = read_words().words, corpus.texts
    for row in texts.iter_rows(named=True):
        marked = row["text"][row["source_word_start"] : row["source_word_end"]]
        assert marked == words[row["concept"]][row["language"]][0]
        assert row["text"].count("\n") == 3
        assert json.loads(row["answers"]) == {language: list(words[row["concept"]][language]) for language in LANGUAGES}
        *lines, _ = row["text"].split("\n")
        for line, shot in zip(lines, row["shots"].split(", "), strict=True):
            first, second = (words[shot][language][0] for language in (row["language"], row["language_out"]))
            assert f'"{first}" - ' in line
            assert line.endswith(f': "{second}"')


def test_every_pair_has_every_prompt_that_a_setting_needs(corpus: Corpus) -> None:
    by_role = corpus.texts.group_by("pair", "role").agg(pl.struct("language", "language_out").n_unique().alias("n"), pl.len())
    assert by_role.filter(pl.col("n") != pl.col("len")).is_empty()
    # es-de, de-es ... of three languages, without those of the translation: 2 + 2; its own; en-en; de-de
    assert by_role.group_by("role").agg(pl.col("n").unique()).sort("role")["n"].to_list() == [[11], [2]]
    assert by_role["pair"].n_unique() == 12


def test_concepts_of_a_pair_share_no_first_token(corpus: Corpus) -> None:
    tokenizer = HfTokenizer(word_tokenizer())
    ids: dict[tuple[int, str], set[int]] = {}
    for pair, role, answers in corpus.texts.select("pair", "role", "answers").unique().iter_rows():
        words = [word for own in json.loads(answers).values() for word in own]
        ids[pair, role] = set().union(*first_tokens(tokenizer, words, '"').values())
    for pair in range(12):
        assert ids[pair, "source"]
        assert not ids[pair, "source"] & ids[pair, "target"]


def test_what_they_were_made_with_stays_with_them(corpus: Corpus, model: Path) -> None:
    (made_with,) = map(json.loads, corpus.texts["made_with"].unique())
    assert made_with["seed"] == 42
    assert made_with["words"] == read_words().digest
    assert made_with["tokenizer"] == HfTokenizer(word_tokenizer()).hash
    again = translation_prompts(None, model, ["fr-en", "es-de"], languages=LANGUAGES, n_pairs=12, n_shots=3)
    assert again.texts.equals(corpus.texts)
    other = translation_prompts(None, model, ["fr-en", "es-de"], languages=LANGUAGES, n_pairs=12, n_shots=3, seed=1)
    assert not other.texts.equals(corpus.texts)


def test_languages_that_are_translated_between_are_measured(model: Path) -> None:
    corpus = translation_prompts(None, model, ["en-fr"], languages=["de", "en", "de"], n_pairs=2, n_shots=1)
    (made_with,) = map(json.loads, corpus.texts["made_with"].unique())
    assert made_with["languages"] == made_with["seen"] == ["de", "en", "fr"]
    assert set(json.loads(corpus.texts["answers"][0])) == {"de", "en", "fr"}


def test_too_small_a_table_is_refused_with_what_there_is(model: Path) -> None:
    few = WordTable({name: dict(own) for name, own in list(read_words().words.items())[:7]})
    with pytest.raises(WordsError, match=r"7 of 7 concepts have a word in all of en, fr; 5 translations .* need 12\. Name fewer"):
        translation_prompts(few, model, ["fr-en"], languages=["en", "fr"], n_pairs=1)
    same = WordTable({name: {"en": ("sun",), "fr": (name,)} for name in ("soleil", "mer", "lune", "étoile")})
    with pytest.raises(
        WordsError, match=r"0 ordered pairs of the 4 concepts share no first token in any of en, fr, fewer than the 3"
    ):
        translation_prompts(same, model, ["fr-en"], n_pairs=3, n_shots=1)


def test_a_token_across_the_end_of_the_word_is_warned_of(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "actlas"):
        translation_prompts(
            None, model, ["fr-en"], languages=["en", "fr"], n_pairs=2, n_shots=1, template="{word_in}'s = {word_out}"
        )
    assert "in 6 of 6 prompts a token holds the end of the word and what follows it" in caplog.text
    assert "setting seen of fr-en has no pair of languages to take the mean over: of en, fr" in caplog.text
