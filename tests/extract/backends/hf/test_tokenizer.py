"""A transformers tokenizer as arrays with a hash."""

import json
import shutil

import numpy as np
import pytest
import transformers

from actlas.errors import ModelNotLoaded
from actlas.extract.backends.base import BackendSettings
from actlas.extract.backends.hf import tokenizer as tokenizer_module
from actlas.extract.backends.hf.identify import has_tokenizer
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


def test_the_end_of_a_text_is_cut_whatever_the_tokenizer_says(load, tmp_path):
    plain = load()
    settings = json.loads((tmp_path / "t" / "tokenizer_config.json").read_text())
    (tmp_path / "t" / "tokenizer_config.json").write_text(json.dumps({**settings, "truncation_side": "left"}))
    left = HfTokenizer.load(str(tmp_path / "t"), BackendSettings())
    for tokenizer in (plain, left):
        ((ids,),) = (tokenizer.encode(["kala mone suvo tishi"], add_special=True, max_tokens=4).token_ids,)
        assert ids.tolist()[:3] == plain.encode(["kala mone suvo tishi"], add_special=True).token_ids[0].tolist()[:3]
    assert left.hash == plain.hash


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "WhitespaceSplit"}},
        {"post_processor": None},
        {"added_tokens": "lstrip"},
        {"split_special_tokens": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_all_that_decides_ids_is_in_the_hash(load, tmp_path, change):
    plain = load()
    ((name, value),) = change.items()
    path = tmp_path / "t" / ("tokenizer_config.json" if name.startswith("split") else "tokenizer.json")
    settings = json.loads(path.read_text())
    if name == "added_tokens":
        settings[name][1]["lstrip"] = True
    else:
        settings[name] = value
    path.write_text(json.dumps(settings))
    assert HfTokenizer.load(str(tmp_path / "t"), BackendSettings()).hash != plain.hash


def test_what_decides_no_id_is_not_in_the_hash(load, tmp_path):
    plain = load()
    path = tmp_path / "t" / "tokenizer_config.json"
    changes = {
        "chat_template": "{{ messages }}",
        "model_max_length": 7,
        "padding_side": "left",
        "clean_up_tokenization_spaces": True,
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert HfTokenizer.load(str(tmp_path / "t"), BackendSettings()).hash == plain.hash


def test_a_tokenizer_is_known_by_the_hash_of_the_first_stores_too(load):
    tokenizer = load()
    assert tokenizer.hashes[0] == tokenizer.hash
    assert [name.startswith("2-") for name in tokenizer.hashes] == [True, False]
    assert {len(name) for name in tokenizer.hashes} == {16}


def test_a_tokenizer_of_bytes_needs_no_vocabulary(tmp_path):
    transformers.ByT5Tokenizer().save_pretrained(tmp_path / "bytes")
    assert has_tokenizer(tmp_path / "bytes")
    tokenizer = HfTokenizer.load(str(tmp_path / "bytes"), BackendSettings())
    ((ids,), (flags,), _) = vars(tokenizer.encode(["ab"], add_special=True)).values()
    assert ids.tolist() == [100, 101, 1]
    assert flags.tolist() == [False, False, True]
    other = shutil.copytree(tmp_path / "bytes", tmp_path / "moved")
    assert HfTokenizer.load(str(other), BackendSettings()).hash == tokenizer.hash
    transformers.ByT5Tokenizer(extra_ids=10).save_pretrained(tmp_path / "fewer")
    assert HfTokenizer.load(str(tmp_path / "fewer"), BackendSettings()).hash != tokenizer.hash


def test_a_tokenizer_whose_vocabulary_is_gone_is_refused(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert not has_tokenizer(tmp_path)
    with pytest.raises(ModelNotLoaded, match=r"GPT2Tokenizer reads vocab\.json and merges\.txt, none of which is there"):
        HfTokenizer.load(str(tmp_path), BackendSettings())


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "1.0"}', "null"])
def test_a_damaged_tokenizer_is_one_error(load, tmp_path, content):
    load()
    (tmp_path / "t" / "tokenizer.json").write_text(content)
    with pytest.raises(ModelNotLoaded, match="no usable tokenizer in"):
        HfTokenizer.load(str(tmp_path / "t"), BackendSettings())
