"""The contract of states: how large they are, and that a recipe says which there are."""

import numpy as np
import pytest

from actlas.errors import StateTooLarge
from actlas.names import Recipe
from actlas.store.states import StateKey
from tests.store.write.test_state_writer import CORPUS, NEURONS, RECIPE, plan


def test_a_key_is_a_file_name() -> None:
    assert StateKey("mlp_pre", 3, 1).name == "mlp_pre.3.1"


def test_a_plan_knows_what_its_states_take_in_memory() -> None:
    english = CORPUS.text_sets[0]
    # two concepts and the texts they are among: three sets, one count and three digits each
    assert english.n_sets == 3
    assert plan().state_bytes("mlp_pre", english.n_sets) == 3 * NEURONS * (1 + 3) * np.dtype(np.int64).itemsize
    assert plan().language_bytes(english) == 3 * plan().state_bytes("mlp_pre", 3) + 2 * plan().state_bytes("resid", 3)


def test_states_that_cannot_fit_are_refused() -> None:
    with pytest.raises(StateTooLarge, match=r"one layer of mlp_pre in en \(300 neurons, 2"):
        plan(1000).check(CORPUS.text_sets)


def test_a_recipe_with_states_is_read_as_it_was_written_and_others_are_what_they_were():
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE
    without = Recipe("c", "t", ("mlp_pre",))
    assert "states" not in without.to_json()
    assert Recipe.from_json(without.to_json()) == without
