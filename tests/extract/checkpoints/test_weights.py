"""What is kept of weights, against the tensors themselves."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from actlas.errors import ModelNotLoaded
from actlas.extract.checkpoints.weights import describe_weights
from actlas.kernels.sketch import SKETCH_ERROR


def saved(folder, tensors):
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    return {record.module: record for record in describe_weights(folder)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(300, 100), (100, 300), (5, 60, 40)])
def test_norm_and_spectrum_are_those_of_the_tensor(dtype, shape, tmp_path):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    record = saved(tmp_path, {"h.0.w.weight": tensor})["h.0.w.weight"]
    exact = tensor.double().numpy().reshape(-1, shape[-1])
    values = np.linalg.svd(exact, compute_uv=False)
    shares = values**2 / (values**2).sum()
    assert record.shape == shape
    assert record.norm == pytest.approx(np.linalg.norm(exact), rel=1e-12)
    assert record.stable_rank == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-10)
    assert record.spectral_entropy == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-10)
    assert record.effective_rank == pytest.approx(np.exp(record.spectral_entropy))
    assert np.linalg.norm(record.sketch) == pytest.approx(np.linalg.norm(exact), rel=6 * SKETCH_ERROR)


def test_a_distance_is_told_by_two_files_that_were_never_read_together(tmp_path):
    before, step = torch.randn((2, 200, 300), generator=torch.Generator().manual_seed(1))
    a = saved(tmp_path / "a", {"w": before})["w"]
    b = saved(tmp_path / "b", {"w": before + 1e-3 * step})["w"]
    assert np.linalg.norm(a.sketch - b.sketch) == pytest.approx(float((1e-3 * step).norm()), rel=6 * SKETCH_ERROR)


def test_vectors_have_a_norm_and_numbers_that_are_no_weights_have_nothing(tmp_path):
    tensors = {"scale": torch.full((4,), 3.0), "one": torch.tensor(2.0), "mask": torch.ones(3, 3, dtype=torch.bool)}
    records = saved(tmp_path, {**tensors, "none": torch.zeros(0, 4)})
    assert {name: (record.norm, record.sketch) for name, record in records.items()} == {"scale": (6, None), "one": (2, None)}


@pytest.mark.parametrize(("value", "norm"), [(0.0, 0.0), (float("nan"), float("nan")), (float("inf"), float("nan"))])
def test_a_matrix_without_a_spectrum_has_none(value, norm, tmp_path):
    record = saved(tmp_path, {"w": torch.full((3, 3), value)})["w"]
    assert record.norm == pytest.approx(norm, nan_ok=True)
    assert record.stable_rank is record.spectral_entropy is record.sketch is None


def test_shards_are_read_one_after_the_other_and_a_stop_is_heard(tiny_models, tmp_path):
    whole = load_file(tiny_models("llama") / "model.safetensors")
    names = sorted(whole)
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: whole[name] for name in part}, tmp_path / f"part-{number}.safetensors")
    index = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(names)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert sorted(record.module for record in describe_weights(tmp_path)) == names
    answers = iter([True, True, False])
    assert len(list(describe_weights(tmp_path, lambda: next(answers)))) == 2


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    saved(tmp_path, {"w": torch.ones(9, 9)})
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ModelNotLoaded, match="cut short"):
        list(describe_weights(tmp_path))
