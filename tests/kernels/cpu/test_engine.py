from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from actlas.errors import KernelInputError
from actlas.kernels import NAMED_STATS, concept_scores, prepare_labels
from actlas.kernels.cpu import engine as cpu
from actlas.kernels.cpu.plan import Plan
from actlas.kernels.inputs import HostValues

STATS = (*NAMED_STATS, "q0.3")


def make(n_neurons=300, n_texts=63, n_concepts=18, seed=0, dtype=np.float16):
    rng = np.random.default_rng(seed)
    values = np.maximum(rng.standard_normal((n_neurons, n_texts)), -0.5).astype(dtype)
    return values, rng.random((n_texts, n_concepts)) < 0.3, rng.random((n_texts, n_concepts)) < 0.8


def assert_equal(found, expected):
    for stat, numbers in expected.items():
        np.testing.assert_array_equal(found[stat], numbers, err_msg=stat)


def test_number_of_threads_changes_no_bit():
    values, is_concept, is_member = make(n_neurons=2000, n_texts=200)
    one = concept_scores(values, is_concept, STATS, is_member, threads=1)
    assert_equal(concept_scores(values, is_concept, STATS, is_member, threads=3), one)


def test_calls_from_several_threads_do_not_meet():
    values, is_concept, _ = make()
    expected = concept_scores(values, is_concept, STATS)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: concept_scores(values, is_concept, STATS, threads=2), range(8)):
            assert_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("poison", [0x00, 0x55, 0xFF])
def test_no_result_depends_on_what_memory_held_before(monkeypatch, poison, dtype):
    values, is_concept, is_member = make(n_neurons=5, n_texts=1500, dtype=dtype)
    expected = [concept_scores(values, is_concept, stats, is_member, backend="reference") for stats in (STATS, ("ap", "auroc"))]
    empty = np.empty

    def poisoned(*args, **kwargs):
        array = empty(*args, **kwargs)
        array.view(np.uint8)[...] = poison
        return array

    monkeypatch.setattr(cpu.np, "empty", poisoned)
    found = [concept_scores(values, is_concept, stats, is_member, backend="cpu") for stats in (STATS, ("ap", "auroc"))]
    for one, other in zip(found, expected, strict=True):
        for stat, numbers in other.items():
            np.testing.assert_allclose(one[stat], numbers, rtol=0, atol=1e-12, err_msg=stat)


@pytest.mark.parametrize("n_texts", [63, 1000])
@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9])
def test_both_ways_to_rank_sums_agree(n_texts, zeros):
    rng = np.random.default_rng(n_texts)
    values = np.where(rng.random((4, n_texts)) < zeros, 0, rng.standard_normal((4, n_texts)).round(2)).astype(np.float16)
    is_concept = rng.random((n_texts, 37)) < rng.choice([0.02, 0.5], 37)
    is_concept[:2] = [[True], [False]]
    plan = Plan.of(prepare_labels(is_concept), ("ap", "auroc"), 0.0)
    found = []
    for is_dense in (False, True):
        labels = plan.call.labels._replace(
            sparse_cost=np.full_like(plan.call.labels.sparse_cost, 1e12 * is_dense),
            adds_all=np.full_like(plan.call.labels.adds_all, is_dense),
        )
        scores = {stat: np.empty((4, 37)) for stat in plan.slots}
        cpu.score_values(HostValues.of(values), Plan(plan.call._replace(labels=labels), plan.slots), scores, wide=False)
        found.append(scores)
    for stat in ("ap", "auroc"):
        np.testing.assert_allclose(found[0][stat], found[1][stat], rtol=0, atol=1e-13)


def test_texts_first_layout_and_read_only_memory_are_fine():
    values, is_concept, _ = make()
    turned = np.ascontiguousarray(values.T).T
    turned.flags.writeable = False
    assert_equal(concept_scores(turned, is_concept, STATS), concept_scores(values, is_concept, STATS))


def test_nothing_in_nothing_out():
    is_concept = np.ones((5, 2), bool)
    assert concept_scores(np.zeros((0, 5), np.float16), is_concept)["ap"].shape == (0, 2)
    assert concept_scores(np.zeros((3, 5), np.float16), is_concept[:, :0])["ap"].shape == (3, 0)


def test_the_first_refused_neuron_is_named_whichever_thread_found_one():
    values, is_concept, _ = make(n_neurons=9000)
    values[8500, 3] = values[700, 4] = np.nan
    with pytest.raises(KernelInputError, match="neuron 700, text 4"):
        concept_scores(values, is_concept, ("ap",), threads=2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_more_member_sets_than_a_label_word_holds(dtype):
    rng = np.random.default_rng(0)
    values = np.maximum(rng.standard_normal((3, 300)), 0).round(1).astype(dtype)
    is_concept, is_member = rng.random((300, 70)) < 0.3, rng.random((300, 70)) < 0.8
    is_member[:, ::5], is_member[:, 1::7] = True, is_member[:, 1:2]
    found, expected = (concept_scores(values, is_concept, NAMED_STATS, is_member, backend=name) for name in ("cpu", "reference"))
    for stat, numbers in expected.items():
        np.testing.assert_allclose(found[stat], numbers, rtol=0, atol=1e-12, err_msg=stat)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("levels", [3, 10_000])
def test_a_perfect_ranking_is_exactly_one(levels, dtype):
    n_texts = 600
    order = np.random.default_rng(0).permutation(n_texts)
    ranks = np.arange(n_texts, dtype=np.float64)
    for p in (1, 7, 49, 107, 300, 599):
        is_concept = np.zeros((n_texts, 1), bool)
        is_concept[order[-p:]] = True
        values = np.empty((2, n_texts), dtype)
        values[0, order] = np.minimum(
            np.where(ranks < n_texts - p, ranks * levels / n_texts // 1, 20_000 + ranks), 20_000 + levels
        )
        values[1] = -values[0]
        scores = concept_scores(values, is_concept, ("ap", "ap_anti"), backend="cpu")
        assert scores["ap"][0, 0] == scores["ap_anti"][1, 0] == 1.0
        assert concept_scores(values, is_concept, ("ap",), backend="cpu")["ap"][0, 0] == 1.0
        assert scores["ap"][1, 0] < 1.0
