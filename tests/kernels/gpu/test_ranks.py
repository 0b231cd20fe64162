"""Orders and rank statistics of the GPU engine at awkward sizes and values, counted on the chip and in memory."""

import numpy as np
import pytest
import torch

from actlas.kernels import concept_scores

pytest.importorskip("triton", reason="needs triton (pip install 'actlas[gpu]')")

from actlas.kernels.gpu import ranks
from actlas.kernels.gpu.device import require_gpu

RANK_STATS = ("ap", "ap_anti", "auroc", "best_f1", "best_f1_threshold")
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@pytest.fixture(params=[True, False], ids=["on the chip", "in memory"], autouse=True)
def counting(request, monkeypatch):
    if request.param and not ranks.counts_on_chip(require_gpu()):
        pytest.skip("this device does not count on the chip")
    monkeypatch.setattr(ranks, "counts_on_chip", lambda device: request.param)


def labels(n_texts, n_concepts=3, seed=1):
    rng = np.random.default_rng(seed)
    is_concept = rng.random((n_texts, n_concepts)) < 0.3
    is_concept[:1], is_concept[1:2] = True, False
    return is_concept, rng.random((n_texts, n_concepts)) < 0.8


def order_of(values):
    order = ranks.order_texts(values.to(require_gpu()))
    return order.place.cpu().numpy(), order.n_distinct.cpu().numpy()


def assert_same(values, is_concept, is_member=None, stats=RANK_STATS):
    found = concept_scores(values.to(require_gpu()), is_concept, stats, is_member, backend="gpu")
    expected = concept_scores(values, is_concept, stats, is_member, backend="reference")
    for stat in stats:
        atol = 0 if stat == "best_f1_threshold" else 1e-6
        np.testing.assert_allclose(found[stat].cpu().numpy(), expected[stat], rtol=0, atol=atol, err_msg=stat)


@pytest.mark.parametrize("dtype", DTYPES)
def test_places_are_those_of_the_distinct_values(dtype):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((3, 5000))).to(dtype)
    x[1] = x[1].clamp(min=0.5)
    x[2] = torch.copysign(torch.zeros(5000), x[2].float()).to(dtype)
    place, n_distinct = order_of(x)
    for row, found, n in zip(x.double().numpy() + 0.0, place, n_distinct, strict=True):
        distinct, expected = np.unique(-row, return_inverse=True)
        assert n == len(distinct)
        assert np.array_equal(found, expected)


def test_float32_is_ordered_by_its_last_bit():
    bits = torch.tensor([0, 1, 2, 3, 0x3F800000, 0x3F800001, 0x3F80FFFF, 0x3F810000, 0x7F7FFFFF], dtype=torch.int32)
    x = bits.view(torch.float32)
    x = torch.cat([x, -x, x[4:6]])[None]
    place, n_distinct = order_of(x)
    _, expected = np.unique(-(x[0].double().numpy() + 0.0), return_inverse=True)
    assert n_distinct == [17]
    assert np.array_equal(place[0], expected)


@pytest.mark.parametrize("n_texts", [*range(2, 12), 31, 32, 33, 63, 64, 65, 70, 255, 256, 257, 1023, 1024, 1025])
def test_odd_sizes(n_texts):
    rng = np.random.default_rng(n_texts)
    values = torch.from_numpy(rng.standard_normal((1, n_texts)).round(1)).half()
    assert_same(values, *labels(n_texts))


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_equal_and_subnormal_values_with_members(dtype):
    rng = np.random.default_rng(3)
    values = torch.from_numpy(rng.standard_normal((3, 300)).clip(0)).to(dtype)
    values[1] = 2.5
    values[2] *= torch.finfo(dtype).smallest_normal / 8
    is_concept, is_member = labels(300, 4)
    is_member[:, 1] = is_member[:, 0]
    is_member[:, 3] = True
    is_member[:2] = True
    assert_same(values, is_concept, is_member)


def test_one_concept_none_and_a_perfect_one():
    values = torch.arange(40, dtype=torch.float16)[None]
    assert_same(values, np.arange(40)[:, None] >= 33)
    is_concept = np.zeros((40, 2), bool)
    is_concept[37:, 1] = True
    scores = concept_scores(values.to(require_gpu()), is_concept, ("ap", "auroc"), backend="gpu")
    assert scores["ap"].isnan().tolist() == [[True, False]]
    assert scores["ap"][0, 1] == 1 == scores["auroc"][0, 1]


def test_of_equally_good_thresholds_the_highest():
    # 1 of 1 with 3 positives, 2 of 5, 3 of 9: F1 is one half each time
    values = torch.arange(9, 0, -1).half()[None]
    is_concept = np.zeros((9, 1), bool)
    is_concept[[0, 4, 8]] = True
    assert_same(values, is_concept)
    scores = concept_scores(values.to(require_gpu()), is_concept, RANK_STATS, backend="gpu")
    assert scores["best_f1_threshold"].item() == 9


def test_thresholds_whose_f1_float32_cannot_tell_apart():
    rng = np.random.default_rng(5)
    values = torch.from_numpy(rng.permutation(6000)).float()[None]
    rank = 5999 - values[0].long().numpy()
    is_concept = np.zeros((6000, 1), bool)
    # 2,000 of 4,998 and 2,001 of 5,001 with 2,001 positives: 2000/6999 and 2001/7002, which differ by 6e-8 of their size
    is_concept[(rank < 1999) | (rank == 4997) | (rank == 5000), 0] = True
    assert_same(values, is_concept)
    is_concept[:] = (rng.random(6000) < 0.97)[:, None]
    assert_same(values, is_concept)


@pytest.mark.parametrize(("n_texts", "dtype"), [(16383, torch.float16), (33000, torch.bfloat16), (5000, torch.float32)])
def test_many_texts(n_texts, dtype):
    rng = np.random.default_rng(6)
    values = torch.from_numpy(rng.standard_normal((1, n_texts))).to(dtype)
    is_concept, is_member = labels(n_texts, 2)
    assert_same(values, is_concept)
    assert_same(values, is_concept, is_member, stats=("ap",))


def test_neurons_of_one_program_do_not_see_each_other(monkeypatch):
    empty = torch.empty

    def poisoned(*args, **kwargs):
        array = empty(*args, **kwargs)
        return array.fill_(float("nan") if array.is_floating_point() else -77)

    monkeypatch.setattr(torch, "empty", poisoned)
    rng = np.random.default_rng(7)
    values = torch.from_numpy(rng.standard_normal((5, 200))).float()
    assert_same(values, *labels(200))
