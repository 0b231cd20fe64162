"""Moments against float64, where they are hard: on a CUDA device if there is one, else in Triton's interpreter."""

import numpy as np
import pytest
import torch

from actlas.kernels import concept_scores

pytest.importorskip("triton", reason="needs triton (pip install 'actlas[gpu]')")

from actlas.kernels.gpu.device import require_gpu
from actlas.kernels.gpu.moments import moments
from actlas.kernels.gpu.variants import Variant

STATS = ("mean", "mean_off", "std", "p_active", "p_active_off")
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
#: What `moments` promises of a sum: of its terms' magnitudes, and of the largest deviation's for each text.
OF_SUM, OF_LARGEST, LEAST_LARGEST = 2.0**-20, 2.0**-31, 2.0**-120


@pytest.fixture
def device():
    return require_gpu()


def make(case, dtype, n_neurons, n_texts):
    x = np.random.default_rng(3).standard_normal((n_neurons, n_texts))
    if case == "large mean, small spread":
        x = 1000 + x / 100
    elif case == "one outlier":
        x[:, n_texts // 2] = 20000
    elif case == "outlier first":
        x[:, 0] = -20000
    elif case == "subnormal":
        x *= 2.0**-20 if dtype == "float16" else 1e-40
        if dtype == "bfloat16":  # whose subnormal numbers the interpreter reads wrongly: the smallest others
            x = np.copysign(2.0**-126, x)
    elif case == "huge":
        x = np.sign(x) * (60000 if dtype == "float16" else 3e38)
    elif case == "all equal":
        x[:] = 0.7
    elif case == "mostly zero":
        x = np.maximum(x - 1.5, 0)
    return torch.from_numpy(x).to(DTYPES[dtype])


def labels_of(n_texts, n_concepts, seed=0):
    is_concept = np.random.default_rng(seed).random((n_texts, n_concepts)) < 0.3
    is_concept[:2] = [[True], [False]]
    return is_concept


def assert_sums(values, columns, threshold=0.0):
    found = moments(values, columns, threshold)
    x, y = values.double(), columns.double()
    d = x - found.pivot.double()[:, None]
    largest = d.abs().amax(1, keepdim=True).clamp(min=LEAST_LARGEST)
    n = y.sum(0)
    for got, terms, top in ((found.sums, d, largest), (found.squares, d * d, largest**2)):
        assert got.dtype == torch.float64
        assert bool(((got - terms @ y).abs() <= OF_SUM * (terms.abs() @ y) + OF_LARGEST * top * n).all())
    assert torch.equal(found.active, (x > threshold).double() @ y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "case",
    [
        "large mean, small spread",
        "one outlier",
        "outlier first",
        "subnormal",
        "huge",
        "all equal",
        "mostly zero",
    ],
)
def test_hard_values(case, dtype, device):
    values = make(case, dtype, 9, 200).to(device)
    is_concept = labels_of(200, 5)
    assert_sums(values, torch.from_numpy(is_concept).to(device, torch.uint8))
    found = concept_scores(values, is_concept, STATS, backend="gpu")
    expected = concept_scores(values.cpu(), is_concept, STATS, backend="reference")
    largest = max(1.0, float(values.abs().max()))
    for stat, numbers in expected.items():
        # of the largest value, for statistics that are values; float32, which scores are, has 6e-8 of that
        scale = 1.0 if stat.startswith("p_") else largest
        np.testing.assert_allclose(found[stat].cpu().numpy(), numbers, rtol=0, atol=1e-6 * scale, err_msg=stat)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n_neurons", "n_texts", "n_columns"), [(1, 1, 1), (31, 63, 3), (33, 65, 65), (40, 128, 64), (8, 1000, 5)]
)
@pytest.mark.parametrize("layout", ["neuron by neuron", "text by text", "every other"])
def test_sizes_and_layouts_beside_poisoned_memory(layout, n_neurons, n_texts, n_columns, dtype, device):
    values = make("gaussian", dtype, n_neurons, n_texts).to(device)
    # what lies before, between and behind the values is NaN, and so is what results are written into
    around = torch.full((n_neurons + 16, 2 * n_texts + 16), torch.nan, dtype=values.dtype, device=device)
    if layout == "text by text":
        around = torch.full((n_texts + 16, n_neurons + 16), torch.nan, dtype=values.dtype, device=device).T
    placed = around[
        8 : 8 + n_neurons, 8 : 8 + n_texts * (2 if layout == "every other" else 1) : 2 if layout == "every other" else 1
    ]
    placed[:] = values
    start = placed if placed.data_ptr() % 16 == 0 else placed.clone()
    columns = torch.from_numpy(labels_of(n_texts, n_columns) if n_texts > 1 else np.ones((1, n_columns), bool))
    assert_sums(start, columns.to(device, torch.uint8), 0.25)


