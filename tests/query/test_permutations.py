"""Labels that move among meanings: numbers are kept, translations stay together, and every permutation is as likely."""

from __future__ import annotations

from collections import Counter

import numpy as np

from actlas.query import Atlas
from actlas.query.permutations import Meanings

EN, ES = np.arange(6), np.array([5, 4, 3, 0, 1, 2])


def meanings_of(**of_text: list[int]) -> Meanings:
    """Meanings with classes as a store would give them."""
    parts = {language: np.array(own) for language, own in of_text.items()}
    n = 1 + max(own.max() for own in parts.values())
    counts = np.stack([np.bincount(own, minlength=n) for own in parts.values()], axis=1)
    return Meanings(parts, np.unique(counts, axis=0, return_inverse=True)[1].reshape(-1))


def test_translations_take_their_labels_from_one_meaning() -> None:
    meanings = meanings_of(en=list(EN), es=list(ES))
    for seed in range(20):
        orders = meanings.permutation(np.random.default_rng(seed))
        assert sorted(orders["en"]) == sorted(orders["es"]) == list(range(6))
        taken = dict(zip(EN.tolist(), EN[orders["en"]].tolist(), strict=True))
        assert dict(zip(ES.tolist(), ES[orders["es"]].tolist(), strict=True)) == taken


def test_every_permutation_is_as_likely() -> None:
    meanings = meanings_of(en=[0, 1, 2], es=[2, 1, 0])
    drawn = Counter(tuple(meanings.permutation(np.random.default_rng(seed))["en"].tolist()) for seed in range(3000))
    assert len(drawn) == 6
    assert all(abs(count - 500) < 5 * np.sqrt(500 * 5 / 6) for count in drawn.values())


def test_labels_move_only_where_the_same_languages_have_them() -> None:
    # 0 to 2 in both, 3 and 4 in English alone, 5 twice in Spanish
    meanings = meanings_of(en=[0, 1, 2, 3, 4], es=[5, 0, 1, 2, 5])
    for seed in range(20):
        orders = meanings.permutation(np.random.default_rng(seed))
        assert set(orders["en"][:3]) == {0, 1, 2}
        assert set(orders["en"][3:]) == {3, 4}
        assert orders["es"][[0, 4]].tolist() == [0, 4]
    assert meanings.share_moving == 8 / 10
    assert meanings.are_shared
    assert not meanings_of(en=[0, 1], es=[2, 3]).are_shared


def test_meanings_of_a_store(scored: Atlas) -> None:
    meanings = Meanings.of(scored, ["es", "en"])
    orders = meanings.permutation(np.random.default_rng(0))
    texts = {language: scored.corpus.texts.filter(language=language)["parallel_id"].to_list() for language in orders}
    taken = {language: {own: texts[language][row] for own, row in zip(texts[language], orders[language], strict=True) if own}
             for language in orders}  # fmt: skip
    assert taken["en"] == taken["es"]
    assert meanings.share_moving == 1
    # the last two of each language stand alone, and move in their language
    assert set(orders["en"][-2:]) == {46, 47}
