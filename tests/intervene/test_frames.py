"""A frame that a model cannot be held to is refused before anything runs."""

from __future__ import annotations

import polars as pl
import pytest

from actlas.errors import InterventionError, NeuronNotFound, SiteNotProved, WeightsDiffer
from actlas.intervene.frames import checked

GOOD = {"site": ["mlp_pre", "embed"], "layer": [1, 0], "neuron": [39, 23], "value": [2.5, -1.0]}


def frame(**changes):
    return pl.DataFrame({**GOOD, **changes})


def test_a_good_frame_loses_what_says_nothing(live):
    given = frame(ap=[0.5, 0.6], weight_hash=[live.weight_hash] * 2)
    assert checked(given, live).to_dict(as_series=False) == GOOD
    assert checked(given.clear(), live).height == 0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"value": [float("nan"), 0.0]}, InterventionError, "1 rows .* NaN or infinity"),
        ({"value": [0.0, float("inf")]}, InterventionError, "NaN or infinity, the first one .'embed'"),
        ({"neuron": [None, 3]}, InterventionError, "an empty cell"),
        ({"neuron": ["many", "some"]}, InterventionError, "a frame holds site, layer, neuron and value"),
        (
            {"site": ["resid", "resid"], "layer": [0, 0], "neuron": [3, 3]},
            InterventionError,
            "2 rows .* site resid, layer 0, neuron 3",
        ),
        ({"neuron": [40, 0]}, NeuronNotFound, "no neuron 40 at site mlp_pre, layer 1; it has 0 to 39"),
        ({"neuron": [-1, 0]}, NeuronNotFound, "no neuron -1"),
        ({"layer": [2, 0]}, NeuronNotFound, "no layer 2 at site mlp_pre; it has 0 to 1"),
        ({"layer": [1, 1]}, NeuronNotFound, "no layer 1 at site embed"),
        ({"site": ["mlp_pre", "head"]}, SiteNotProved, "no proved site 'head'"),
        ({"weight_hash": ["b" * 32] * 2}, WeightsDiffer, "of weights bbbbbbbbbbbb, and tiny has"),
        ({"weight_hash": [None, None]}, WeightsDiffer, "of weights None"),
    ],
)
def test_another_one_is_refused(live, changes, error, message):
    with pytest.raises(error, match=message):
        checked(frame(**changes), live)


def test_a_column_that_is_missing(live):
    with pytest.raises(InterventionError, match="no column value; it has site, layer, neuron"):
        checked(frame().drop("value"), live)
