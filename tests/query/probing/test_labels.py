"""What can be read off vectors: each label against a plain loop over texts."""

from __future__ import annotations

import numpy as np
import pytest

from actlas.errors import QueryError
from actlas.query import Atlas
from actlas.query.probing.labels import control_codes, labelled


def test_a_concept_is_that_of_the_text_and_texts_without_an_answer_are_left_out(scored: Atlas) -> None:
    table = scored.sampled_tokens
    of = labelled(scored.corpus, table, "concept:water")
    answers = {text_id: has for text_id, concept, has in scored.corpus.labels.iter_rows() if concept == "water"}
    assert of.names == ("not water", "water")
    rows = [row for row, text_id in enumerate(table["text_id"]) if text_id in answers]
    assert of.rows.tolist() == rows
    assert of.codes.tolist() == [int(answers[table["text_id"][row]]) for row in rows]


def test_one_of_all_concepts_is_read_off_texts_that_express_exactly_one(scored: Atlas) -> None:
    texts = scored.corpus.texts
    of = labelled(scored.corpus, texts, "concept")
    expressed: dict[int, list[str]] = {}
    for text_id, concept, has in scored.corpus.labels.iter_rows():
        expressed.setdefault(text_id, []).extend([concept] * has)
    alone = {text_id: names[0] for text_id, names in expressed.items() if len(names) == 1}
    assert texts["text_id"].gather(of.rows).to_list() == [text_id for text_id in texts["text_id"] if text_id in alone]
    assert [of.names[code] for code in of.codes] == [alone[text_id] for text_id in texts["text_id"].gather(of.rows)]


def test_a_split_cuts_no_meaning_and_where_that_is_the_label_no_language(scored: Atlas) -> None:
    texts = scored.corpus.texts
    by_meaning = labelled(scored.corpus, texts, "language")
    meanings: dict[str, set[int]] = {}
    for meaning, group in zip(texts["parallel_id"].gather(by_meaning.rows), by_meaning.groups, strict=True):
        if meaning is not None:
            meanings.setdefault(meaning, set()).add(int(group))
    assert all(len(groups) == 1 for groups in meanings.values())
    of = labelled(scored.corpus, texts, "parallel_id")
    assert of.grouped_by == "languages"
    assert len(set(zip(of.groups.tolist(), of.languages.tolist(), strict=True))) == len(scored.corpus.languages)


def test_what_is_no_label_is_told(scored: Atlas) -> None:
    with pytest.raises(QueryError, match="watr"):
        labelled(scored.corpus, scored.corpus.texts, "concept:watr")
    with pytest.raises(QueryError, match="no label 'colour'.*concept:NAME"):
        labelled(scored.corpus, scored.corpus.texts, "colour")


def test_a_control_label_is_one_per_kind_of_token_and_another_for_another_seed(scored: Atlas) -> None:
    table = scored.sampled_tokens
    of = labelled(scored.corpus, table, "language")
    codes = control_codes(table, of, 0)
    by_token: dict[int, set[int]] = {}
    for token, code in zip(table["token_id"].gather(of.rows), codes, strict=True):
        by_token.setdefault(token, set()).add(int(code))
    assert all(len(own) == 1 for own in by_token.values())
    assert len(by_token) > 1
    assert set(codes.tolist()) <= set(range(3))
    assert np.array_equal(codes, control_codes(table, of, 0))
    assert not np.array_equal(codes, control_codes(table, of, 1))
