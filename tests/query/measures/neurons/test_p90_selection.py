"""P90 selection beside plain numpy over all neurons."""

import numpy as np
import pytest

from actlas.errors import QueryError
from actlas.query import p90_selection


@pytest.mark.parametrize(("bar_quantile", "min_share"), [(0.9, 0.5), (0.8, 0.7)])
def test_the_neurons_are_those_of_plain_numpy(measured, bar_quantile, min_share):
    chosen = {"checkpoints": ["planted-step64"], "sites": ["mlp_pre"], "languages": ["fr"], "concepts": ["fire"]}
    frame = p90_selection(measured, **chosen, n=15, bar_quantile=bar_quantile, min_share=min_share)
    cube = measured.cube("planted-step64", "mlp_pre").read().astype(np.float64).reshape(400, -1)
    rows = measured.corpus.language_slice("fr")
    is_on, is_member = (part[:, 0] for part in measured.corpus.concept_matrix("fr", ["fire"]))
    is_own = np.zeros(cube.shape[1], dtype=bool)
    is_own[rows] = True
    sides = {None: (cube[:, is_own], cube[:, ~is_own]), "fire": (cube[:, rows][:, is_on], cube[:, rows][:, is_member & ~is_on])}
    for concept, (on, off) in sides.items():
        told = {}
        for place in range(400):
            bar = np.percentile(np.concatenate([on[place], off[place]]), 100 * bar_quantile)
            p_on, p_off = np.mean(on[place] > bar), np.mean(off[place] > bar)
            if p_on and p_on / (p_on + p_off) >= min_share:
                told[place] = (p_on, p_off, p_on / (p_on + p_off), bar)
        best = sorted(told, key=lambda place, told=told: -told[place][0])[:15]
        own = frame.filter(frame["concept"].is_null() if concept is None else frame["concept"] == concept)
        assert (own["layer"] * 200 + own["neuron"]).to_list() == best
        assert np.allclose(own.select("p_on", "p_off", "share", "bar").to_numpy(), [told[place] for place in best])
        assert (own["n_on"].unique().to_list(), own["n_off"].unique().to_list()) == ([on.shape[1]], [off.shape[1]])


def test_nothing_is_above_the_highest_value(measured):
    assert p90_selection(measured, bar_quantile=1.0).is_empty()


def test_nonsense_is_refused(measured):
    for wrong in ({"bar_quantile": 1.1}, {"min_share": 0.0}, {"n": 0}, {"languages": ["xx"]}):
        with pytest.raises(QueryError):
            p90_selection(measured, **wrong)