def test_results_do_not_depend_on_what_was_there(device, monkeypatch):
    empty = torch.empty

    def poisoned(*args, **kwargs):
        array = empty(*args, **kwargs)
        return array.fill_(float("nan") if array.is_floating_point() else -77)

    monkeypatch.setattr(torch, "empty", poisoned)
    values = make("gaussian", "float16", 33, 70).to(device)
    assert_sums(values, torch.from_numpy(labels_of(70, 67)).to(device, torch.uint8))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_many_texts_lose_no_more_than_one_tile(dtype, device):
    # 0.7 squared has no short binary form: without a correction 20,000 of them drift by a millionth
    values = make("all equal", dtype, 2, 20000).to(device)
    values[:, 0] = 0
    columns = torch.ones((20000, 1), dtype=torch.uint8, device=device)
    found = moments(values, columns, 0.0)
    d = values.double() - found.pivot.double()[:, None]
    for got, terms in ((found.sums, d), (found.squares, d * d)):
        assert float((got[:, 0] / terms.sum(1) - 1).abs().max()) < 1.5e-7


@pytest.mark.parametrize("threshold", [0.1, -0.1, 1e-50, 3.4e38])
def test_a_threshold_between_two_float32_divides_as_in_float64(threshold, device):
    near = np.float32(threshold)
    values = torch.tensor([[near, np.nextafter(near, np.float32(-1)), np.nextafter(near, np.float32(1)), 0.0]], device=device)
    assert_sums(values, torch.ones((4, 1), dtype=torch.uint8, device=device), threshold)


def test_member_sets_of_their_own_for_many_concepts(device):
    values = make("gaussian", "bfloat16", 5, 90).to(device)
    is_concept, is_member = labels_of(90, 70), labels_of(90, 70, seed=1) | labels_of(90, 70, seed=2)
    found = concept_scores(values, is_concept, STATS, is_member, backend="gpu")
    expected = concept_scores(values.cpu(), is_concept, STATS, is_member, backend="reference")
    for stat, numbers in expected.items():
        np.testing.assert_allclose(found[stat].cpu().numpy(), numbers, rtol=0, atol=3e-6, err_msg=stat)


def test_one_launch_serves_all_columns_and_the_layouts_take_variants_of_their_own(device, monkeypatch):
    launched = []
    launch = Variant.launch
    monkeypatch.setattr(
        Variant, "launch", lambda self, grid, *arguments: launched.append((self, grid)) or launch(self, grid, *arguments)
    )
    columns = torch.ones((64, 200), dtype=torch.uint8, device=device)
    values = make("gaussian", "float16", 40, 64).to(device)
    for part in (values, values.T.contiguous().T, values[:, :63].contiguous(), values.T.contiguous().T[:39]):
        moments(part, columns[: part.shape[1]], 0.0)
    assert [grid for _, grid in launched] == [(1 * 7,)] * 4
    layouts = [(variant.constants["IS_TEXT_MAJOR"], variant.constants["STEP"]) for variant, _ in launched]
    assert layouts == [(False, 8), (True, 8), (False, 1), (False, 8)]
