"""Sizes told from a configuration are those of the model that runs."""

import shutil

import pytest

from actlas.errors import ModelNotLoaded
from actlas.extract.backends.base import BackendSettings, Capture
from actlas.extract.backends.hf import sizes
from actlas.extract.backends.hf.backend import HfBackend
from actlas.extract.sites.families import family_of, known_sites
from actlas.names import Checkpoint

SETTINGS = BackendSettings(device="cpu")


@pytest.mark.parametrize("family", ["bloom", "xglm", "gpt2", "gpt_neox", "opt", "llama", "gemma2", "falcon", "bert"])
def test_widths_and_parameters_are_those_of_the_loaded_model(tiny_models, tmp_path, family):
    folder = tiny_models(family)
    (tmp_path / "bare").mkdir()
    shutil.copy(folder / "config.json", tmp_path / "bare")  # no weights, no tokenizer
    backend = HfBackend(SETTINGS)
    located = backend.locate(Checkpoint("m", str(folder)))
    sites = known_sites(family_of(located.architecture))
    session = backend.open(located, Capture(sites=tuple(sites)))
    with sizes.configured(Checkpoint("m", str(tmp_path / "bare")), SETTINGS) as bare:
        n_parameters, shapes = sizes.sizes_of(bare, sites, {}, SETTINGS)
    assert shapes == session.shapes
    assert n_parameters == sum(parameter.numel() for parameter in session._model.parameters())


def test_a_hub_id_is_estimated_from_its_configuration_alone(tiny_models, monkeypatch):
    folder = tiny_models("llama")
    asked = []

    def download(model, name, *, revision, local_dir):
        asked.append((model, name, revision))
        return shutil.copy(folder / name, local_dir)

    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(sizes, "hf_hub_download", download)
    monkeypatch.setattr(sizes, "model_info", unreachable)
    checkpoint = Checkpoint("m", "org/m", revision="step8")
    with sizes.configured(checkpoint, SETTINGS) as located:
        n_parameters, _ = sizes.sizes_of(located, ["mlp_pre"], {}, SETTINGS)
        assert sizes.bytes_of_weights(located, n_parameters)[1] == "parameters"
        config = located.folder
    assert asked == [("org/m", "config.json", "step8")]
    assert not config.exists(), "nothing is left of it"
    monkeypatch.setattr(sizes, "hf_hub_download", unreachable)
    message = r"config.json of org/m at revision 'step8' is neither.*no network"
    with pytest.raises(ModelNotLoaded, match=message), sizes.configured(checkpoint, SETTINGS):
        pass
