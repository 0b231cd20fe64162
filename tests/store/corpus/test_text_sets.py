import numpy as np
import polars as pl
import pytest

from actlas.store import corpus_from_frames
from actlas.store.corpus.text_sets import has_answer, sets_frame

TEXTS = pl.DataFrame({"text": list("abcdefg"), "language": ["en"] * 4 + ["es"] * 3})
LABELS = {
    # text_id -> is_concept; texts without a label take no part
    "fire": {0: True, 1: False, 2: False, 3: True, 4: True, 5: False, 6: False},
    "salt": {0: False, 1: True, 2: True, 3: False, 4: True, 5: True, 6: True},
    "water": {0: True, 1: False, 2: False, 5: True, 6: False},
}


def corpus():
    rows = [(text, concept, label) for concept, labels in LABELS.items() for text, label in labels.items()]
    return corpus_from_frames(TEXTS, pl.DataFrame(rows, schema=["text_id", "concept", "is_concept"], orient="row"))


def test_positives_of_each_concept_then_the_members_that_concepts_share():
    english, spanish = corpus().text_sets
    assert english.concepts == ("fire", "salt", "water")
    assert english.member_set.tolist() == [0, 0, 1]
    assert english.n_texts.tolist() == [2, 2, 1, 4, 3]
    assert (english.first, english.n_sets, spanish.first) == (0, 5, 5)
    # every Spanish text is about salt: nothing to tell apart
    assert spanish.concepts == ("fire", "water")
    assert spanish.n_texts.tolist() == [1, 1, 3, 2]
    np.testing.assert_array_equal(spanish.is_member[:, 1], [False, True, True])


def test_the_table_says_what_each_set_is():
    frame = sets_frame(corpus().text_sets)
    assert frame["set"].to_list() == list(range(9))
    assert frame.filter(pl.col("concept") == "water").select("set", "language", "member_set", "n_texts").rows() == [
        (2, "en", 4, 1),
        (6, "es", 8, 1),
    ]
    members = frame.filter(pl.col("concept").is_null())
    assert members["set"].to_list() == members["member_set"].to_list() == [3, 4, 7, 8]


def test_the_sets_of_a_corpus_are_made_once():
    whole = corpus()
    assert whole.text_sets is whole.text_sets


def test_an_answer_needs_a_positive_and_a_negative_text_among_the_members():
    is_concept = np.array([[True, True, False, True], [False, True, False, True]])
    is_member = np.array([[True, True, True, True], [True, True, True, False]])
    assert has_answer(is_concept, is_member).tolist() == [True, False, False, False]


def test_a_corpus_says_which_concepts_have_an_answer_in_a_language():
    whole = corpus()
    assert whole.has_answer("en", "salt")
    assert not whole.has_answer("es", "salt")
    with pytest.raises(KeyError, match="no texts in language 'fr'"):
        whole.has_answer("fr", "salt")
    with pytest.raises(KeyError, match="no concept snow"):
        whole.has_answer("en", "snow")
