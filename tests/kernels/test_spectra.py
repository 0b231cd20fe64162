"""Singular values, entropy and effective ranks, against numpy's SVD and closed forms."""

import numpy as np
import pytest

from actlas.kernels import spectra
from actlas.kernels.spectra import effective_rank, participation_ratio, spectral_entropy, squared_singular_values


@pytest.mark.parametrize("shape", [(63, 63), (1000, 24), (24, 1000), (1, 63), (63, 1)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_squared_singular_values_are_those_of_the_svd_however_the_matrix_is_divided(shape, dtype, monkeypatch):
    matrix = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    expected = np.linalg.svd(matrix.astype(np.float64), compute_uv=False) ** 2
    for chunk in (1 << 22, 100):
        monkeypatch.setattr(spectra, "_CHUNK", chunk)
        assert np.allclose(squared_singular_values(matrix), expected, rtol=1e-12, atol=1e-12 * expected[0])


def test_singular_values_far_below_the_largest_are_rounding_and_change_no_entropy():
    rng = np.random.default_rng(1)
    left, right = (np.linalg.qr(rng.standard_normal((200, 50)))[0] for _ in range(2))
    values = np.logspace(0, -12, 50)
    powers = squared_singular_values((left * values) @ right.T)
    assert powers.shape == (200,)
    assert (powers >= 0).all()
    assert spectral_entropy(powers) == pytest.approx(spectral_entropy(values**2), abs=1e-12)


def test_a_function_reads_a_dtype_that_numpy_does_not_know():
    bits = np.array([[0x4040, 0], [0, 0x3F80]], np.uint16)  # 3 and 1 in bfloat16
    powers = squared_singular_values(bits, lambda part: (part.astype(np.uint32) << 16).view(np.float32).astype(np.float64))
    assert powers.tolist() == [9.0, 1.0]


def test_equal_directions_count_as_many_and_one_as_one():
    for count in (effective_rank, participation_ratio):
        assert count(np.full(63, 0.3)) == pytest.approx(63)
        assert count(np.array([5.0, 0.0, 0.0])) == 1
        assert np.isnan(count(np.zeros(4)))


def test_powers_of_a_geometric_series_have_the_entropy_of_its_closed_form():
    ratio = 0.5
    powers = ratio ** np.arange(60)
    # H of a geometric distribution with success probability p = 1 - ratio: h(p) / p
    expected = -(ratio * np.log(ratio) + (1 - ratio) * np.log(1 - ratio)) / (1 - ratio)
    assert spectral_entropy(powers) == pytest.approx(expected, abs=1e-9)
    assert effective_rank(powers) == pytest.approx(4)
    assert participation_ratio(powers) == pytest.approx(3)
    assert effective_rank(7 * powers) == pytest.approx(4)
