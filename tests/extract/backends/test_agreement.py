"""Values beside those that they should equal: what rounding does passes, what a mistake does is refused and named."""

import numpy as np
import pytest

from actlas.errors import FidelityError
from actlas.extract.backends.agreement import SAME_ENGINE, compare, neuron_sizes
from tests.extract.mutations import MUTATIONS, ROUNDOFF

DTYPES = sorted(ROUNDOFF)
TEXT_IDS = [10, 20, 30, 40, 50, 60, 70, 80]
#: Row of the neuron that is massive in every layer, as a dimension of a residual stream is.
MASSIVE = 7


def layers(level: float, spread: float, seed: int = 0) -> np.ndarray:
    """Two layers of 1,024 neurons, one of them massive."""
    rng = np.random.default_rng(seed)
    values = level + spread * rng.standard_normal((2, 1024, len(TEXT_IDS)))
    values[:, MASSIVE] = 3000 + rng.standard_normal((2, len(TEXT_IDS)))
    return values.astype(np.float32)


def rounded(values: np.ndarray, dtype: str, seed: int) -> np.ndarray:
    """What another computation in a dtype makes of values: off by two roundings or so in either direction."""
    noise = np.random.default_rng(seed).standard_normal(values.shape)
    return (values * (1 + 2 * ROUNDOFF[dtype] * noise)).astype(np.float32)


def compared(values: np.ndarray, expected: np.ndarray, dtype: str):
    return compare({"resid": values}, {"resid": expected}, dtype, TEXT_IDS)


