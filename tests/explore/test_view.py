"""What a view gives those that show it: choices of their kinds, answers that JSON can hold, refusals in one line."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path

import polars as pl
import pytest

from actlas.errors import NameNotFound, QueryError, TableNotFound
from actlas.explore.view import Choice, Part, View, answer, as_answer, chosen, describe, filled, picture
from actlas.query import Atlas, open_store
from actlas.testing import Planting, planted_store

CONCEPTS = "SELECT concept FROM labels GROUP BY concept ORDER BY min(text_id), concept"
VIEW = View(
    "texts",
    "Texts of a concept",
    (
        Choice("concept", "Concept", CONCEPTS),
        Choice("language", "Language", "SELECT language FROM label_counts WHERE concept = $concept ORDER BY 1", ("concept",)),
        Choice("most", "At most", "SELECT unnest([3, 5])", kind=int),
        Choice("word", "Word", ""),
    ),
    (
        Part(
            "texts",
            "Texts",
            "SELECT text_id, text FROM texts JOIN labels USING (text_id) WHERE concept = $concept AND is_concept "
            "AND language = $language AND contains(text, $word) ORDER BY text_id LIMIT $most",
            picture("texts", text="text", value="text_id"),
            links={"text_id": "text?id={text_id}"},
        ),
        Part("experts", "Experts", "FROM experts"),
    ),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    path = planted_store(tmp_path_factory.mktemp("views") / "store.actlas", Planting(n_groups=24))
    return open_store(Path(path))


def test_what_is_not_chosen_is_the_first_that_can_be(store: Atlas) -> None:
    described = describe(VIEW, {}, store.sql)
    concepts = store.sql(CONCEPTS).to_series().to_list()
    assert described["params"] == {"concept": concepts[0], "language": "en", "most": 3, "word": ""}
    first = {"name": "concept", "label": "Concept", "values": concepts, "is_free": False, "needs": []}
    assert described["choices"][0] == first
    assert described["choices"][1]["needs"] == ["concept"]
    assert described["choices"][3]["is_free"]
    assert chosen(VIEW, {}, store.sql) == described["params"]


def test_values_of_an_address_have_the_kind_of_their_choice(store: Atlas) -> None:
    assert chosen(VIEW, {"most": "5"}, store.sql)["most"] == 5
    for text in ("five", "5.5", "1e3"):
        with pytest.raises(QueryError, match="at most must be a whole number"):
            chosen(VIEW, {"most": text}, store.sql)


def test_a_choice_is_asked_otherwise_where_a_table_is_missing(store: Atlas) -> None:
    language = Choice("language", "Language", "SELECT language FROM languages ORDER BY position")
    best = "SELECT concept FROM experts WHERE language = $language ORDER BY rank"
    concept = Choice("concept", "Concept", best, ("language",), otherwise="SELECT unnest(['salt', 'fire'])")
    assert chosen(View("v", "V", (language, concept), ()), {}, store.sql)["concept"] == "salt"
    alone = Choice("concept", "Concept", best, ("language",))
    with pytest.raises(TableNotFound):
        chosen(View("v", "V", (language, alone), ()), {}, store.sql)


def test_what_cannot_be_chosen_is_refused_with_the_nearest(store: Atlas) -> None:
    with pytest.raises(QueryError, match="no language 'enn' in the store; did you mean 'en'"):
        describe(VIEW, {"language": "enn"}, store.sql)
    with pytest.raises(QueryError, match="no choice 'concpt' in view texts; did you mean 'concept'"):
        describe(VIEW, {"concpt": "x"}, store.sql)
    with pytest.raises(NameNotFound, match="no table 'text' in view texts; did you mean 'texts'"):
        VIEW.part("text")


def test_the_query_beneath_a_table_gives_the_same_rows(store: Atlas) -> None:
    params = chosen(VIEW, {"most": "5"}, store.sql)
    part = VIEW.part("texts")
    shown = answer(part, params, store.sql)
    (described, _) = describe(VIEW, {"most": "5"}, store.sql)["parts"]
    again = as_answer(store.sql(described["sql"]))
    assert shown["n_rows"] == 5
    assert shown == again
    assert described["picture"] == {"kind": "texts", "text": "text", "value": "text_id"}


def test_a_table_that_was_not_computed_is_a_line(store: Atlas) -> None:
    said = answer(VIEW.part("experts"), {}, store.sql)
    assert said["error"]["kind"] == "TableNotFound"
    assert said["error"]["text"] == f"table experts was not computed yet: actlas experts {store.path}"
    assert "\n" not in said["error"]["text"]


def test_rows_beyond_the_most_are_counted() -> None:
    shown = as_answer(pl.DataFrame({"n": range(10)}), most=4)
    assert (shown["values"], shown["n_rows"], shown["is_whole"]) == ([[0, 1, 2, 3]], 10, False)


def test_answers_are_what_json_can_hold() -> None:
    frame = pl.DataFrame(
        {
            "number": [0.5, math.nan, math.inf],
            "whole": [2**53 - 1, 2**53, -(2**60)],
            "list": [[1.0, math.nan], None, []],
            "struct": [{"a": b"\x00\xff"}] * 3,
            "day": [datetime.date(2024, 2, 29)] * 3,
            "flag": [True, False, None],
        }
    )
    shown = as_answer(frame)
    text = json.dumps(shown, allow_nan=False)
    assert json.loads(text)["values"] == [
        [0.5, None, None],
        [2**53 - 1, str(2**53), str(-(2**60))],
        [[1.0, None], None, []],
        [{"a": "00ff"}] * 3,
        ["2024-02-29"] * 3,
        [True, False, None],
    ]


def test_values_are_written_as_sql_reads_them(store: Atlas) -> None:
    params = {"a": "it's $b; --", "b": 7, "c": 0.1, "d": None}
    asked = "SELECT $a AS a, $b AS b, $c::DOUBLE AS c, $d AS d"
    assert store.sql(filled(asked, params)).row(0) == ("it's $b; --", 7, 0.1, None)
