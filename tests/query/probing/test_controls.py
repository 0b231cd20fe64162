"""Selectivity: a label that only tokens say is not read off tokens that were not trained on, unless they are known by heart."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from actlas.query import Atlas, open_store, probe_controls, train_probes
from actlas.query.probing.draws import Draw
from actlas.query.probing.labels import control_codes, labelled
from actlas.query.probing.settings import ProbeSettings
from actlas.query.probing.solvers import SklearnSolver


def test_the_real_half_is_the_probe_and_the_control_says_little(scored_path: Path, tmp_path: Path) -> None:
    store = open_store(shutil.copytree(scored_path, tmp_path / "s"), "a")
    chosen = {"checkpoints": ["planted-step128"], "sites": ["resid"], "seeds": (0, 1)}
    controls = probe_controls(store, **chosen)
    probes = train_probes(store, **chosen)
    assert controls.select("layer", "seed", "accuracy", "c").equals(probes.select("layer", "seed", "accuracy", "c"))
    assert (controls["control"] < 0.6).all()
    assert controls["selectivity"].to_list() == pytest.approx((controls["accuracy"] - controls["control"]).to_list())
    assert store.sql("FROM probe_controls").equals(controls)
    told: list[str] = []
    probe_controls(store, **chosen, progress=lambda *_: told.append("trained"))
    assert not told


def test_a_control_label_is_read_off_vectors_that_only_say_the_token(scored: Atlas) -> None:
    table = scored.sampled_tokens
    of = labelled(scored.corpus, table, "language")
    tokens = np.unique(table["token_id"].to_numpy(), return_inverse=True)[1]
    vectors = np.eye(int(tokens.max()) + 1, dtype=np.float32)[tokens]
    codes = control_codes(table, of, 0)
    draw = Draw.of(of, 0, ProbeSettings(c=10.0, c_grid=None))
    (fitted,) = SklearnSolver(1000)(vectors, [Draw(0, (10.0,), codes, draw.train, draw.test, draw.fit, draw.judge)])
    known = np.isin(tokens[draw.test], tokens[draw.train])
    assert known.any()
    assert (fitted.predicted[known] == codes[draw.test][known]).all()