# values around 0, and values as pooling by the largest token makes them, all of one sign
@pytest.mark.parametrize(("level", "spread"), [(0.0, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_passes_and_mutations_do_not(dtype, level, spread):
    values = layers(level, spread)
    ours, theirs = rounded(values, dtype, 1), rounded(values, dtype, 2)
    assert compared(ours, theirs, dtype).complaint() is None
    assert compare({"resid": ours}, {"resid": theirs}, dtype, TEXT_IDS, deviations=SAME_ENGINE).complaint() is None
    language = np.arange(len(TEXT_IDS)) // 4
    for name, mutate in MUTATIONS.items():
        found = compared(mutate(ours, language), theirs, dtype)
        assert found.complaint() is not None, name
        assert max(found.share_of_limit, found.rank_agreement < 0.9) >= 1, name


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_worst_neuron_and_text_are_named(dtype):
    values = layers(0.0, 1.0)
    ours = values.copy()
    ours[1, 33] += 2.0
    ours[1, 33, 4] += 1.0
    found = compared(ours, values, dtype)
    assert found.where == "site resid, layer 1, neuron 33, text 50"
    assert found.difference == pytest.approx(2 / neuron_sizes(values[1], dtype)[33], rel=1e-5)
    assert found.complaint() == (
        f"by {found.difference:.1e} of its size at site resid, layer 1, neuron 33, text 50, where rounding explains "
        f"{found.limit:.1e}"
    )
    assert found.record()["n_texts"] == 8


def test_later_layers_are_given_more():
    values = layers(0.0, 1.0)
    both = np.stack([values[0], values[0]])
    limits = []
    for layer in (0, 1):
        ours = both.copy()
        ours[layer, 5] *= 1.2
        limits.append(compared(ours, both, "bfloat16").limit)
    assert limits[1] == pytest.approx(np.sqrt(2) * limits[0])


def test_a_neuron_may_be_far_off_in_a_quarter_of_the_texts():
    values = layers(0.0, 1.0)
    ours = values.copy()
    ours[0, 5, :2] += 1.0
    assert compared(ours, values, "bfloat16").complaint() is None
    ours[0, 5, 2] += 1.0
    assert "layer 0, neuron 5" in compared(ours, values, "bfloat16").complaint()


@pytest.mark.parametrize("dtype", DTYPES)
def test_neurons_without_spread_or_size_are_not_refused_for_what_others_round_by(dtype):
    values = layers(0.0, 1.0)
    values[:, 1] = 0.0  # dead
    values[:, 2] = 1e-6 * values[:, 3]  # next to nothing
    values[:, 4] = 5.0  # constant
    ours = rounded(values, dtype, 3)
    ours[:, 1] = ROUNDOFF[dtype]
    ours[:, 2] += ROUNDOFF[dtype]
    assert compared(ours, values, dtype).complaint() is None
    assert compared(np.zeros_like(values), np.zeros_like(values), dtype).complaint() is None
    ours[0, 4, 3:6] = -5.0
    assert compared(ours, values, dtype).where == "site resid, layer 0, neuron 4, text 40"
    ours[0, 4, 3:6] = 5.0
    ours[0, 1, 3:6] = 1.0
    assert compared(ours, values, dtype).where == "site resid, layer 0, neuron 1, text 40"


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_below_the_normal_numbers_of_float16_have_fewer_bits(dtype):
    values = 1e-6 * layers(0.0, 1.0)
    found = compared(values.astype(np.float16).astype(np.float32), values, dtype)
    assert (found.complaint() is None) == (dtype != "float32")


def test_signs_that_agree_too_rarely_are_refused_though_each_could_be_rounding():
    values = layers(0.0, 1.0)
    sizes = neuron_sizes(values[0], "bfloat16")
    values[0, :, 2] = 0.04 * sizes
    ours = values.copy()
    ours[0, : len(sizes) // 10, 2] *= -1
    found = compared(ours, values, "bfloat16")
    assert found.share_of_limit < 1
    assert found.complaint().startswith("in sign: of the values at site resid, layer 0, text 30")
    assert found.sign_agreement == pytest.approx(0.9, abs=0.01)


def test_texts_out_of_order_are_refused_though_each_value_could_be_rounding():
    values = layers(2.0, 0.0) + 0.08 * np.arange(8, dtype=np.float32)
    ours = values.copy()
    ours[0, :, 2] += 0.18  # past the next two texts
    found = compared(ours, values, "bfloat16")
    assert found.share_of_limit < 1
    assert found.complaint().startswith("in rank: of the values at site resid, layer 0, text 30")


def test_nan_is_refused():
    values = layers(0.0, 1.0)
    ours = values.copy()
    ours[0, 3, 1] = np.nan
    assert (
        compared(ours, values, "float32").complaint().startswith("by nan of its size at site resid, layer 0, neuron 3, text 20")
    )


def test_another_shape_is_refused():
    values = layers(0.0, 1.0)
    with pytest.raises(FidelityError, match=r"site resid has values of shape \(1, 1024, 8\), where \(2, 1024, 8\) was expected"):
        compared(values[:1], values, "float32")


def test_a_neuron_that_has_the_texts_in_another_order_is_refused_though_each_value_could_be_rounding():
    values = layers(2.0, 0.0) + 0.03 * np.arange(8, dtype=np.float32)
    ours = values.copy()
    ours[0, 9] = values[0, 9, ::-1]
    found = compared(ours, values, "bfloat16")
    assert found.share_of_limit < 1
    assert found.rank_agreement > 0.95
    assert found.complaint() == "in order: site resid, layer 0, neuron 9, puts only 0% of the pairs of texts as it should"


def test_where_hardly_anything_is_clear_signs_and_order_say_nothing():
    values = layers(2.0, 0.0)[:, :10]
    values[:, :3] += 0.1 * np.arange(8, dtype=np.float32)
    ours = values.copy()
    ours[0, 0, 7] = 0.0
    # ten values, and three pairs
    found = compare({"resid": ours[:, :, 6:]}, {"resid": values[:, :, 6:]}, "bfloat16", TEXT_IDS[6:])
    assert (found.sign_agreement, found.rank_agreement, found.order_agreement) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_neuron_that_rounding_is_known_to_move_further_may_be_further_off(dtype):
    values = layers(2.0, 0.5)
    exact, ours = values.copy(), rounded(values, dtype, 1)
    noise = 0.4 * np.random.default_rng(5).standard_normal((2, len(TEXT_IDS)))
    exact[0, 9] += noise[0]
    ours[0, 9] += noise[1]
    assert compared(ours, values, dtype).where.startswith("site resid, layer 0, neuron 9,")
    assert compared(ours, values, dtype).complaint() is not None

    def known(ours):
        return compare({"resid": ours}, {"resid": values}, dtype, TEXT_IDS, exact={"resid": exact})

    assert known(ours).complaint() is None
    # that neuron alone: everything else is seen as before
    for name, mutate in MUTATIONS.items():
        assert known(mutate(ours, np.arange(len(TEXT_IDS)) // 4)).complaint() is not None, name
