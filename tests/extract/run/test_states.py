import numpy as np
import pytest

from actlas.compiled.bfloat16 import float32_to_bfloat16
from actlas.extract.run.states import KernelAccumulator, ranges_of
from actlas.kernels import HistogramState
from actlas.store.corpus.text_sets import LanguageSets

LABELS = np.array([[True, False], [False, True], [True, True], [False, False]])
SETS = LanguageSets("en", slice(0, 4), 0, ("a", "b"), LABELS, np.ones_like(LABELS), np.array([0, 0]), np.array([2, 2, 4]))
ENDS = np.array([[-4.0], [4.0]])


def empty(fold):
    return {"count": np.zeros(3, np.int64)} | {
        name: np.zeros(shape, np.uint32 if name == "codes" else np.int64) for name, shape in fold.shapes(3, 1).items()
    }


@pytest.mark.parametrize("kinds", [("moments",), ("histogram",), ("moments", "histogram")])
def test_parts_that_are_merged_are_the_whole(kinds):
    fold = KernelAccumulator(kinds, threshold=0.5)
    values = np.array([[-1.25, 3.0, 0.75, 0.5]], np.float16)
    whole, first, second = empty(fold), empty(fold), empty(fold)
    fold.add(whole, SETS, slice(0, 4), values, ENDS)
    fold.add(first, SETS, slice(0, 1), values[:, :1], ENDS)
    fold.add(second, SETS, slice(1, 4), values[:, 1:], ENDS)
    for merged in (fold.merge(first, second), fold.merge(second, fold.merge(first, empty(fold)))):
        assert merged.keys() == whole.keys()
        for name, array in whole.items():
            np.testing.assert_array_equal(merged[name], array, err_msg=name)
    assert whole["count"].tolist() == [2, 2, 4]
    if "moments" in kinds:
        assert whole["active"][:, 0].tolist() == [1, 2, 2]
    if "histogram" in kinds:
        assert whole["codes"].sum(axis=(1, 2)).tolist() == [2, 2, 4]


def test_a_range_holds_every_value_it_was_found_on_and_is_never_empty():
    values = np.array([[[2.0, 2.0], [0.0, 0.0], [-1.0, 3.0]]], np.float32)
    found = ranges_of([{"resid": float32_to_bfloat16(values)}])["resid"]
    assert found.shape == (2, 1, 3)
    low, high = found[:, 0]
    codes = HistogramState.init(low, high, 1).code(values[0])
    assert ((codes > 0) & (codes < 255)).all()
    assert (low[2], high[2]) == (-2.0, 4.0)
