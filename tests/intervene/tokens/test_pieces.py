"""Places of tokens against the bytes that they stand for, with tokenizers of every kind, on texts that are hard to divide."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from actlas.extract.backends.base import Encoded
from actlas.extract.backends.hf.tokenizer import HfTokenizer
from actlas.intervene.tokens.pieces import Pieces, piece_rows, text_pieces

WORDS = ["the cat sat on the mat with a dog", "café with the 東京 with", "كتاب with שלום"] * 4
FAMILY, WOMAN = "👩‍👩‍👧", "👩"
TEXTS = (
    "東京 with  café",
    "e\u0301 x",
    f"{FAMILY} ok ",
    "שלום עולם, the כתב",
    "مرحبا بالعالم",
    "  lead",
    "ﬁn ＡＢ the",
    "नमस्ते",
    "한국어 각",
    "\u202ethe\u202c cat\n\tdog",
    "🇫🇷🇩🇪 1️⃣",
    "▁ <0x41> Ġ",
    "x",
)


def _wrapped(tokenizer: Tokenizer) -> HfTokenizer:
    start, stop = tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")
    template = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", start), ("</s>", stop)])
    own = tokenizer.post_processor
    tokenizer.post_processor = template if own is None else processors.Sequence([own, template])
    return HfTokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"))


def byte_level(normalizer: normalizers.Normalizer | None = None, *, prefix: bool = False) -> HfTokenizer:
    """A byte-level BPE; its places leave out spaces, as those of GPT-2 and Llama 3 do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return _wrapped(tokenizer)


def byte_fallback() -> HfTokenizer:
    """A BPE that writes letters which it does not know as bytes, as the first Llamas do; a space is put before a text."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    names += [*sorted(set("▁the cat on m with a dog".replace(" ", ""))), "th", "▁th", "▁the"]
    merges = [("t", "h"), ("▁", "th"), ("▁th", "e")]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return _wrapped(tokenizer)


def unigram() -> HfTokenizer:
    """A SentencePiece-like Unigram with bytes, which composes letters first."""
    letters = sorted(set("▁thecatonmwidg"))
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((f"<0x{byte:02X}>", -10.0) for byte in range(256))]
    pieces += [(letter, -3.0) for letter in letters] + [("▁the", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, 0, byte_fallback=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return _wrapped(tokenizer)


KINDS: dict[str, Callable[[], HfTokenizer]] = {
    "byte level": byte_level,
    "byte level with a space before": lambda: byte_level(prefix=True),
    "byte level, composed": lambda: byte_level(normalizers.NFC()),
    "byte level, lower case": lambda: byte_level(normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()])),
    "byte fallback": byte_fallback,
    "unigram": unigram,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> HfTokenizer:
    return KINDS[request.param]()


def pieces_of(tokenizer: HfTokenizer, text: str, max_tokens: int | None = None) -> Pieces:
    (found,) = text_pieces(tokenizer, [text], add_special=True, max_tokens=max_tokens)
    return found


def check(text: str, found: Pieces, length: int | None = None) -> None:
    """The promises of `Pieces`, whatever the tokenizer."""
    places, is_special = found.places, found.is_special
    assert (np.diff(places, axis=0) >= 0).all()
    assert (places[:, 0] <= places[:, 1]).all()
    assert (places[is_special, 0] == places[is_special, 1]).all()
    covered = np.zeros(len(text) + 1, dtype=bool)
    for start, end in places:
        covered[start:end] = True
    assert covered[: len(text) if length is None else length].all()


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_cover_a_text_in_order(tokenizer: HfTokenizer, text: str) -> None:
    found = pieces_of(tokenizer, text)
    assert found.written[0] == "<s>"
    assert found.is_special[[0, -1]].all()
    check(text, found)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_any_text_is_covered(text: str) -> None:
    for kind in KINDS:
        check(text, pieces_of(_made(kind), text))


_MADE: dict[str, HfTokenizer] = {}


def _made(kind: str) -> HfTokenizer:
    if kind not in _MADE:
        _MADE[kind] = KINDS[kind]()
    return _MADE[kind]


@pytest.mark.parametrize("kind", ["byte level", "byte level with a space before", "byte fallback"])
@pytest.mark.parametrize("text", [text for text in TEXTS if "▁" not in text])
def test_places_are_those_of_what_is_written(kind: str, text: str) -> None:
    found = pieces_of(_made(kind), text)
    n_whole = 0
    for piece, (start, end), is_special in zip(found.written, found.places, found.is_special, strict=True):
        if is_special or piece.startswith("<0x"):
            continue
        n_whole += 1
        # a space that is put before a text is in none of its characters
        assert piece == text[start:end] or (start == 0 and piece == f" {text[:end]}")
    assert n_whole or not text.isascii()


def test_parts_of_a_character_share_its_place() -> None:
    text = f"{WOMAN}नa"
    for kind in ("byte level", "byte fallback"):
        found = pieces_of(_made(kind), text)
        own = [tuple(place) for place, name in zip(found.places, found.written, strict=True) if name.startswith("<0x")]
        assert own == [(0, 1)] * 4 + [(1, 2)] * 3, kind


def test_bytes_of_a_word_get_the_places_of_their_characters() -> None:
    """A Unigram gives all bytes of a word the place of the word."""
    # one accent is composed with its letter, so that its places cannot be read off the bytes
    text = "東京 e\u0301"
    found = pieces_of(_made("unigram"), text)
    places = [tuple(place) for place in found.places[1:-1]]
    # the space that is put before a text is in none of its characters
    assert places == [(0, 0), *[(0, 1)] * 3, *[(1, 2)] * 3, (2, 3), *[(3, 5)] * 2]


def test_a_composed_accent_belongs_to_its_letter() -> None:
    text = "a\u0301 the"
    found = pieces_of(_made("byte level, composed"), text)
    assert unicodedata.normalize("NFC", text) != text
    assert [tuple(place) for place in found.places] == [(0, 0), (0, 2), (0, 2), (2, 6), (6, 6)]
    assert found.written[1:3] == ["<0xC3>", "<0xA1>"]


def test_what_is_cut_off_is_not_covered(tokenizer: HfTokenizer) -> None:
    text = "the cat sat on the mat " * 4
    found = pieces_of(tokenizer, text, max_tokens=6)
    assert len(found.token_ids) == 6
    reached = int(found.places.max())
    assert reached < len(text)
    check(text, found, reached)


def test_one_that_does_not_say_is_known_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow tokenizers know no places."""
    encode = HfTokenizer.encode

    def blind(self: HfTokenizer, *args: Any, **options: Any) -> Encoded:
        encoded = encode(self, *args, **options)
        return replace(encoded, places=[np.full_like(places, -1) for places in encoded.places])

    monkeypatch.setattr(HfTokenizer, "encode", blind)
    check(TEXTS[0], pieces_of(_made("byte level"), TEXTS[0]))
    found = pieces_of(_made("byte level, composed"), "e\u0301")
    assert (found.places == -1).all()
    assert piece_rows([7], [found])["char_start"].null_count() == len(found.token_ids)


def test_rows_of_several_texts() -> None:
    tokenizer = byte_level()
    rows = piece_rows([3, 9], text_pieces(tokenizer, ["the cat", "x"], add_special=True))
    assert rows["text_id"].to_list() == [3] * 4 + [9] * 3
    assert rows["position"].to_list() == [0, 1, 2, 3, 0, 1, 2]
    assert rows.filter(~pl.col("is_special"))["piece"].to_list() == ["the", " cat", "x"]
    assert piece_rows([], []).height == 0
