"""Random-weights twins: same architecture and tokenizer, new weights, the same ones for the same seed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from actlas.errors import ModelNotLoaded
from actlas.extract.backends.base import BackendSettings, Capture
from actlas.extract.backends.hf.backend import HfBackend
from actlas.names import Checkpoint, RandomTwin
from tests.extract.conftest import CONFIGS

BACKEND = HfBackend(BackendSettings(device="cpu"))


def located(folder, seed=0):
    twin = Checkpoint("m-random0", str(folder), twin=RandomTwin("m", seed))
    return BACKEND.locate(twin)


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_every_family_has_a_twin_that_one_seed_gives_again(family, tiny_models):
    folder = tiny_models(family)
    own = BACKEND.locate(Checkpoint("m", str(folder)))
    before = torch.random.get_rng_state()
    twin, again, other = located(folder), located(folder), located(folder, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert twin.weight_hash == again.weight_hash
    assert len({own.weight_hash, twin.weight_hash, other.weight_hash}) == 3
    assert (twin.tokenizer_hashes, twin.architecture) == (own.tokenizer_hashes, own.architecture)
    session = BACKEND.open(twin, Capture(sites=("resid",), dtype="float32", max_tokens=60))
    assert session.shapes == {"resid": (2, 24)}
    session.close()


def test_the_weights_are_those_that_the_model_begins_with_in_the_dtype_of_the_checkpoint(model_writer, tmp_path):
    folder = model_writer(tmp_path / "m", "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    twin = located(folder, seed=3)
    torch.manual_seed(3)
    fresh = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder), dtype=torch.float32)
    weights = load_file(twin.folder / "model.safetensors")
    name = "model.layers.1.mlp.gate_proj.weight"
    assert weights[name].dtype == torch.bfloat16
    assert torch.equal(weights[name], fresh.state_dict()[name].to(torch.bfloat16))
    # spread as a configuration asks, not as the checkpoint's own
    assert np.isclose(float(fresh.state_dict()[name].std()), 0.2, rtol=0.1)
    assert (twin.folder / "config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_its_folder_goes_with_it(tiny_models):
    twin = located(tiny_models("llama"))
    folder = twin.folder
    assert (folder / "tokenizer.json").is_file()
    del twin
    assert not folder.exists()


def test_a_model_that_cannot_begin_anew_is_refused(tiny_models, tmp_path, monkeypatch):
    from actlas.extract.backends.hf import random_twin

    class Broken:
        @staticmethod
        def from_config(*_, **__):
            raise KeyError("init")

    own = BACKEND.locate(Checkpoint("m", str(tiny_models("llama"))))
    monkeypatch.setattr(random_twin, "auto_class", lambda _: Broken)
    with pytest.raises(ModelNotLoaded, match=r"no new weights for the model in .*KeyError"):
        random_twin.with_new_weights(replace(own), 0, BACKEND.settings)


def test_an_index_of_other_files_is_left_behind(model_writer, tmp_path):
    folder = model_writer(tmp_path / "m", "llama")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model.safetensors"}}))
    assert not (located(folder).folder / "model.safetensors.index.json").exists()
