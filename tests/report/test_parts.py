"""The queries of the report: they say what the tables hold, whatever the checkpoints are called."""

import pytest

from actlas.explore.view import Part
from actlas.query.atlas import open_store
from actlas.report import parts
from actlas.testing.planted import Planting, planted_store

PARTS = [part for part in vars(parts).values() if isinstance(part, Part)]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_query_is_answered_and_its_picture_names_its_columns(part, shared_store, twinned_store):
    store = twinned_store if part.name.startswith("concepts") else shared_store
    params = {"level": 0.05, "label": None}
    frame = store.sql(part.sql, part.params(params))
    columns = [*part.picture.columns.values()] if part.picture else []
    named = {name for of in columns for name in ([of] if isinstance(of, str) else of)}
    assert named <= {*frame.columns, "store"}


def test_names_of_parts_are_their_own():
    assert len({part.name for part in PARTS}) == len(PARTS)


def test_checkpoints_of_one_step_are_told_apart_by_their_names(tmp_path):
    store = open_store(planted_store(tmp_path / "run.actlas", Planting(steps=(0, 64), sharing=(0, 1))))
    assert store.sql(parts.CHECKPOINTS.sql)["step"].to_list() == ["0", "64"]
    doubled = parts.CHECKPOINTS.sql.replace("FROM checkpoints", "FROM (SELECT * REPLACE (7 AS step) FROM checkpoints)")
    assert store.sql(doubled)["step"].to_list() == store.checkpoints
    unknown = parts.CHECKPOINTS.sql.replace("FROM checkpoints", "FROM (SELECT * REPLACE (NULL AS step) FROM checkpoints)")
    assert store.sql(unknown)["step"].to_list() == store.checkpoints


def test_pairs_of_languages_stand_on_both_sides_of_an_empty_diagonal(shared_store):
    frame = shared_store.sql(parts.PAIRS.sql)
    n = len(shared_store.corpus.languages)
    assert frame.height == n * n
    grid = frame.pivot("language_b", index="language_a", values="overlap").drop("language_a").to_numpy()
    assert (grid == grid.T).sum() == n * n - n
    table = shared_store.scan("overlap").filter(checkpoint="planted-step128", language_a="en", language_b="es").collect()
    found = frame.filter(language_a="en", language_b="es")["overlap"][0]
    assert found == pytest.approx(table["overlap"].mean())


def test_texts_are_the_first_draw_of_each_concept_whatever_came_of_it(shared_store):
    frame = shared_store.sql(parts.GENERATIONS.sql)
    assert frame["concept"].to_list() == sorted(shared_store.corpus.concepts)
    assert set(frame["seed"]) == {0}
    assert frame["none"].null_count() == 0
    assert frame["next"].null_count() == frame.height


def test_concepts_are_in_order_of_what_lies_above_their_null(twinned_store):
    frame = twinned_store.sql(parts.CONCEPTS.sql)
    assert set(frame["step"]) == {"128"}
    assert frame["excess"].is_sorted(descending=True)
    assert (frame["overlap"] - frame["null"] - frame["excess"]).abs().max() < 1e-12


def test_a_part_that_needs_a_place_keeps_steps_in_order(shared_store):
    frame = shared_store.sql(parts.PROBE.sql, {"label": "language"})
    assert frame["step"].unique(maintain_order=True).to_list() == ["0", "64", "128"]
    assert frame["place"].unique(maintain_order=True).to_list() == ["embed", "resid 0", "resid 1"]
    assert shared_store.sql(parts.PROBE.sql, {"label": "no such"}).is_empty()
