"""Which texts a model is tried on."""

import numpy as np
import pytest

from actlas.extract.inputs.text_choice import choose_texts


@pytest.mark.parametrize("seed", range(5))
def test_the_longest_text_and_every_language_are_there(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 100, 500)
    # one language has a single text, another short ones only
    language = np.sort(rng.integers(1, 8, 500))
    language[0] = 0
    lengths[language == 3] = rng.integers(1, 4, int((language == 3).sum()))
    chosen = choose_texts(lengths, language, 8, seed)
    assert len(set(chosen.tolist())) == 8
    assert (np.diff(chosen) > 0).all()
    assert set(language[chosen].tolist()) == set(range(8))
    assert lengths[chosen].max() == lengths.max()
    assert np.array_equal(chosen, choose_texts(lengths, language, 8, seed))


def test_lengths_are_spread_and_some_are_longer_than_a_block_of_keys_and_values():
    lengths = np.tile(np.arange(1, 101), 4)
    chosen = choose_texts(lengths, np.repeat(np.arange(4), 100), 8)
    quarters = np.unique(lengths[chosen] // 26)
    assert quarters.tolist() == [0, 1, 2, 3]
    assert (lengths[chosen] > 16).sum() >= 4


def test_more_languages_than_texts_take_the_longest_text_and_others():
    lengths = np.arange(1, 31)
    chosen = choose_texts(lengths, np.arange(30), 4)
    assert len(chosen) == 4
    assert 29 in chosen
    assert len({tuple(choose_texts(lengths, np.arange(30), 4, seed)) for seed in range(5)}) > 1


def test_all_texts_where_there_are_fewer_and_none_where_none_is_asked_for():
    assert choose_texts(np.array([3, 1]), np.array([0, 0]), 5).tolist() == [0, 1]
    assert choose_texts(np.array([3, 1]), np.array([0, 0]), 0).tolist() == []
    assert choose_texts(np.array([], dtype=int), np.array([], dtype=int), 3).tolist() == []
