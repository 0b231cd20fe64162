"""Pairs of concepts: told apart by first tokens, used evenly, the same for the same seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from actlas.extract.backends.hf.tokenizer import HfTokenizer
from actlas.intervene.concepts.pairs import choose_pairs, compatible, first_tokens

NAMES = [f"c{number}" for number in range(20)]


def tokenizer_of(pieces: list[str], pattern: str) -> HfTokenizer:
    backend = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(["<unk>", *pieces])}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    return HfTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<unk>"))


def test_words_begin_with_and_without_a_space() -> None:
    tokenizer = tokenizer_of(['"', "book", " book", "let", "ter", " let"], r' ?book| ?let|ter|"| ')
    assert first_tokens(tokenizer, ["book", "letter"], '"') == {"book": frozenset([2, 3]), "letter": frozenset([4, 6])}


def test_a_token_of_space_alone_begins_no_word() -> None:
    tokenizer = tokenizer_of(['"', "日", " "], r"日|\"| ")
    assert first_tokens(tokenizer, ["日"], '"') == {"日": frozenset([2])}


def test_where_a_token_holds_the_quotation_mark_too_the_word_alone_decides() -> None:
    tokenizer = tokenizer_of(['"book', "book", " book", '"', '" '], r'" book|"book| ?book|"')
    assert first_tokens(tokenizer, ["book"], '"') == {"book": frozenset([2, 3])}


def test_a_tokenizer_that_begins_texts_with_a_space() -> None:
    """As SentencePiece does: a word alone would be a word behind a space, and the one in an answer would be missed."""
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), ('▁"', -1.0), ("book", -1.0), ("▁book", -1.0), ('"', -3.0)], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    backend.decoder = decoders.Metaspace()
    tokenizer = HfTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<unk>"))
    assert first_tokens(tokenizer, ["book"], '"') == {"book": frozenset([2, 3])}


def test_concepts_without_a_token_are_compatible_with_none() -> None:
    fits = compatible({"a": frozenset([1]), "b": frozenset([2]), "c": frozenset()})
    assert fits.tolist() == [[False, True, False], [True, False, False], [False, False, False]]


@pytest.fixture
def fits() -> np.ndarray:
    rng = np.random.default_rng(3)
    some = rng.random((20, 20)) < 0.7
    return (some | some.T) & ~np.eye(20, dtype=bool)


def test_pairs_are_compatible_and_their_other_words_are_others(fits: np.ndarray) -> None:
    pairs = choose_pairs(NAMES, fits, 40, 5, seed=42)
    assert len({(pair.source, pair.target) for pair in pairs}) == 40
    for pair in pairs:
        assert fits[NAMES.index(pair.source), NAMES.index(pair.target)]
        words = [pair.source, pair.target, *pair.source_shots, *pair.target_shots]
        assert len(set(words)) == 12


def test_concepts_are_used_evenly(fits: np.ndarray) -> None:
    pairs = choose_pairs(NAMES, fits, 40, 5, seed=42)
    assert set(Counter(pair.source for pair in pairs).values()) == {2}
    assert max(Counter(pair.target for pair in pairs).values()) <= 3
    shots = Counter(shot for pair in pairs for shot in (*pair.source_shots, *pair.target_shots))
    assert max(shots.values()) - min(shots.values()) <= 2


def test_the_seed_decides(fits: np.ndarray) -> None:
    assert choose_pairs(NAMES, fits, 40, 5, seed=42) == choose_pairs(NAMES, fits, 40, 5, seed=42)
    assert choose_pairs(NAMES, fits, 40, 5, seed=42) != choose_pairs(NAMES, fits, 40, 5, seed=43)


def test_every_compatible_pair_can_be_had(fits: np.ndarray) -> None:
    n_pairs = int(fits.sum())
    pairs = choose_pairs(NAMES, fits, n_pairs, 1, seed=0)
    assert {(NAMES.index(pair.source), NAMES.index(pair.target)) for pair in pairs} == set(
        zip(*map(tuple, np.nonzero(fits)), strict=True)
    )
