"""The best neurons over many blocks are those of one sort of everything."""

import numpy as np
import polars as pl
import pytest

from actlas.errors import CubeNotFound, QueryError
from actlas.query import import_scores, open_store
from actlas.query.blocks import NeuronBlock
from actlas.query.measures.neurons.best import BestNeurons, contrasts, measured_cubes
from actlas.query.neurons import NeuronAxis
from actlas.testing.planted import Planting, planted_store


def test_blocks_give_what_one_sort_gives_and_ties_go_to_the_first_neuron(measured):
    values = np.random.default_rng(3).integers(0, 6, (4, 400)).astype(float)
    values[2, :395] = np.nan
    values[3] = np.nan
    cube = measured.cube("planted-step64", "mlp_pre")
    best = BestNeurons(NeuronAxis(("mlp_pre",), ((2, 200),)), 7, "told")
    for layer, start, stop in ((0, 0, 128), (0, 128, 200), (1, 0, 3), (1, 3, 200)):
        part = values[:, layer * 200 + start : layer * 200 + stop]
        best.add(cube, NeuronBlock(layer, start, part), {"told": part, "twice": 2 * part})
    frame = best.frame("c", {"name": pl.Series(["a", None, "c", "d"])})
    for row, name in enumerate(["a", None, "c"]):
        own = frame.filter(name=name) if name else frame.filter(frame["name"].is_null())
        order = [place for place in np.argsort(-values[row], kind="stable") if not np.isnan(values[row, place])][:7]
        assert (own["layer"] * 200 + own["neuron"]).to_list() == order
        assert own["told"].to_list() == values[row, order].tolist()
        assert own["twice"].to_list() == (2 * values[row, order]).tolist()
        assert own["rank"].to_list() == list(range(1, len(order) + 1))
    assert frame.filter(name="d").is_empty()


def test_contrasts_are_those_of_the_labels(measured):
    found = contrasts(measured, ["es"], None)
    texts, labels = measured.corpus.texts, measured.corpus.labels
    assert found[0].concept is None
    assert (found[0].on == (texts["language"] == "es").to_numpy()).all()
    assert (found[0].off == ~found[0].on).all()
    assert "yeast" not in [one.concept for one in found], "it has no positive text there"
    for one in found[1:]:
        own = labels.filter(concept=one.concept).join(texts.filter(language="es"), on="text_id")
        for side, is_concept in ((one.on, True), (one.off, False)):
            assert set(texts["text_id"].to_numpy()[side]) == set(own.filter(is_concept=is_concept)["text_id"])


def test_what_cannot_be_answered_is_refused(measured, tmp_path):
    one = open_store(planted_store(tmp_path / "s", Planting(languages=("en",), n_groups=8)))
    with pytest.raises(QueryError, match="nothing to tell apart"):
        contrasts(one, None, [])
    with pytest.raises(QueryError, match="language"):
        contrasts(measured, ["xx"], None)
    for sites, error in ((["mlp_pre", "mlp_pre"], QueryError), (["resid"], CubeNotFound)):
        with pytest.raises(error):
            measured_cubes(measured, None, sites)


def test_scores_without_values_are_refused_as_such(tmp_path):
    scores = pl.DataFrame(
        {"checkpoint": "c", "language": "en", "concept": "a", "site": "mlp_pre", "layer": 0, "neuron": [0, 1], "ap": [0.5, 0.7]}
    )
    import_scores(tmp_path / "s", scores, provenance="a test")
    with pytest.raises(QueryError, match="scores"):
        contrasts(open_store(tmp_path / "s"), None, None)
