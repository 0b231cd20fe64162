"""Experts and controls of an arm are the neurons that their names say, set to statistics of the values that the store holds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from actlas.errors import QueryError
from actlas.intervene.generation.arms import ArmMaker, ForcedArm, other_concept
from actlas.intervene.generation.settings import Forcing
from actlas.names import ARMS
from actlas.query import Atlas, top_experts

CHECKPOINT = "tiny-step8"
PLACE = ["site", "layer", "neuron"]


def places(frame: pl.DataFrame) -> list[tuple[str, int, int]]:
    return frame.select(PLACE).rows()


def forced_arms(store: Atlas, checkpoint: str, language: str, concept: str, forcing: Forcing, names=ARMS) -> list[ForcedArm]:
    return ArmMaker(store, checkpoint, [language], [concept], forcing).make(concept, language, names)


def arms_of(store: Atlas, forcing: Forcing, concept: str = "salt", language: str = "de") -> dict[str, pl.DataFrame]:
    found = forced_arms(store, CHECKPOINT, language, concept, forcing)
    assert [arm.name for arm in found] == list(ARMS)
    return {arm.name: arm.frame for arm in found if arm.frame is not None}


def test_experts_are_those_of_the_question_with_its_medians(store: Atlas) -> None:
    best = top_experts(store, k=9, languages=["de"], concepts=["salt", "milk"])
    found = arms_of(store, Forcing(k=9, other="milk"))
    for arm, concept in (("experts", "salt"), ("other", "milk")):
        own = best.filter(concept=concept)
        assert places(found[arm]) == places(own)
        assert found[arm]["value"].to_list() == own["median"].to_list()
        assert found[arm]["weight_hash"].unique().to_list() == [store.checkpoint(CHECKPOINT)["weight_hash"]]


def test_the_next_ones_come_right_behind(store: Atlas) -> None:
    best = top_experts(store, k=24, languages=["de"], concepts=["salt"])
    assert places(arms_of(store, Forcing(k=8))["next"]) == places(best)[8:16]
    assert places(arms_of(store, Forcing(k=8, skip=16))["next"]) == places(best)[16:24]


def test_random_neurons_are_others_of_the_same_sites_and_layers(store: Atlas) -> None:
    first, second = (arms_of(store, Forcing(k=12, seed=seed)) for seed in (0, 1))
    counts = [frame.group_by("site", "layer").len().sort("site", "layer") for frame in (first["experts"], first["random"])]
    assert counts[0].equals(counts[1])
    assert not set(places(first["random"])) & set(places(first["experts"]))
    assert len(set(places(first["random"]))) == 12
    assert places(first["random"]) == places(arms_of(store, Forcing(k=12))["random"])
    assert places(first["random"]) != places(second["random"])


def test_experts_fill_up_where_a_layer_has_too_few_others(store: Atlas) -> None:
    # of 128 neurons in four places
    experts, drawn = forced_arms(store, CHECKPOINT, "de", "salt", Forcing(k=100), ["experts", "random"])
    found = {"experts": experts.frame, "random": drawn.frame}
    assert places(found["random"]) != places(found["experts"])
    for (site, layer), own in found["random"].group_by("site", "layer"):
        assert own.height == found["experts"].filter(site=site, layer=layer).height
        assert own["neuron"].n_unique() == own.height


@pytest.mark.parametrize("statistic", ["median", "p90", "mean", "max"])
def test_values_are_statistics_over_the_positives(store: Atlas, statistic: str) -> None:
    quantile = {"median": 0.5, "p90": 0.9, "max": 1.0}
    is_concept, is_member = store.corpus.concept_matrix("de", ["salt"])
    positives = (is_concept & is_member)[:, 0]
    assert positives.sum() == 4
    for arm in ("experts", "random", "next"):
        for site, layer, neuron, value, _ in arms_of(store, Forcing(k=9, on_value=statistic))[arm].iter_rows():
            cube = store.cube(CHECKPOINT, site)
            own = cube.read(layer=layer, neurons=[neuron], texts=store.corpus.language_slice("de"))[0, positives].astype(float)
            assert value == pytest.approx(
                np.quantile(own, quantile[statistic]) if statistic in quantile else own.mean(), abs=1e-6
            )


def test_arms_of_many_are_those_of_each_alone(store: Atlas) -> None:
    languages, concepts = ("fr", "de"), ("salt", "milk")
    together = ArmMaker(store, CHECKPOINT, languages, concepts, Forcing(k=9))
    for language in languages:
        for concept in concepts:
            alone = forced_arms(store, CHECKPOINT, language, concept, Forcing(k=9))
            for one, other in zip(together.make(concept, language), alone, strict=True):
                assert (one.name, one.experts_of) == (other.name, other.experts_of)
                assert one.frame is other.frame is None or one.frame.equals(other.frame)


def test_the_other_concept_is_the_next_of_the_corpus(store: Atlas) -> None:
    assert [other_concept(store, "fr", concept) for concept in store.corpus.concepts] == ["milk", "salt", "bread"]
    with pytest.raises(QueryError, match="name another concept"):
        other_concept(store, "fr", "salt", "salt")
    with pytest.raises(QueryError, match="no concept 'pepper'"):
        other_concept(store, "fr", "salt", "pepper")


def test_more_neurons_than_there_are_are_refused(store: Atlas) -> None:
    with pytest.raises(QueryError, match="does not fit 128 neurons"):
        forced_arms(store, CHECKPOINT, "de", "salt", Forcing(k=129), ["experts"])
    with pytest.raises(QueryError, match="after 100"):
        forced_arms(store, CHECKPOINT, "de", "salt", Forcing(k=100), ["next"])
