"""Table `neuron_health`, and a site in short."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from actlas.store.layout import HEALTH_FILE
from actlas.store.notes.health import CodeHealth, file_fault, health_frame, health_of, is_constant, merge, site_health


def noted(values: np.ndarray, n_special: float = 0.0) -> np.ndarray:
    """Notes of values "layers neurons texts"."""
    parts = [values.min(2), values.max(2), (values == 0).sum(2), ((values != 0) & (abs(values) < 1e-4)).sum(2)]
    return np.stack([*parts, np.full(values.shape[:2], n_special)]).astype(np.float64)


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_values_at_hand_are_noted_as_they_are(dtype: str) -> None:
    values = np.array([[[0.0, -1.0, 2.0], [3.0, 3.0, 3.0]]], np.float32)
    stored = (values.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else values.astype(dtype)
    found = health_of(stored)
    np.testing.assert_array_equal(found[:4], noted(values)[:4])
    assert np.isnan(found[4]).all()


def test_blocks_together_are_what_all_values_are() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5, 12)).round(1)
    whole = noted(values)
    np.testing.assert_array_equal(merge([noted(part) for part in np.split(values, 3, axis=2)]), whole)


def test_a_neuron_whose_values_differ_by_rounding_alone_is_constant() -> None:
    values = np.array([[[1.0, 1.0], [1.0, 1.0 + 1e-6], [1.0, 1.001], [0.0, 0.0], [-1e-9, 1e-9], [-2.0, -2.00001]]])
    assert is_constant(noted(values)).tolist() == [[True, True, False, True, False, True]]


def test_a_site_in_short() -> None:
    values = np.array([[[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]], [[1e-5, 1e-5, 0.0], [0.0, 1.0, 2.0]]])
    short = site_health(noted(values, n_special=1.5), n_texts=3)
    assert (short.share_constant, short.share_special) == (0.25, 0.5)
    assert short.lost_by_layer == pytest.approx((0.0, 1 / 3))
    assert site_health(noted(values, n_special=np.nan), n_texts=3).share_special is None


def test_a_neuron_is_crowded_where_values_that_differ_share_a_code() -> None:
    values = np.stack([np.arange(10.0), np.append(np.arange(1.0, 10.0), 1e4), np.zeros(10), np.append(np.zeros(9), 1.0)])[None]
    codes = CodeHealth(
        n_codes=np.array([[10, 2, 1, 2]]), fullest=np.array([[1, 9, 10, 9]]), n_texts=10, ap_slack=np.array([[0, 0.5, 0.9, 0.2]])
    )
    short = site_health(noted(values), 10, codes)
    assert short.share_crowded == 0.25
    assert short.ap_slack == (0.5, 0.2)
    assert site_health(noted(values, n_special=6.0), 10, codes).share_crowded == 0.0


def test_the_table_has_a_row_per_neuron() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    frame = health_frame("m", {"resid": noted(values), "attn_out": noted(values, np.nan)}, {}, n_texts=4)
    assert frame.height == 12
    assert frame["site"].to_list() == ["attn_out"] * 6 + ["resid"] * 6
    row = frame.row(6, named=True)
    assert row == {
        "checkpoint": "m",
        "site": "resid",
        "layer": 0,
        "neuron": 0,
        "is_constant": False,
        "low": 0.0,
        "high": 3.0,
        "share_zero": 0.25,
        "share_lost": 0.0,
        "share_special": 0.0,
        "n_codes": None,
        "ap_slack": None,
    }
    assert frame["share_special"].null_count() == 6


def test_a_table_of_health_that_is_not_what_was_written_is_named(tmp_path: Path) -> None:
    manifest = tmp_path / "m"
    manifest.mkdir()
    (manifest / HEALTH_FILE).write_bytes(b"table")
    digest = hashlib.sha256(b"table").hexdigest()
    assert file_fault(manifest / HEALTH_FILE, digest) is None
    (manifest / HEALTH_FILE).write_bytes(b"tabel")
    assert file_fault(manifest / HEALTH_FILE, digest) == "is not what its record says"
    (manifest / HEALTH_FILE).unlink()
    assert file_fault(manifest / HEALTH_FILE, digest) == "is missing"
