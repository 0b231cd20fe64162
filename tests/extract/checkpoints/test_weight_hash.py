import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from actlas.errors import ModelNotLoaded
from actlas.extract.checkpoints.weight_hash import HashedWeights, weight_files, weight_hash

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16), "c.d": torch.zeros(0)}


def save(folder, tensors, metadata=None):
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata=metadata)
    return folder


def save_in_two(folder, tensors):
    folder.mkdir()
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[:1], "model-2.safetensors": names[1:]}
    for file, inside in parts.items():
        save_file({name: tensors[name] for name in inside}, folder / file)
    index = {"weight_map": {name: file for file, inside in parts.items() for name in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_the_hash_is_of_the_tensors_not_of_the_files(tmp_path):
    whole = weight_hash(save(tmp_path / "whole", TENSORS))
    assert weight_hash(save(tmp_path / "again", TENSORS, {"format": "pt", "note": "other"})) == whole
    assert weight_hash(save_in_two(tmp_path / "two", TENSORS)) == whole


@pytest.mark.parametrize(
    "change",
    [
        {"a": TENSORS["a"] + 1e-7},
        {"a": TENSORS["a"].reshape(3, 2)},
        {"b": TENSORS["b"].view(torch.bfloat16)},
        {"e": torch.zeros(1)},
    ],
    ids=["value", "shape", "dtype", "one more"],
)
def test_any_difference_changes_the_hash(tmp_path, change):
    assert weight_hash(save(tmp_path / "a", TENSORS)) != weight_hash(save(tmp_path / "b", {**TENSORS, **change}))


def test_weights_in_other_formats_are_refused_by_name(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelNotLoaded, match=r"no safetensors weights in .* \(it has pytorch_model.bin"):
        weight_files(tmp_path)


def test_missing_and_damaged_files_are_refused(tmp_path):
    folder = save_in_two(tmp_path / "two", TENSORS)
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(ModelNotLoaded, match="lacks 1 of 2 weight files: model-2"):
        weight_hash(folder)
    folder = save(tmp_path / "cut", TENSORS)
    data = (folder / "model.safetensors").read_bytes()
    for damaged, why in ((data[:-3], "cut short"), (b"abc", "no safetensors"), (struct.pack("<Q", 4) + b"{{{{xx", "not JSON")):
        (folder / "model.safetensors").write_bytes(damaged)
        with pytest.raises(ModelNotLoaded, match=why):
            weight_hash(folder)


def test_two_sets_of_weights_in_one_folder_are_refused(tmp_path):
    folder = save_in_two(tmp_path / "two", TENSORS)
    save_file(TENSORS, folder / "model.safetensors")
    with pytest.raises(ModelNotLoaded, match=r"two sets of weights: model\.safetensors, and model-1\.safetensors, model-2"):
        weight_hash(folder)
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(ModelNotLoaded, match="lacks 1 of 2"):
        weight_hash(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(TENSORS, "model.safetensors")}))
    assert weight_hash(folder) == weight_hash(save(tmp_path / "whole", TENSORS))


def test_other_files_beside_the_weights_do_not_count(tmp_path):
    folder = save(tmp_path / "a", TENSORS)
    before = weight_hash(folder)
    for name in ("model.fp16.safetensors", "consolidated.safetensors"):
        save_file({"a": TENSORS["a"] + 1}, folder / name)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    assert weight_hash(folder) == before


def test_an_adapter_is_refused(tmp_path):
    folder = save(tmp_path / "a", TENSORS)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelNotLoaded, match=r"holds an adapter \(adapter_config.json\).*; merge the two"):
        weight_hash(folder)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/tmp/outside.safetensors", "sub/../../outside.safetensors"])
def test_weights_outside_of_the_folder_are_refused(tmp_path, name):
    folder = save_in_two(tmp_path / "two", TENSORS)
    save_file(TENSORS, tmp_path / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ModelNotLoaded, match="names .*outside.safetensors, outside of its folder"):
        weight_hash(folder)


def test_weights_in_a_folder_below_are_hashed(tmp_path):
    folder = save_in_two(tmp_path / "two", TENSORS)
    (folder / "sub").mkdir()
    for name in ("model-1", "model-2"):
        (folder / f"{name}.safetensors").rename(folder / "sub" / f"{name}.safetensors")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"] = {tensor: f"sub/{file}" for tensor, file in index["weight_map"].items()}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weight_hash(folder) == weight_hash(save(tmp_path / "whole", TENSORS))


@pytest.mark.parametrize("index", ["[]", "{", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}', '{"weight_map": {}}'])
def test_an_index_that_is_none_is_refused(tmp_path, index):
    folder = save_in_two(tmp_path / "two", TENSORS)
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelNotLoaded, match="is no index of weights|names no file"):
        weight_hash(folder)


def test_a_tensor_that_is_in_two_files_is_refused(tmp_path):
    folder = save_in_two(tmp_path / "two", TENSORS)
    save_file({"a": TENSORS["a"] + 1, "b": TENSORS["b"], "c.d": TENSORS["c.d"]}, folder / "model-2.safetensors")
    with pytest.raises(ModelNotLoaded, match=r"holds tensor a twice, in model-1\.safetensors and model-2"):
        weight_hash(folder)


def test_floats_of_eight_bits_are_refused(tmp_path):
    folder = save(tmp_path / "a", {**TENSORS, "q": torch.zeros(4).to(torch.float8_e4m3fn)})
    with pytest.raises(ModelNotLoaded, match="is quantised: tensor q is F8_E4M3"):
        weight_hash(folder)


@pytest.mark.parametrize("change", ["rewritten", "replaced", "one more"])
def test_weights_that_changed_after_they_were_hashed_are_noticed(tmp_path, change):
    folder = save(tmp_path / "a", TENSORS)
    hashed = HashedWeights.of(folder)
    hashed.check(folder)
    if change == "rewritten":
        with (folder / "model.safetensors").open("r+b") as file:
            file.write(file.read(1))
    elif change == "replaced":
        save_file({"a": TENSORS["a"] + 1}, folder / "new")
        (folder / "new").rename(folder / "model.safetensors")
    else:
        (folder / "config.json").write_text("{}")
    with pytest.raises(ModelNotLoaded, match="changed while the checkpoint was read"):
        hashed.check(folder)
