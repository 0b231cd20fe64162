"""Random sets are like the set that they stand for, and no part of it; others are all but the own."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from actlas.intervene.effects.arms import arms, average, random_set
from actlas.intervene.sets import NeuronSet

WIDTHS = {"mlp_hidden": [12, 12], "attn_out": [4, 4]}


def set_of(language: str, places: list[tuple[str, int, int]], source: str = "lape") -> NeuronSet:
    frame = pl.DataFrame(
        [(*place, float(number)) for number, place in enumerate(places)],
        schema={"site": pl.String, "layer": pl.Int32, "neuron": pl.Int32, "value": pl.Float32},
        orient="row",
    )
    return NeuronSet(source, language, None, frame)


ONE = set_of("one", [("mlp_hidden", 0, 3), ("mlp_hidden", 0, 4), ("mlp_hidden", 1, 3), ("attn_out", 1, 0)])
TWO = set_of("two", [("mlp_hidden", 0, 4), ("mlp_hidden", 0, 5)])


def places(frame: pl.DataFrame) -> list[tuple[str, int, int]]:
    return frame.select("site", "layer", "neuron").rows()


def test_random_sets_have_the_layers_sites_and_values_of_the_set_and_none_of_its_neurons() -> None:
    drawn = [random_set(ONE, WIDTHS, 0, draw) for draw in range(1, 60)]
    for one in drawn:
        assert one.frame.select("site", "layer", "value").equals(ONE.frame.select("site", "layer", "value"))
        assert not set(places(one.frame)) & set(places(ONE.frame))
        assert len(set(places(one.frame))) == 4
    every = {place for one in drawn for place in places(one.frame)}
    assert every == {
        *(("mlp_hidden", 0, n) for n in range(12) if n not in (3, 4)),
        *(("mlp_hidden", 1, n) for n in range(12) if n != 3),
        *(("attn_out", 1, n) for n in (1, 2, 3)),
    }
    assert random_set(ONE, WIDTHS, 0, 7).frame.equals(drawn[6].frame)
    assert not random_set(ONE, WIDTHS, 1, 7).frame.equals(drawn[6].frame)


def test_a_set_of_most_of_a_layer_is_drawn_among_all_of_it() -> None:
    most = set_of("one", [("attn_out", 0, n) for n in range(3)])
    assert {n for draw in range(30) for _, _, n in places(random_set(most, WIDTHS, 0, draw).frame)} == {0, 1, 2, 3}


def test_every_set_comes_under_every_intervention_and_so_do_its_random_sets() -> None:
    found = list(arms([ONE, TWO], ["zero", "amplify"], WIDTHS, n_random=2, seed=0, strengths={"amplify": 3.0}))
    assert [(arm.neurons.language, arm.intervention, arm.draw, arm.strength) for arm in found] == [
        (language, what, draw, 3.0 if what == "amplify" else 1.0)
        for language in ("one", "two")
        for what in ("zero", "amplify")
        for draw in range(3)
    ]
    # the same random sets under every intervention
    assert found[1].neurons.frame.equals(found[4].neurons.frame)


def test_all_neurons_have_no_random_sets() -> None:
    every = set_of("one", [("attn_out", 0, n) for n in range(4)], source="all")
    assert [arm.draw for arm in arms([every], ["zero"], WIDTHS, n_random=3, seed=0, strengths={})] == [0]


def test_only_acts_on_the_neurons_that_other_languages_have_and_the_own_has_not() -> None:
    of_experts = set_of("two", [("attn_out", 0, 1)], source="experts")
    own, drawn, *_ = arms([ONE, TWO, of_experts], ["only"], WIDTHS, n_random=1, seed=0, strengths={})
    assert own.others is not None
    assert places(own.others) == [("mlp_hidden", 0, 5)]
    assert drawn.others is not None
    assert set(places(drawn.others)) == set(places(random_set(TWO, WIDTHS, 0, 1).frame)) - set(places(drawn.neurons.frame))


def test_languages_count_alike_in_the_mean() -> None:
    means = {name: {"mlp_hidden": np.full((2, 3), value)} for name, value in (("one", 1.0), ("two", 4.0))}
    assert average(means)["mlp_hidden"] == pytest.approx(np.full((2, 3), 2.5))
