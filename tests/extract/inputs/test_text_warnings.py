import numpy as np
import polars as pl
import pytest

from actlas.errors import CorpusError
from actlas.extract.backends.base import BackendSettings, Encoded
from actlas.extract.backends.hf.tokenizer import HfTokenizer
from actlas.extract.inputs.text_warnings import left_out, typed_special_tokens
from actlas.extract.inputs.tokens import TokenRules, tokenise
from actlas.names import TokenSample
from actlas.store import corpus_from_frames


def corpus_of(texts, labels=None, languages="en"):
    labels = pl.DataFrame({"text_id": range(len(texts)), "concept": "c", "is_concept": labels or [None] * len(texts)})
    return corpus_from_frames(pl.DataFrame({"text": texts, "language": languages}), labels)


@pytest.mark.parametrize("choice", ["pool", "run", "none"])
def test_special_tokens_that_a_text_spells_out_are_counted(tmp_path, tokenizer_writer, choice):
    tokenizer_writer(tmp_path)
    tokenizer = HfTokenizer.load(str(tmp_path), BackendSettings())
    texts = ["kala mone", "<s> kala mone", "a </s> kala </s>", "<pad> kala", "<S> kala", "<unk> kala", "zzz kala"]
    found = tokenise(corpus_of(texts), tokenizer, TokenRules(16, "truncate", choice, TokenSample(per_text=0)))
    assert found.warnings == (
        "4 texts spell out special tokens of the tokenizer ('</s>' in 1, '<pad>' in 1, '<s>' in 1, '<unk>' in 1; the first is "
        "text 1): the model reads the special token there, and it is pooled and counted like a word",
    )
    assert tokenise(corpus_of(texts[:1]), tokenizer, TokenRules(16, "truncate", choice, TokenSample(per_text=0))).warnings == ()


def test_what_the_tokenizer_added_was_not_typed():
    encoded = Encoded([np.array([1, 5, 2]), np.array([1, 1, 2])], [np.array([1, 0, 1], bool), np.array([1, 0, 1], bool)], [])
    special = {1: "<s>", 2: "</s>"}
    assert typed_special_tokens(corpus_of(["a", "b"]), encoded, special) == []  # an unknown word may share the id
    (line,) = typed_special_tokens(corpus_of(["a", "<s>"]), encoded, special)
    assert "1 texts spell out special tokens of the tokenizer ('<s>' in 1; the first is text 1)" in line


def test_concepts_that_lose_their_texts_are_named():
    corpus = corpus_of(list("abcd"), [True, False, False, True])
    assert left_out(corpus, np.array([True, True, True, False]), 5, drops_languages=False) == [
        "1 of 4 texts have more than 5 tokens and are left out: en 1 of 4",
    ]
    assert left_out(corpus, np.array([False, True, True, False]), 5, drops_languages=False)[1:] == [
        "en: no positive text for c; scores there will be null",
    ]
    with pytest.raises(CorpusError, match="every text has more than 5 tokens; nothing is left"):
        left_out(corpus, np.zeros(4, dtype=bool), 5, drops_languages=True)
