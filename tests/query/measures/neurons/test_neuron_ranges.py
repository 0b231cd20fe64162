"""Ranges beside plain numpy, and their overlap where it is known."""

import numpy as np
import polars as pl
import pytest

from actlas.errors import QueryError
from actlas.query import neuron_ranges
from actlas.query.measures.neurons.best import Contrast
from actlas.query.measures.neurons.neuron_ranges import _measure

BOTH = [{"bounds": "normal", "width": 1.5}, {"bounds": "quantile", "tail": 0.05}]


def plain(values, bounds, width=2.5, tail=0.01):
    if bounds == "normal":
        return values.mean() - width * values.std(), values.mean() + width * values.std()
    return np.percentile(values, 100 * tail), np.percentile(values, 100 - 100 * tail)


@pytest.mark.parametrize("settings", BOTH, ids=lambda settings: settings["bounds"])
def test_ranges_are_those_of_plain_numpy_least_overlap_first(measured, settings):
    frame = neuron_ranges(measured, checkpoints=["planted-step64"], languages=["en"], n=6, **settings)
    assert frame.filter(concept="water").height == 6
    rows = measured.corpus.language_slice("en")
    for row in frame.drop_nulls("concept").iter_rows(named=True):
        is_on, is_member = (part[:, 0] for part in measured.corpus.concept_matrix("en", [row["concept"]]))
        values = measured.cube(row["checkpoint"], row["site"]).read(row["layer"], row["neuron"])[rows].astype(np.float64)
        on, off = values[is_on], values[is_member & ~is_on]
        (low, high), (off_low, off_high) = plain(on, **settings), plain(off, **settings)
        assert [row[name] for name in ("low", "high", "off_low", "off_high")] == pytest.approx([low, high, off_low, off_high])
        union = max(high, off_high) - min(low, off_low)
        assert row["overlap"] == pytest.approx((min(high, off_high) - max(low, off_low)) / union)
        assert row["off_inside"] == np.mean([low <= value <= high for value in off])
        assert row["value"] == pytest.approx(on.mean())
        assert (row["n_on"], row["n_off"]) == (on.size, off.size)
    for _, own in frame.group_by("concept"):
        assert own["overlap"].is_sorted()
    assert {"site", "layer", "neuron", "value"} <= set(frame.columns), "a frame that steering takes"


def test_overlap_where_it_is_known():
    on = np.array([True] * 3 + [False] * 3)
    values = np.array([[0, 1, 2, 0, 1, 2], [0, 1, 2, 4, 5, 6], [0, 1, 2, 1, 2, 3], [7] * 6], dtype=float)
    told = _measure(values, Contrast("en", None, on, ~on), bounds="quantile", width=1.0, tail=0.0)
    assert told["overlap"][:3].tolist() == pytest.approx([1, -2 / 6, 1 / 3])
    assert np.isnan(told["overlap"][3])
    assert told["off_inside"][:3].tolist() == pytest.approx([1, 0, 2 / 3])


def test_nonsense_is_refused(measured):
    for wrong in ({"bounds": "tukey"}, {"width": 0.0}, {"tail": 0.5}, {"tail": -0.1}, {"n": 0}):
        with pytest.raises(QueryError):
            neuron_ranges(measured, **wrong)
    assert neuron_ranges(measured, sites=["attn_out"], n=1).filter(pl.col("site") != "attn_out").is_empty()
