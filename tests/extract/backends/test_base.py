"""Records that backends and the run hand to one another; the protocols themselves: `actlas.testing.contracts.BackendTests`."""

import numpy as np

from actlas.extract.backends import base
from actlas.extract.backends.base import Capture, Encoded, LocatedCheckpoint
from actlas.names import Checkpoint


def test_a_capture_knows_every_site_it_reads_once_and_sorted():
    capture = Capture(sites=("resid", "mlp_pre"), token_sites=("embed", "resid"), count_sites=("mlp_hidden",))
    assert capture.all_sites == ("embed", "mlp_hidden", "mlp_pre", "resid")


def test_counts_have_a_row_for_every_threshold_and_language():
    assert Capture(sites=()).n_count_rows == 1
    assert Capture(sites=(), count_thresholds=(0.0, 1.0), n_languages=3).n_count_rows == 6


def test_weights_are_hashed_when_asked_for_and_once(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(base, "weight_hash", lambda folder: calls.append(folder) or "hash")
    located = LocatedCheckpoint(Checkpoint("m", "m"), tmp_path, None, "LlamaForCausalLM", None, "float32")
    assert calls == []
    assert [located.weight_hash, located.weight_hash] == ["hash", "hash"]
    assert calls == [tmp_path]


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
