"""The texts that losses are taken on are those of the store, as its own run tokenised them."""

from __future__ import annotations

import pytest

from actlas.errors import QueryError
from actlas.intervene.effects.texts import loss_texts
from actlas.query import Atlas

from .conftest import LETTERS, SPECIAL


def words(batches) -> list[str]:
    letters = "".join(LETTERS.values())
    rows = [batch.token_ids[row][batch.is_token[row]] for batch in batches for row in range(len(batch.token_ids))]
    return ["".join(letters[token - len(SPECIAL)] for token in row) for row in rows]


def test_tokens_are_those_of_the_texts_and_ids_say_which(store: Atlas) -> None:
    texts = loss_texts(store, None, 100, None, 0, tokens_per_batch=32)
    by_id = dict(store.corpus.texts.select("text_id", "text").rows())
    for language, batches in texts.batches.items():
        assert words(batches) == [by_id[text_id] for text_id in texts.text_ids[language]]
        assert sorted(texts.text_ids[language]) == store.corpus.texts.filter(language=language)["text_id"].to_list()
        assert len(batches) > 1
        assert all(batch.token_ids.size <= 32 for batch in batches)


def test_a_draw_follows_from_its_seed_and_stays_in_its_split(store: Atlas) -> None:
    one, same, other = (loss_texts(store, ["two"], 2, "train", seed, 99).text_ids for seed in (1, 1, 2))
    assert one == same != other
    assert {language: len(ids) for language, ids in one.items()} == {"two": 2}
    split = dict(store.corpus.texts.select("text_id", "split").rows())
    assert {split[text_id] for text_id in one["two"]} == {"train"}
    with pytest.raises(QueryError, match=r"in split dev \(splits: test, train\)"):
        loss_texts(store, None, 2, "dev", 0, 99)
    with pytest.raises(QueryError, match="no language 'three'"):
        loss_texts(store, ["three"], 2, None, 0, 99)
