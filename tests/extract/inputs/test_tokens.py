from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from actlas.errors import CorpusError
from actlas.extract.backends.base import Encoded
from actlas.extract.inputs.tokens import TokenCache, TokenRules, tokenise
from actlas.names import TokenSample
from actlas.store.corpus.corpus import corpus_from_frames


class LetterTokenizer:
    """One token per letter, between a 1 and a 2."""

    hash = "letters"
    pad_id = 0

    def encode(self, texts, *, add_special, max_tokens=None):
        ids = []
        for text in texts:
            inner = [ord(letter) for letter in text if letter != " "]
            if max_tokens is not None:
                inner = inner[: max_tokens - 2 * add_special]
            ids.append(np.array([1, *inner, 2] if add_special else inner, dtype=np.int32))
        flags = [np.isin(np.arange(len(i)), [0, len(i) - 1]) & add_special for i in ids]
        places = [np.full((len(i), 2), -1) for i in ids]
        for text, found, is_special in zip(texts, places, flags, strict=True):
            at = np.flatnonzero([letter != " " for letter in text])[: (~is_special).sum()]
            found[~is_special] = np.stack([at, at + 1], axis=1)
        return Encoded(ids, flags, places)


def corpus_of(texts, languages=None):
    frame = pl.DataFrame({"text": texts, "language": languages or ["en"] * len(texts)})
    labels = pl.DataFrame(schema={"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean})
    return corpus_from_frames(frame, labels)


def run(texts, **changes):
    rules = {"max_tokens": 8, "over_long": "truncate", "special_tokens": "pool", "sample": TokenSample(per_text=2)}
    return tokenise(corpus_of(texts), LetterTokenizer(), TokenRules(**{**rules, **changes}))


def test_tokens_lie_one_text_after_the_other():
    found = run(["ab", "c"])
    assert found.tokens.ids.tolist() == [1, 97, 98, 2, 1, 99, 2]
    assert found.tokens.offsets.tolist() == [0, 4, 7]
    assert run(["ab", "c"], special_tokens="none").tokens.ids.tolist() == [97, 98, 99]


def test_long_texts_are_truncated_with_their_closing_token():
    found = run(["abcdefghij", "ab"], max_tokens=5)
    assert found.tokens.ids.tolist() == [1, 97, 98, 99, 2, 1, 97, 98, 2]
    assert found.over_long.tolist() == [0]


def test_long_texts_are_dropped_with_their_labels_and_ids_stay():
    found = run(["ab", "abcdefghij", "cd"], max_tokens=5, over_long="drop")
    assert found.corpus.texts["text_id"].to_list() == [0, 2]
    assert found.over_long.tolist() == [1]
    assert found.tokens.lengths.tolist() == [4, 4]
    assert found.corpus.fingerprint == corpus_of(["ab", "abcdefghij", "cd"]).fingerprint
    with pytest.raises(CorpusError, match="every text has more than 2 tokens"):
        run(["ab", "cd"], max_tokens=2, over_long="drop")


def test_a_language_is_not_dropped_unless_that_is_said():
    texts, languages = ["ab", "abcdefghij", "abcdefghijkl", "cd", "ef"], ["en", "en", "es", "fr", "fr"]
    rules = TokenRules(6, "drop", "pool", TokenSample(per_text=0))
    with pytest.raises(CorpusError, match=r"every text in es has more than 6 tokens, .*\(3 of 5 texts would be left\)"):
        tokenise(corpus_of(texts, languages), LetterTokenizer(), rules)
    found = tokenise(corpus_of(texts, languages), LetterTokenizer(), replace(rules, drops_languages=True))
    assert found.corpus.languages == ("en", "fr")
    assert found.warnings == (
        "2 of 5 texts have more than 6 tokens and are left out: en 1 of 2, es 1 of 1",
        "no text is left in es",
    )


def test_long_texts_can_be_an_error():
    with pytest.raises(CorpusError, match=r"1 of 2 texts have more than 5 tokens \(text 0 has 12\)"):
        run(["abcdefghij", "ab"], max_tokens=5, over_long="error")


class FixedTokenizer(LetterTokenizer):
    """The same tokens whatever the texts."""

    def __init__(self, *texts):
        self.encoded = Encoded(
            [np.array(ids, dtype=np.int32) for ids, _ in texts],
            [np.array(flags, dtype=bool) for _, flags in texts],
            [np.full((len(ids), 2), -1) for ids, _ in texts],
        )

    def encode(self, texts, *, add_special, max_tokens=None):
        return self.encoded


def test_texts_without_tokens_are_refused():
    with pytest.raises(CorpusError, match="1 texts have no tokens to pool, the first is text 1"):
        tokenise(corpus_of(["ab", "x"]), FixedTokenizer(([5], [0]), ([], [])), TokenRules(8, "truncate", "none", TokenSample()))


def test_a_text_of_special_tokens_alone_can_not_be_pooled_without_them():
    blank = FixedTokenizer(([1, 2], [1, 1]))
    tokenise(corpus_of(["x"]), blank, TokenRules(8, "truncate", "pool", TokenSample()))
    with pytest.raises(CorpusError, match="no tokens to pool"):
        tokenise(corpus_of(["x"]), blank, TokenRules(8, "truncate", "run", TokenSample()))


def test_the_sample_leaves_out_special_tokens_and_stays_when_the_corpus_grows():
    texts = ["abcdef", "g", "hijkl"]
    found = run(texts).sample
    assert found.group_by("text_id", maintain_order=True).len()["len"].to_list() == [2, 1, 2]
    assert not set(found["token_id"]) & {1, 2}
    for text_id, position, token_id in found.select("text_id", "position", "token_id").iter_rows():
        assert ord(texts[text_id][position - 1]) == token_id
    assert found.equals(run([*texts, "mno"]).sample.filter(pl.col("text_id") < 3))
    assert not found.equals(run(texts, sample=TokenSample(per_text=2, seed=1)).sample)
    assert run(texts, sample=TokenSample(per_text=0)).sample is None


def test_the_sample_is_spread_over_the_positions():
    found = run(["abcdefgh"[:6]] * 600, sample=TokenSample(per_text=1)).sample
    counts = np.bincount(found["position"].to_numpy(), minlength=8)[1:7]
    assert counts.sum() == 600
    assert counts.min() > 60


def test_a_block_is_some_rows_with_their_sample_and_flags():
    found = run(["ab", "cde", "f", "gh"], loss_texts=2)
    block = found.block(np.array([1, 3]))
    assert block.token_ids.tolist() == [1, 99, 100, 101, 2, 1, 103, 104, 2]
    assert block.text_ids.tolist() == [1, 3]
    assert block.has_loss.tolist() == found.has_loss[[1, 3]].tolist()
    chosen = found.sample.filter(pl.col("text_id").is_in([1, 3]))
    assert block.sampled_positions.tolist() == chosen["position"].to_list()
    assert [[1, 3][row] for row in block.sampled_rows] == chosen["text_id"].to_list()
    check = found.block(np.array([1]), is_check=True)
    assert not check.has_loss.any()
    assert not len(check.sampled_rows)


def test_blocks_are_those_of_any_rows():
    found = run(["ab", "cde", "f", "ghij", "kl"], sample=TokenSample(per_text=3))
    whole = found.block(np.arange(5))
    for rows in ([0], [4], [1, 2], [0, 3, 4], [2]):
        block = found.block(np.array(rows))
        is_chosen = np.isin(whole.sampled_rows, rows)
        assert np.array(rows)[block.sampled_rows].tolist() == whole.sampled_rows[is_chosen].tolist()
        assert block.sampled_positions.tolist() == whole.sampled_positions[is_chosen].tolist()
        assert block.sampled_lengths.tolist() == whole.sampled_lengths[is_chosen].tolist()
        assert block.token_ids.tolist() == [
            token for row in rows for token in whole.token_ids[whole.offsets[row] : whole.offsets[row + 1]]
        ]


def test_the_corpus_is_gone_through_once_however_many_blocks_there_are(monkeypatch):
    found, calls = run(["ab", "cde", "f", "gh"]), []
    for owner, name in ((pl.Series, "replace_strict"), (np, "searchsorted")):
        original = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *args, original=original, name=name, **rest: calls.append(name) or original(*args, **rest)
        )
    for row in range(4):
        block = found.block(np.array([row]))
        assert len(block.sampled_rows) == min(2, len(block.token_ids) - 2)
    assert sorted(calls) == ["replace_strict", "searchsorted", "searchsorted"]


def test_what_was_tokenised_last_is_remembered():
    class Counting(LetterTokenizer):
        calls = 0

        def encode(self, texts, **how):
            Counting.calls += 1
            return super().encode(texts, **how)

    cache, corpus = TokenCache(), corpus_of(["ab", "cde"])
    rules = TokenRules(8, "truncate", "pool", TokenSample(per_text=2))
    first = cache.tokenise(corpus, Counting(), rules)
    assert cache.tokenise(corpus, Counting(), rules) is first
    assert Counting.calls == 1
    for other in (
        cache.tokenise(corpus_of(["ab", "xyz"]), Counting(), rules),
        cache.tokenise(corpus, Counting(), TokenRules(3, "truncate", "pool", TokenSample(per_text=2))),
    ):
        assert other.tokens.ids.tolist() != first.tokens.ids.tolist()
    with pytest.raises(CorpusError):
        cache.tokenise(corpus, Counting(), TokenRules(1, "error", "pool", TokenSample(per_text=2)))
    assert cache.tokenise(corpus, Counting(), rules).tokens.ids.tolist() == first.tokens.ids.tolist()
