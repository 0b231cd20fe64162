"""Sketches: what they tell of distances, and how far off."""

import hashlib

import numpy as np
import pytest

from actlas.kernels.sketch import SKETCH_ERROR, SKETCH_SIZE, Sketch


def sketch(values, name="w", part=None):
    made, flat = Sketch(name, values.shape), values.reshape(-1)
    part = part or flat.size
    made.add(flat[start : start + part] for start in range(0, flat.size, part))
    return made.sums


@pytest.mark.parametrize("kind", ["dense", "one large column", "one large row", "few"])
def test_distances_are_off_by_no_more_than_the_stated_error(kind):
    rng = np.random.default_rng(0)
    values = 0.01 * rng.standard_normal((256, 256))
    if kind == "one large column":
        values[:, 7] = rng.standard_normal(256)
    elif kind == "one large row":
        values[7] = rng.standard_normal(256)
    elif kind == "few":
        values[rng.integers(0, 256, 30), rng.integers(0, 256, 30)] = 1.0
    errors = [np.linalg.norm(sketch(values, f"w{seed}")) / np.linalg.norm(values) - 1 for seed in range(300)]
    # the deviation of 300 draws is itself uncertain by 4 %
    assert 0.0 < np.std(errors) < SKETCH_ERROR * 1.15
    assert abs(np.mean(errors)) < SKETCH_ERROR / 4
    if kind == "dense":
        assert np.std(errors) > SKETCH_ERROR * 0.85


def test_a_sketch_is_linear_and_does_not_depend_on_how_the_numbers_arrive():
    a, b = np.random.default_rng(1).standard_normal((2, 300, 63))
    assert np.allclose(sketch(a) - 2 * sketch(b), sketch(a - 2 * b), atol=1e-12)
    assert np.array_equal(sketch(a, part=SKETCH_SIZE), sketch(a))


def test_up_to_its_size_nothing_is_lost():
    values = np.random.default_rng(2).standard_normal(SKETCH_SIZE)
    assert np.linalg.norm(sketch(values)) == pytest.approx(np.linalg.norm(values), rel=1e-12)
    assert np.array_equal(np.sort(np.abs(sketch(values))), np.sort(np.abs(values)))


def test_names_and_shapes_have_signs_of_their_own():
    values = np.ones((64, 64))
    assert not np.array_equal(sketch(values), sketch(values, "v"))
    assert not np.array_equal(sketch(values), sketch(values.reshape(32, 128)))


def test_sketches_of_every_version_are_comparable():
    """What the signs are and where blocks begin is part of the format of a store."""
    sums = sketch(np.arange(3 * SKETCH_SIZE + 5, dtype=np.float64))
    digest = hashlib.sha256(sums.astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "887021a4225a83e1"
