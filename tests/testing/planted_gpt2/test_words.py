"""The words of the planted model: each token means one thing, and sentences are written in nothing else."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
import transformers

from actlas.testing.planted_gpt2.words import GRAMMAR, LANGUAGES, NOUNS, noun, sentences, vocabulary, write_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> transformers.PreTrainedTokenizerFast:
    folder = tmp_path_factory.mktemp("planted_words")
    write_tokenizer(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_every_token_stands_once_in_the_vocabulary() -> None:
    texts = [token.text for token in vocabulary()]
    assert len(set(texts)) == len(texts)


def test_a_noun_is_a_stem_and_an_ending_that_no_other_noun_has(tokenizer: transformers.PreTrainedTokenizerFast) -> None:
    tokens = {token.text: token for token in vocabulary()}
    for concept in NOUNS:
        for language in LANGUAGES:
            found = [tokens[text] for text in tokenizer.tokenize(noun(concept, language))]
            assert [(token.kind, token.concept, token.language) for token in found] == [
                ("stem", concept, language),
                ("ending", concept, language),
            ]


def test_sentences_follow_the_grammar(tokenizer: transformers.PreTrainedTokenizerFast) -> None:
    tokens = vocabulary()
    corpus = sentences(24, seed=1)
    lengths = set()
    for text, language in corpus.texts.select("text", "language").iter_rows():
        found = [tokens[number] for number in tokenizer(text).input_ids]
        lengths.add(len(found))
        assert all(after.kind in GRAMMAR[before.kind] for before, after in pairwise(found)), text
        assert {token.language for token in found} == {language, None}
        assert tokenizer.decode([tokens.index(token) for token in found[1:]]) == text
    assert min(lengths) == 6
    assert max(lengths) > 12


def test_texts_of_a_group_share_their_labels() -> None:
    corpus = sentences(12, seed=0)
    labels = corpus.labels.join(corpus.texts.select("text_id", "parallel_id"), on="text_id")
    n_different = labels.group_by("parallel_id", "concept").agg(pl.col("is_concept").n_unique())
    assert n_different["is_concept"].unique().to_list() == [1]
    positives = corpus.labels.filter("is_concept").group_by("concept").len()
    assert positives.sort("concept").rows() == [(concept, 2 * len(LANGUAGES)) for concept in sorted(NOUNS)]
