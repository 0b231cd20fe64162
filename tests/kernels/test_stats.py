import pytest

from actlas.errors import KernelInputError
from actlas.kernels.stats import DEFAULT_STATS, NAMED_STATS, checked_stats, quantile_of


def test_default_statistics_are_named_ones():
    assert set(DEFAULT_STATS) <= set(NAMED_STATS)


@pytest.mark.parametrize(("name", "q"), [("q0", 0.0), ("q0.25", 0.25), ("q1", 1.0), ("median", 0.5), ("p90", 0.9)])
def test_names_of_quantiles(name, q):
    assert quantile_of(name) == q


@pytest.mark.parametrize("name", ["q1.5", "q-1", "q", "p50", "AP", "q0.5x"])
def test_unknown_statistics_are_refused_by_name(name):
    with pytest.raises(KernelInputError, match=name):
        checked_stats(("ap", name))


def test_repeats_are_dropped_and_a_single_name_is_a_list_of_one():
    assert checked_stats(("ap", "auroc", "ap")) == ("ap", "auroc")
    assert checked_stats("ap") == ("ap",)
