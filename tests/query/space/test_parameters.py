"""How weights move, told from sketches, beside the weights themselves."""

import numpy as np
import polars as pl
import pytest

from actlas.kernels.sketch import SKETCH_ERROR
from actlas.names import Checkpoint
from actlas.query import open_store, parameter_space
from actlas.testing.planted import Planting, planted_store, planted_weights

PLANTING = Planting(
    languages=("en", "es"), concepts=("salt", "water"), n_groups=8, sites={"mlp_pre": (1, 8)}, token_sites={}, has_twin=True
)
NAME = "h.1.up.weight"


@pytest.fixture(scope="module")
def space_store(tmp_path_factory):
    return planted_store(tmp_path_factory.mktemp("space") / "s", PLANTING)


def test_distances_and_cosines_are_those_of_the_weights_up_to_the_stated_error(space_store):
    rows = {row["checkpoint"]: row for row in parameter_space(space_store).filter(module=NAME).iter_rows(named=True)}
    exact = {f"planted-step{step}": planted_weights(PLANTING, step)[NAME].astype(np.float64) for step in PLANTING.steps}
    assert [rows[name]["previous"] for name in exact] == [None, *list(exact)[:-1]]
    for name, weights in exact.items():
        row = rows[name]
        assert row["norm"] == pytest.approx(np.linalg.norm(weights), rel=1e-12)
        assert row["relative_error"] == SKETCH_ERROR
        for word in ("previous", "last"):
            other = exact.get(row[word])
            if other is None:
                assert row[f"distance_{word}"] is row[f"cosine_{word}"] is None
                continue
            distance = np.linalg.norm(weights - other)
            assert row[f"distance_{word}"] == pytest.approx(distance, rel=6 * SKETCH_ERROR)
            assert row[f"change_{word}"] == pytest.approx(row[f"distance_{word}"] / np.linalg.norm(other))
            cosine = (weights * other).sum() / np.linalg.norm(weights) / np.linalg.norm(other)
            assert 1 - row[f"cosine_{word}"] == pytest.approx(1 - cosine, rel=13 * SKETCH_ERROR, abs=1e-12)
    assert rows["planted-step128"]["distance_last"] == 0
    assert rows["planted-step128"]["cosine_last"] == 1


def test_two_named_checkpoints_are_a_pair(space_store):
    rows = parameter_space(space_store, checkpoints=["planted-step0", "planted-step128"]).filter(module=NAME)
    assert rows.select("checkpoint", "previous").rows() == [("planted-step0", None), ("planted-step128", "planted-step0")]
    first, last = rows["distance_last"][0], rows["distance_previous"][1]
    assert first == last > 0


def test_the_function_and_the_table_are_the_same_rows(space_store):
    assert parameter_space(space_store).equals(open_store(space_store).sql("SELECT * FROM parameter_space"))
    assert parameter_space(space_store).equals(open_store(space_store).scan("parameter_space").collect())


def test_vectors_have_a_norm_and_no_distance(space_store):
    (row,) = parameter_space(space_store, checkpoints=["planted-step64"]).filter(module="h.0.norm.weight").iter_rows(named=True)
    assert row["norm"] == 8
    assert row["distance_last"] is row["stable_rank"] is row["relative_error"] is None


def test_a_control_is_no_step_of_the_path(space_store):
    space = parameter_space(space_store).filter(module=NAME)
    twin = space.filter(checkpoint=Checkpoint("planted-random0", "planted").id)
    assert twin.select("previous", "last").rows() == [(None, "planted-step128")]
    assert (twin["distance_last"] > 0).all()
    assert space.filter(pl.col("previous") == "planted-random0").is_empty()
