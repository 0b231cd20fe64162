"""All ways to every answer agree, on stores that are made small; the tables show what was measured."""

from __future__ import annotations

import itertools

import pytest

import actlas
from benchmarks.bench_query import numpy_experts
from benchmarks.query_data import SCALES, average_precision, make, write_experts
from benchmarks.query_rows import Questions, kept_answers
from benchmarks.score_query_tables import query_brief, query_cold, query_making, query_warm

SCALE = SCALES["small"]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Questions:
    folder = tmp_path_factory.mktemp("query") / "small"
    make(folder, SCALE, tell=lambda _: None)
    store = actlas.open_store(folder / "scores.actlas", "a")
    for answer in kept_answers(store, SCALE.k).values():
        answer()
    actlas.language_neurons(folder / "values.actlas", keep=True)
    actlas.top_texts(actlas.open_store(folder / "values.actlas", "a"), sites=["mlp_out"], n=64)
    write_experts(folder, SCALE)
    return Questions(folder, SCALE)


def test_all_ways_to_an_answer_agree(questions: Questions) -> None:
    n_rows = {row.number: row.check() for row in questions.rows()}
    assert n_rows["1"] == SCALE.k
    assert n_rows["3"] == SCALE.n_checkpoints * SCALE.n_concepts * 21
    assert min(n_rows.values()) > 0


def test_an_answer_that_differs_is_not_timed(questions: Questions) -> None:
    row = questions.floor()
    row.arms["wrong"] = lambda: {"n": [2]}
    with pytest.raises(AssertionError, match="row 12: wrong has another answer"):
        row.check()


def test_numpy_ranks_the_same_experts(questions: Questions) -> None:
    found: dict[str, int] = {}
    exec("\n".join(numpy_experts(questions.folder, SCALE)), found)
    assert found["answer"] == questions.by_set.sum()


def test_the_numbers_are_the_same_every_time() -> None:
    for (one, first), (other, second) in itertools.islice(
        zip(average_precision(SCALE), average_precision(SCALE), strict=True), 2
    ):
        assert one == other
        assert (first == second).all()
        assert first.min() > 0
        assert first.max() < 1


def test_tables_name_the_fastest_ways_and_what_is_slow() -> None:
    settings = {"n_scores": 10, "n_neurons": 5, "concepts": 1, "languages": 1, "checkpoints": 2, "k": 1, "rounds": 2}
    settings |= {"bytes_per_score": 6.7, "bar": 0.4}
    warm = {"part": "warm", "question": "which", "n_rows": 3}
    ms = {"actlas SQL": [2.0, 4.0], "actlas Polars": [1.0, 2.0], "numpy": [4.0, 4.0], "pandas": [9.0, 9.0]}
    rows = [
        {**warm, "number": "1", "ms": ms},
        {**warm, "number": "2", "ms": {"actlas SQL": [150.0, 160.0]}},
        {"part": "cold", "number": "1", "question": "which", "arm": "actlas sql", "seconds": [0.5, 0.7]},
        {"part": "making", "what": "experts", "arm": "actlas", "seconds": 9.0, "peak_bytes": 2**20},
        {"part": "whole", "arm": "numpy", "seconds": 3.0, "peak_bytes": 2**21},
    ]
    result = {"settings": settings, "rows": rows}
    assert "| SQL 3.0, Polars 1.5 | numpy 4.0, pandas 9.0 | 0.38 (0.25 to 0.50) of numpy |" in query_warm(result)
    assert "Above 100 ms: row 2 (by the first way)." in query_warm(result)
    assert "| which | 3.0 | 1.5 (Polars) | 4.0 (numpy) |" in query_brief(result)
    assert "| 1 | which | actlas sql | 0.60 |" in query_cold(result)
    assert "| scores above 0.4, counted by checkpoint and concept | numpy | 3.0 | 2 MiB |" in query_making(result)
