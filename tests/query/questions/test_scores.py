"""Scores against scikit-learn, text by text; and runs that are stopped and go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from actlas.errors import CubeNotFound, QueryError, ReadOnlyStore, RecipeMismatch, ScoresNotFound
from actlas.query import DEFAULT_STATS, Atlas, open_store, score_neurons
from actlas.store import ScoreWriter
from actlas.testing.planted import Planting, planted_store

CHECKPOINT = "planted-step64"


@pytest.mark.parametrize("site", ["attn_out", "mlp_pre"])
def test_scores_are_those_of_scikit_learn(scored: Atlas, plain: Any, site: str) -> None:
    cube = scored.scores(CHECKPOINT, site)
    assert cube.stats == DEFAULT_STATS
    assert cube.settings["threshold"] == 0.0
    values = plain.values(CHECKPOINT, site).astype(np.float64)
    for language in plain.planting.languages:
        for concept in plain.planting.concepts:
            members, is_positive = plain.labels(language, concept)
            got = {stat: cube.read(stat, language, concept) for stat in cube.stats}
            if not is_positive.any():
                assert all(np.isnan(scores).all() for scores in got.values())
                continue
            for layer, neuron in np.ndindex(values.shape[:2]):
                x = values[layer, neuron, members]
                on, off = x[is_positive], x[~is_positive]
                thresholds = [2 * (x[is_positive] >= t).sum() / ((x >= t).sum() + is_positive.sum()) for t in np.unique(x)]
                wanted = {
                    "ap": average_precision_score(is_positive, x),
                    "auroc": roc_auc_score(is_positive, x),
                    "p_active": (on > 0).mean(),
                    "p_active_off": (off > 0).mean(),
                    "mean": on.mean(),
                    "std": on.std(),
                    "median": np.median(on),
                    "p90": np.quantile(on, 0.9),
                    "best_f1": max(thresholds),
                }
                for stat, score in wanted.items():
                    tolerance = 1e-12 if stat in ("ap", "auroc") else 1e-6
                    assert got[stat][layer, neuron] == pytest.approx(score, rel=tolerance, abs=tolerance), stat


def test_the_answer_sums_up(bare: Path) -> None:
    told: list[tuple[int, int, str]] = []
    frame = score_neurons(bare, stats=("ap",), progress=lambda *args: told.append(args))
    assert frame.columns == [
        "checkpoint", "site", "n_layers", "n_neurons", "n_languages", "n_concepts", "n_null", "n_scored",
    ]  # fmt: skip
    assert frame.height == 9
    assert set(frame["n_null"]) == {1}
    assert set(frame["n_scored"]) == {2}
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][:2] == (3 * 208, 3 * 208)


def test_small_blocks_give_the_same(bare: Path, tmp_path: Path) -> None:
    planting = Planting(sites={"mlp_pre": (1, 300)}, steps=(0,), sharing=(0.0,), token_sites={})
    one, many = (planted_store(tmp_path / name, planting) for name in ("one", "many"))
    score_neurons(one)
    score_neurons(many, block_bytes=1)
    for stat in DEFAULT_STATS:
        a, b = (open_store(path).scores("planted-step0", "mlp_pre").read(stat) for path in (one, many))
        np.testing.assert_array_equal(a, b)


def test_labels_are_prepared_once_per_language_and_cube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from actlas.kernels.cpu.plan import Plan

    path = planted_store(tmp_path / "store", Planting(sites={"mlp_pre": (1, 300)}, steps=(0,), sharing=(0.0,), token_sites={}))
    n_languages = len(open_store(path).corpus.languages)
    make, plans, blocks = Plan.of.__func__, [], []  # type: ignore[attr-defined]
    monkeypatch.setattr(Plan, "of", classmethod(lambda *args, **kwargs: plans.append(1) or make(*args, **kwargs)))
    score_neurons(path, block_bytes=1, progress=lambda *args: blocks.append(1))
    assert len(blocks) == 3
    assert len(plans) <= n_languages + 1  # one more where the loops are compiled now


def test_a_stopped_run_goes_on(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, written = ScoreWriter.write_layer, []

    def stop_at_the_third(self: ScoreWriter, layer: int, values: Any) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        original(self, layer, values)
        written.append(layer)

    monkeypatch.setattr(ScoreWriter, "write_layer", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        score_neurons(bare, stats=("ap", "median"))
    store = open_store(bare)
    store.scores("planted-step0", "attn_out")
    with pytest.raises(ScoresNotFound, match="not finished"):
        store.scores("planted-step0", "mlp_hidden")
    monkeypatch.setattr(ScoreWriter, "write_layer", original)
    frame = score_neurons(bare, stats=("ap", "median"))
    assert frame["n_scored"].to_list() == [0, 1, 2, 2, 2, 2, 2, 2, 2]
    whole = planted_store(tmp_path / "whole.actlas")
    score_neurons(whole, stats=("ap", "median"))
    for file in sorted((whole / "scores").rglob("*")):
        if file.is_file():
            assert (bare / "scores" / file.relative_to(whole / "scores")).read_bytes() == file.read_bytes()


def test_scores_that_are_there_are_left_alone_or_refused(bare: Path) -> None:
    score_neurons(bare, sites=["mlp_pre"], stats=("ap",))
    assert set(score_neurons(bare, sites=["mlp_pre"], stats=("ap",))["n_scored"]) == {0}
    with pytest.raises(RecipeMismatch, match="overwrite"):
        score_neurons(bare, sites=["mlp_pre"], stats=("ap",), threshold=1.0)
    assert set(score_neurons(bare, sites=["mlp_pre"], stats=("ap",), threshold=1.0, overwrite=True)["n_scored"]) == {2}
    assert open_store(bare).scores("planted-step0", "mlp_pre").settings["threshold"] == 1.0


def test_what_cannot_be_scored_is_refused(bare: Path) -> None:
    with pytest.raises(ReadOnlyStore, match="mode='a'"):
        score_neurons(open_store(bare))
    with pytest.raises(CubeNotFound, match="site resid"):
        score_neurons(bare, sites=["resid"])
    with pytest.raises(QueryError, match="no committed checkpoint"):
        score_neurons(bare, checkpoints=[])
