"""A transformers tokenizer as arrays with a hash."""

import json

import numpy as np
import pytest

from actlas.errors import ModelNotLoaded
from actlas.extract.backends.base import BackendSettings
from actlas.extract.backends.hf import tokenizer as tokenizer_module
from actlas.extract.backends.hf.tokenizer import HfTokenizer


@pytest.fixture
def load(tmp_path, tokenizer_writer):
    """A function: a tokenizer that was written with some options."""

    def read(name="t", **options):
        tokenizer_writer(tmp_path / name, **options)
        return HfTokenizer.load(str(tmp_path / name), BackendSettings())

    return read


def test_the_hash_is_of_what_decides_tokens(load, tmp_path):
    plain = load()
    assert load("same").hash == plain.hash
    assert load("left", padding_side="left").hash == plain.hash
    assert load("bare", adds_special=False).hash != plain.hash
    settings = json.loads((tmp_path / "t" / "tokenizer.json").read_text())
    settings["truncation"] = {"max_length": 3, "stride": 0, "strategy": "LongestFirst", "direction": "Right"}
    (tmp_path / "t" / "tokenizer.json").write_text(json.dumps(settings))
    assert HfTokenizer.load(str(tmp_path / "t"), BackendSettings()).hash == plain.hash


def test_tokens_come_with_marks_and_places(load):
    (ids,), (flags,), (places,) = vars(load().encode(["kala mone"], add_special=True)).values()
    assert ids.dtype == np.int32
    assert [int(ids[0]), int(ids[-1])] == [1, 2]
    assert flags.tolist() == [True, *[False] * (len(ids) - 2), True]
    assert "".join("kala mone"[first:last] for first, last in places[1:-1]) == "kalamone"


def test_nothing_is_marked_where_nothing_was_added(load):
    encoded = load().encode(["<s> kala </s>"], add_special=False)
    assert 1 in encoded.token_ids[0]
    assert not encoded.is_special[0].any()


def test_a_cut_keeps_the_closing_token(load):
    (ids,) = load().encode(["kala mone suvo tishi"], add_special=True, max_tokens=4).token_ids
    assert len(ids) == 4
    assert ids[-1] == 2


def test_texts_are_encoded_some_at_a_time(load, monkeypatch):
    tokenizer, texts = load(), ["kala", "mone suvo", "tishi"]
    together = tokenizer.encode(texts, add_special=True)
    monkeypatch.setattr(tokenizer_module, "_TEXTS_AT_ONCE", 2)
    for one, other in zip(together.token_ids, tokenizer.encode(texts, add_special=True).token_ids, strict=True):
        assert one.tolist() == other.tolist()


def test_a_folder_without_a_tokenizer_is_told(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelNotLoaded, match="(?s)no usable tokenizer in .*; name another folder or hub id as the tokenizer"):
        HfTokenizer.load(str(tmp_path), BackendSettings())
