import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from actlas.errors import ModelNotLoaded
from actlas.extract.checkpoints.weight_hash import weight_files, weight_hash

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
