"""Scores: layer by layer, committed, visible when all layers are in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actlas.errors import DamagedStore, RecipeMismatch, ScoresNotFound
from actlas.store import Store, verify
from tests.store.conftest import LAYERS, NEURONS, WIDTH

OPTIONS = {"stats": ("ap",), "languages": ("en", "es"), "concepts": ("water",), "settings": {}}


def test_scores_resume_by_layer_and_show_when_done(store_path: Path) -> None:
    store = Store(store_path, "a")
    rng = np.random.default_rng(1)
    scores = {stat: rng.random((LAYERS, 2, 1, NEURONS)) for stat in ("ap", "mean")}
    scores["ap"][:, 1] = np.nan
    about = {"stats": ("ap", "mean"), "languages": ("en", "es"), "concepts": ("water",), "settings": {"threshold": 0.0}}
    with store.score_writer("model-step1", "mlp_hidden", **about) as writer:
        writer.write_layer(1, {stat: values[1] for stat, values in scores.items()})
        with pytest.raises(ValueError, match="not written yet"):
            writer.finish()
    with pytest.raises(ScoresNotFound, match="not finished"):
        store.scores("model-step1", "mlp_hidden")
    with store.score_writer("model-step1", "mlp_hidden", **about) as writer:
        assert writer.pending_layers() == [0, 2]
        for layer in writer.pending_layers():
            writer.write_layer(layer, {stat: values[layer] for stat, values in scores.items()})
        writer.finish()
    cube = store.scores("model-step1", "mlp_hidden")
    assert store.scored_sites("model-step1") == ["mlp_hidden"]
    np.testing.assert_array_equal(cube.read("ap"), scores["ap"].transpose(1, 2, 0, 3))
    np.testing.assert_array_equal(cube.read("mean", "en", "water", 2, [5, 1]), scores["mean"][2, 0, 0, [5, 1]].astype(np.float32))
    with pytest.raises(KeyError, match="there are en, es"):
        cube.read("ap", language="de")
    with pytest.raises(RecipeMismatch, match="--overwrite"):
        store.score_writer("model-step1", "mlp_hidden", **{**about, "settings": {"threshold": 1.0}})
    with store.score_writer("model-step1", "mlp_hidden", **{**about, "settings": {"threshold": 1.0}}, overwrite=True) as writer:
        assert writer.pending_layers() == [0, 1, 2]


def test_two_runs_never_write_the_same_scores(store_path: Path) -> None:
    store = Store(store_path, "a")
    with (
        store.score_writer("model-step1", "resid", **OPTIONS),
        pytest.raises(RecipeMismatch, match="another run is writing scores to scores/model-step1/resid"),
    ):
        store.score_writer("model-step1", "resid", **OPTIONS)
    store.score_writer("model-step1", "resid", **OPTIONS).close()


def test_what_does_not_fit_is_refused_and_nothing_is_committed(store_path: Path) -> None:
    with Store(store_path, "a").score_writer("model-step1", "mlp_hidden", **OPTIONS) as writer:
        with pytest.raises(ValueError, match="expected statistics ap, got mean"):
            writer.write_layer(0, {"mean": np.zeros((2, 1, NEURONS))})
        with pytest.raises(ValueError, match="ap has shape"):
            writer.write_layer(0, {"ap": np.zeros((2, 1, NEURONS - 1))})
        assert writer.pending_layers() == list(range(LAYERS))
        with pytest.raises(ValueError, match="are not written yet"):
            writer.finish()
        assert not writer.is_complete


def test_scores_stay_until_the_new_ones_are_complete(store_path: Path) -> None:
    store = Store(store_path, "a")

    def write(value: float, *, layers: int = LAYERS, overwrite: bool = False) -> list[int]:
        with store.score_writer("model-step1", "resid", **OPTIONS, overwrite=overwrite) as writer:
            pending = writer.pending_layers()
            for layer in pending[:layers]:
                writer.write_layer(layer, {"ap": np.full((2, 1, WIDTH), value)})
            if layers == LAYERS:
                writer.finish()
        return pending

    def seen() -> float:
        return float(np.unique(Store(store_path).scores("model-step1", "resid").read("ap")).item())

    assert write(0.25) == [0, 1, 2]
    assert write(0.5) == [], "complete scores are not written again"
    assert write(0.5, layers=1, overwrite=True) == [0, 1, 2], "with the same settings, too"
    assert seen() == 0.25, "the run stopped before the new ones were complete"
    assert write(0.5, overwrite=True) == [1, 2], "and is gone on with"
    assert seen() == 0.5
    assert [path.name for path in (store_path / "scores/model-step1").glob("resid*")] == ["resid.max.r2"]
    assert [path.name for path in (store_path / "manifests/model-step1/scores").glob("resid*")] == ["resid.max.r2"]
    assert verify(store_path).damage == ()


def test_damaged_scores_are_repaired_by_writing_them_again(store_path: Path) -> None:
    store = Store(store_path, "a")
    for overwrite in (False, True):
        with store.score_writer("model-step1", "resid", **OPTIONS, overwrite=overwrite) as writer:
            for layer in writer.pending_layers():
                writer.write_layer(layer, {"ap": np.full((2, 1, WIDTH), 0.25)})
            writer.finish()
        if not overwrite:
            (store_path / "scores/model-step1/resid.max/ap/c/0/0/1/0").unlink()
            with pytest.raises(DamagedStore, match="was committed and cannot be read"):
                store.scores("model-step1", "resid").read("ap")
    assert np.unique(store.scores("model-step1", "resid").read("ap")).tolist() == [0.25]
    assert verify(store_path).damage == ()
