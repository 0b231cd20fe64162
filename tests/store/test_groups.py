from __future__ import annotations

import numpy as np

from actlas.store import layout
from actlas.store.groups import NO_TEXT, ArrayGroup, count_group, cube_group, score_group, state_group, token_group


def coordinates(group: ArrayGroup) -> dict[str, tuple[str, list[object]]]:
    return {one.name: (one.dim, one.values.tolist()) for one in group.coordinates}


def test_a_cube_has_the_ids_of_its_texts_also_where_they_have_gaps() -> None:
    group = cube_group("cubes/c/s.max", layout.cube_plan(2, 3, 4, 2, "bfloat16"), np.array([0, 2, 3, 9]))
    assert coordinates(group) == {
        "layer": ("layer", [0, 1]),
        "neuron": ("neuron", [0, 1, 2]),
        "text_id": ("text", [0, 2, 3, 9]),
    }
    assert group.attributes_of("value") == {"coordinates": "text_id", "logical_dtype": "bfloat16"}
    assert {one.name: one.chunk for one in group.coordinates} == {"layer": 2, "neuron": 3, "text_id": 2}


def test_rows_that_no_token_owns_have_no_text() -> None:
    plan = layout.token_plan(1, 2, n_blocks=2, block_tokens=3, dtype="float16")
    group = token_group("tokens/c/s", plan, np.array([0, 1, 3]), np.array([5, 5, 8]))
    assert coordinates(group)["text_id"] == ("token", [5, 5, NO_TEXT, 8, NO_TEXT, NO_TEXT])


def test_counts_name_thresholds_only_where_there_are_several() -> None:
    one = count_group("counts/c/s", layout.count_plan(2, 1, 3), ["en", "es"], [0.0])
    several = count_group("counts/c/s", layout.count_plan(2, 1, 3, n_thresholds=2), ["en", "es"], [0.0, 0.5])
    assert coordinates(one)["language"] == coordinates(several)["language"] == ("language", ["en", "es"])
    assert "threshold" not in coordinates(one)
    assert coordinates(several)["threshold"] == ("threshold", [0.0, 0.5])


def test_scores_name_languages_and_concepts() -> None:
    plans = {stat: layout.score_plan(1, 2, 1, 3, stat) for stat in ("ap", "mean")}
    group = score_group("scores/c/s.max", plans, ["en"], ["salt", "water"])
    assert coordinates(group)["concept"] == ("concept", ["salt", "water"])
    assert "coordinates" not in group.attributes_of("ap")


def test_a_dimension_has_one_size_in_a_group_of_states() -> None:
    group = state_group("states/c/s.max", {name: layout.state_array_plan(name, 4, 2, 3) for name in layout.STATE_ARRAYS})
    sizes: dict[str, set[int]] = {}
    for plan in group.arrays.values():
        for dim, size in zip(plan.dims, plan.shape, strict=True):
            sizes.setdefault(dim, set()).add(size)
    assert all(len(known) == 1 for known in sizes.values())
    assert coordinates(group) == {"set": ("set", [0, 1, 2, 3]), "layer": ("layer", [0, 1]), "neuron": ("neuron", [0, 1, 2])}
