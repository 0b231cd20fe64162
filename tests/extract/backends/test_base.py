"""Records that backends and the run hand to one another; the protocols themselves: `actlas.testing.contracts.BackendTests`."""

import os

import numpy as np
import pytest

from actlas.errors import ModelNotLoaded
from actlas.extract.backends import base
from actlas.extract.backends.base import Capture, Encoded, LocatedCheckpoint
from actlas.extract.checkpoints.weight_hash import HashedWeights
from actlas.names import Checkpoint


def test_a_capture_knows_every_site_it_reads_once_and_sorted():
    capture = Capture(sites=("resid", "mlp_pre"), token_sites=("embed", "resid"), count_sites=("mlp_hidden",))
    assert capture.all_sites == ("embed", "mlp_hidden", "mlp_pre", "resid")


def test_counts_have_a_row_for_every_threshold_and_language():
    assert Capture(sites=()).n_count_rows == 1
    assert Capture(sites=(), count_thresholds=(0.0, 1.0), n_languages=3).n_count_rows == 6


def test_weights_are_hashed_when_asked_for_and_once(monkeypatch, model_writer, tmp_path):
    calls = []
    hashed = HashedWeights.of
    monkeypatch.setattr(base.HashedWeights, "of", lambda folder: calls.append(folder) or hashed(folder))
    located = LocatedCheckpoint(
        Checkpoint("m", "m"), model_writer(tmp_path / "m", "llama"), (), "LlamaForCausalLM", None, "float32"
    )
    assert calls == []
    assert located.weight_hash == located.weight_hash
    located.check_unchanged()
    assert calls == [tmp_path / "m"]
    os.utime(tmp_path / "m" / "config.json", (1, 1))
    with pytest.raises(ModelNotLoaded, match=r"config\.json in .* changed while the checkpoint was read"):
        located.check_unchanged()


def test_some_of_the_encoded_texts_keep_all_their_parts():
    encoded = Encoded(
        [np.array([row, row]) for row in range(3)],
        [np.array([True, False])] * 3,
        [np.array([[row, row + 1]] * 2) for row in range(3)],
    )
    kept = encoded.keep(np.array([0, 2]))
    assert [ids.tolist() for ids in kept.token_ids] == [[0, 0], [2, 2]]
    assert [places[0].tolist() for places in kept.places] == [[0, 1], [2, 3]]
    assert len(kept.is_special) == 2
