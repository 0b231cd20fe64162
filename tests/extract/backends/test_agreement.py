"""Values of an engine beside those of transformers."""

import numpy as np
import pytest

from actlas.errors import FidelityError
from actlas.extract.backends.agreement import TOLERANCE, compare

THEIRS = {"resid": np.array([[[4.0, -1.0]], [[100.0, 0.0]]], dtype=np.float32)}


def test_the_record_says_how_far_and_where():
    ours = {"resid": THEIRS["resid"] + np.array([[[2e-4, 0]], [[1e-4, 1e-3]]], dtype=np.float32)}
    found = compare(ours, THEIRS, "float32", n_texts=2)
    assert found["where"] == "site resid, layer 0"
    assert found["largest_relative_difference"] == pytest.approx(5e-5, rel=1e-2)
    assert found["largest_difference"] == pytest.approx(1e-3, rel=1e-2)
    assert (found["sign_flips"], found["n_values"], found["n_texts"]) == (1, 4, 2)


@pytest.mark.parametrize("dtype", sorted(TOLERANCE))
def test_what_the_dtype_does_not_explain_is_refused(dtype):
    step = np.zeros_like(THEIRS["resid"])
    step[1, 0, 1] = 100 * TOLERANCE[dtype]
    compare({"resid": THEIRS["resid"] + 0.9 * step}, THEIRS, dtype, n_texts=2)
    with pytest.raises(FidelityError, match=f"differ from those of transformers by .* at site resid, layer 1; {dtype} allows"):
        compare({"resid": THEIRS["resid"] + 1.1 * step}, THEIRS, dtype, n_texts=2)


def test_nan_is_refused():
    with pytest.raises(FidelityError, match="by nan"):
        compare({"resid": np.full_like(THEIRS["resid"], np.nan)}, THEIRS, "float32", n_texts=2)


def test_another_shape_is_refused():
    with pytest.raises(FidelityError, match=r"has shape \(1, 1, 2\) in vLLM and \(2, 1, 2\) in transformers"):
        compare({"resid": THEIRS["resid"][:1]}, THEIRS, "float32", n_texts=2)
