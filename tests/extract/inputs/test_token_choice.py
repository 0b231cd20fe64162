import numpy as np
import polars as pl
import pytest

from actlas.errors import CorpusError, ExtractionError
from actlas.extract.inputs.token_choice import choose_tokens
from actlas.names import TokenSample
from actlas.store.corpus.corpus import corpus_from_frames
from actlas.store.values import TokenIds

TEXTS = ["una gota de agua", "sal"]
# <s> u na _gota _de _ag ua </s> | <s> sal </s>, where tokens begin with the space before a word
PLACES = [(0, 0), (0, 1), (1, 3), (3, 8), (8, 11), (11, 14), (14, 16), (0, 0), (0, 0), (0, 3), (0, 0)]
SPECIAL = np.array([1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1], dtype=bool)
TOKENS = TokenIds(np.arange(20, 31, dtype=np.int32), np.array([0, 8, 11]))
NO_LABELS = pl.DataFrame(schema={"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean})


def choose(choice, places=PLACES, is_cut=None, **columns):
    frame = pl.DataFrame({"text": TEXTS, "language": ["es", "es"], **columns})
    corpus = corpus_from_frames(frame, NO_LABELS)
    return choose_tokens(corpus, TOKENS, SPECIAL, np.array(places), TokenSample(choice=choice), is_cut)


def test_all_tokens_but_the_special_ones():
    table = choose("all")
    assert table["surface"].to_list() == ["u", "na", " gota", " de", " ag", "ua", "sal"]
    assert table["position"].to_list() == [1, 2, 3, 4, 5, 6, 1]
    assert table["token_id"].to_list() == [21, 22, 23, 24, 25, 26, 29]
    assert set(table["n_tokens"]) == {1}
    assert table["word"].to_list() == [0, 0, 1, 2, 3, 3, 0]
    assert table["span"].null_count() == 7


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


def test_places_of_a_span_come_as_pandas_keeps_them():
    for start, end in (([4.0, float("nan")], [16.0, float("nan")]), ([4.0, None], [16.0, None])):
        table = choose("span", span_start=start, span_end=end)
        assert table.select("text_id", "position", "surface").rows() == [(0, 6, "ua")]
    for start in ([4.5, None], [float("inf"), None], ["four", None], [[4], None], [True, None]):
        with pytest.raises(CorpusError, match="a span needs whole numbers of characters"):
            choose("span", span_start=start, span_end=[16, None])


def test_several_spans_of_a_text_each_by_its_name():
    table = choose(
        "span", what_start=[4, 0], what_end=[8, 3], of_start=[9, None], of_end=[16, None], whole_start=[0, 0], whole_end=[16, 3]
    )
    columns = ["text_id", "position", "surface", "word", "span"]
    assert table.select(columns).rows() == [
        (0, 3, " gota", 1, "what"),
        (0, 6, "ua", 3, "of"),
        (0, 6, "ua", 3, "whole"),
        (1, 1, "sal", 0, "what"),
        (1, 1, "sal", 0, "whole"),
    ]


def test_a_span_that_was_cut_off_has_no_last_token():
    spans = {"span_start": [4, 0], "span_end": [16, 3]}
    places = [*PLACES[:4], (8, 10), (0, 0), (0, 0), *PLACES[7:]]  # as if " de agua" had lost its end
    special = SPECIAL.copy()
    special[5:7] = True
    corpus = corpus_from_frames(pl.DataFrame({"text": TEXTS, "language": ["es", "es"], **spans}), NO_LABELS)
    for is_cut, expected in (([True, False], ["sal"]), ([False, False], [" d", "sal"])):
        table = choose_tokens(corpus, TOKENS, special, np.array(places), TokenSample(choice="span"), np.array(is_cut))
        assert table["surface"].to_list() == expected
    assert choose("span", is_cut=np.array([True, True]), **spans)["surface"].to_list() == ["ua", "sal"]


@pytest.mark.parametrize(("start", "end"), [(8, 4), (4, 4), (4, 17), (-2, 4), (4, None), (None, 4)])
def test_a_span_outside_of_its_text_is_refused(start, end):
    with pytest.raises(CorpusError, match=r"span x of text 0 is \[.*\] and its text has 16 characters"):
        choose("span", x_start=[start, 0], x_end=[end, 3])


def test_a_span_in_other_units_than_characters_is_refused():
    with pytest.raises(CorpusError, match="column x_start of the corpus holds String"):
        choose("span", x_start=["4", "0"], x_end=[8, 3])


def test_blanks_before_the_first_word_go_with_it():
    frame = pl.DataFrame({"text": ["  sal y", "agua"], "language": ["es", "es"]})
    corpus = corpus_from_frames(frame, NO_LABELS)
    tokens = TokenIds(np.arange(4, dtype=np.int32), np.array([0, 3, 4]))
    places = np.array([(0, 2), (2, 5), (5, 7), (0, 4)])
    for choice, words in (("all", [0, 0, 1, 0]), ("word", [0, 1, 0])):
        table = choose_tokens(corpus, tokens, np.zeros(4, bool), places, TokenSample(choice=choice))
        assert table["word"].to_list() == words
    assert table["surface"].to_list() == ["  sal", " y", "agua"]


def test_spans_need_columns_and_places():
    with pytest.raises(CorpusError, match="needs columns NAME_start and NAME_end in the corpus, .* it has text_id, text"):
        choose("span")
    for choice in ("span", "word"):
        with pytest.raises(ExtractionError, match="needs a tokenizer that says where"):
            choose(choice, places=[(-1, -1)] * 11, span_start=[0, 0], span_end=[1, 1])
    assert choose("all", places=[(-1, -1)] * 11)["surface"].null_count() == 7
    assert choose("all", places=[(-1, -1)] * 11)["word"].null_count() == 7


def test_a_choice_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="choose one of sample, all, span, word"):
        TokenSample(choice="some")
