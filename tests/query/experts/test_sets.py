from __future__ import annotations

import numpy as np

from actlas.query import Atlas
from actlas.query.choices import Ranking
from actlas.query.experts.ranked import expert_sets
from actlas.query.experts.sets import sets_of_rows


def test_a_table_of_experts_is_read_back_as_the_sets_that_it_was_made_of(scored: Atlas) -> None:
    sets = expert_sets(scored, "planted-step64", Ranking(4))
    again = sets_of_rows(sets.frame(), sets.checkpoint, sets.axis, sets.languages, sets.concepts, 4)
    np.testing.assert_array_equal(again.neurons, sets.neurons)
    np.testing.assert_array_equal(again.ap, sets.ap)
    assert (sets.best(2).neurons == sets.neurons[:, :, :2]).all()
