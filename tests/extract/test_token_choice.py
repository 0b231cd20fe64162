import numpy as np
import polars as pl
import pytest

from actlas.errors import CorpusError, ExtractionError
from actlas.extract.token_choice import choose_tokens
from actlas.names import TokenSample
from actlas.store.corpus import corpus_from_frames
from actlas.store.writer import TokenIds

TEXTS = ["una gota de agua", "sal"]
# <s> u na _gota _de _ag ua </s> | <s> sal </s>, where tokens begin with the space before a word
PLACES = [(0, 0), (0, 1), (1, 3), (3, 8), (8, 11), (11, 14), (14, 16), (0, 0), (0, 0), (0, 3), (0, 0)]
SPECIAL = np.array([1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1], dtype=bool)
TOKENS = TokenIds(np.arange(20, 31, dtype=np.int32), np.array([0, 8, 11]))
NO_LABELS = pl.DataFrame(schema={"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean})


def choose(choice, places=PLACES, **columns):
    frame = pl.DataFrame({"text": TEXTS, "language": ["es", "es"], **columns})
    corpus = corpus_from_frames(frame, NO_LABELS)
    return choose_tokens(corpus, TOKENS, SPECIAL, np.array(places), TokenSample(choice=choice))


def test_all_tokens_but_the_special_ones():
    table = choose("all")
    assert table["surface"].to_list() == ["u", "na", " gota", " de", " ag", "ua", "sal"]
    assert table["position"].to_list() == [1, 2, 3, 4, 5, 6, 1]
    assert table["token_id"].to_list() == [21, 22, 23, 24, 25, 26, 29]
    assert set(table["n_tokens"]) == {1}


def test_words_are_the_mean_of_their_tokens():
    table = choose("word")
    assert [surface.strip() for surface in table["surface"]] == ["una", "gota", "de", "agua", "sal"]
    assert table["n_tokens"].to_list() == [2, 1, 1, 2, 1]
    assert table["position"].to_list() == [1, 3, 4, 5, 1]
    assert table["word"].to_list() == [0, 1, 2, 3, 0]


def test_the_last_token_of_a_marked_span():
    table = choose("span", span_start=[4, None], span_end=[16, None])
    assert table.select("text_id", "position", "surface").rows() == [(0, 6, "ua")]
    table = choose("span", span_start=[4, 0], span_end=[8, 3])
    assert table["surface"].to_list() == [" gota", "sal"]
    assert choose("span", span_start=[None, None], span_end=[None, None]).height == 0


def test_spans_need_columns_and_places():
    with pytest.raises(CorpusError, match="needs columns span_start and span_end in the corpus"):
        choose("span")
    for choice in ("span", "word"):
        with pytest.raises(ExtractionError, match="needs a tokenizer that says where"):
            choose(choice, places=[(-1, -1)] * 11, span_start=[0, 0], span_end=[1, 1])
    assert choose("all", places=[(-1, -1)] * 11)["surface"].null_count() == 7


def test_a_choice_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="choose one of sample, all, span, word"):
        TokenSample(choice="some")
