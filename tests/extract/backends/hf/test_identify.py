"""What a configuration says of a model before its weights are read."""

import json
import re

import pytest
import transformers

from actlas.errors import ModelNotLoaded, ModelNotSupported
from actlas.extract.backends.base import BackendSettings, Capture
from actlas.extract.backends.hf.backend import HfBackend
from actlas.extract.backends.hf.identify import load_config, refuse_experts
from actlas.names import Checkpoint

MIXTURES = (
    *("Mixtral", "Qwen2Moe", "Qwen3Moe", "Olmoe", "DeepseekV3", "GptOss", "GraniteMoe", "JetMoe", "Jamba"),
    *("Glm4Moe", "MiniMax", "FlexOlmo", "Llama4Text", "Qwen3Next", "Dbrx", "Ernie4_5_Moe", "Lfm2Moe", "DeepseekV2"),
    *("LongcatFlash", "GraniteMoeHybrid", "Qwen3_5Moe"),
)
#: Configurations that leave the number of experts to a setting.
CHOSEN = (
    ("Doge", {"is_moe": True}),
    ("Dots1", {"n_routed_experts": 4}),
    ("HunYuanMoEV1", {"num_experts": 4}),
    ("Gemma4Text", {"enable_moe_block": True, "num_experts": 4}),
)


@pytest.mark.parametrize(("name", "settings"), [*((name, {}) for name in MIXTURES), *CHOSEN])
def test_a_mixture_of_experts_is_refused_whatever_its_configuration_calls_them(name, settings):
    with pytest.raises(ModelNotSupported, match=r"routes each token to some of \d+ experts; .* Dense models can be extracted"):
        refuse_experts(getattr(transformers, f"{name}Config")(**settings))


def test_deepseek_is_dense_where_as_many_layers_begin_dense_as_there_are():
    refuse_experts(transformers.DeepseekV3Config(num_hidden_layers=3, first_k_dense_replace=3))
    with pytest.raises(ModelNotSupported, match="routes each token"):
        refuse_experts(transformers.DeepseekV3Config(num_hidden_layers=4, first_k_dense_replace=3))


@pytest.mark.parametrize("name", ["Llama", "Qwen3", "Gemma2", "Falcon", "Bloom", "GPT2", "Doge", "HunYuanMoEV1", "Dots1"])
def test_dense_models_are_not_refused(name):
    refuse_experts(getattr(transformers, f"{name}Config")())


def test_the_activation_function_is_the_one_that_the_family_s_setting_names(with_config):
    backend = HfBackend(BackendSettings(device="cpu"))
    for name in ("silu", "relu2"):
        assert backend.locate(Checkpoint("m", str(with_config(hidden_act=name)))).activation == name
    other = with_config(architectures=["UnknownForCausalLM"])
    assert backend.locate(Checkpoint("m", str(other))).activation is None


@pytest.fixture
def with_config(model_writer, tmp_path):
    """A function: a checkpoint whose config.json says something else, too."""

    def change(**changes):
        folder = tmp_path / "m"
        if not folder.exists():
            model_writer(folder, "llama")
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return folder

    return change


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_hidden_layers": "two"}, "num_hidden_layers"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, no number of layers"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000, no number of layers"),
        ({"architectures": 3}, "architectures is 3, no list of names"),
        ({"num_attention_heads": 0}, "ZeroDivisionError"),
        ({"vocab_size": "x"}, "vocab_size"),
        ({"dtype": "float99"}, "float99"),
        ({"rope_scaling": 3}, "rope_parameters"),
        ({"num_experts": "two"}, "num_experts is 'two', not a number"),
        ({"transformers_weights": "other.safetensors"}, r"names its own weights \(other\.safetensors\)"),
        ({"model_type": "none_such"}, "none_such"),
        ({"hidden_act": "none_such"}, "could not be loaded: KeyError: 'none_such'"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_one_error(with_config, changes, named):
    backend = HfBackend(BackendSettings(device="cpu"))
    with pytest.raises(ModelNotLoaded, match=named) as refused:
        backend.open(backend.locate(Checkpoint("m", str(with_config(**changes)))), Capture(sites=("mlp_pre",)))
    assert "\n" not in str(refused.value)


QUANTISED = (
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes, 8 bit"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes, 4 bit"),
    ({"load_in_4bit": True}, "unnamed method, 4 bit"),
    ({"quant_method": "gptq", "bits": 4}, "gptq, 4 bit"),
    ({"quant_method": "awq", "bits": 4}, "awq, 4 bit"),
    ({"quant_method": "fp8"}, "fp8"),
    ({"quant_method": "compressed-tensors", "format": "int-quantized"}, "compressed-tensors"),
    ({"quant_method": "none_such"}, "none_such"),
    ("none_such", "none_such"),
)


@pytest.mark.parametrize(("settings", "named"), QUANTISED)
def test_a_quantised_checkpoint_is_refused_by_the_name_of_its_method(with_config, settings, named):
    for place in ({"quantization_config": settings}, {"text_config": {"quantization_config": settings}}):
        folder = with_config(**place)
        with pytest.raises(
            ModelNotSupported, match=rf"is quantised \({re.escape(named)}, says quantization_config in config.json\)"
        ):
            load_config(folder, trust_remote_code=False)
        (folder / "config.json").unlink()
        folder.rename(folder.with_name(f"old{len(place)}{next(iter(place))}"))


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("quantize_config.json", {"bits": 4}, "unnamed method, 4 bit"),
        ("quant_config.json", {"quant_method": "awq"}, "awq"),
        ("hf_quant_config.json", {"quantization": {"quant_algo": "FP8"}}, "unnamed method"),
    ],
)
def test_a_quantisation_that_is_described_beside_the_configuration_is_refused(with_config, file, content, named):
    folder = with_config()
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(ModelNotSupported, match=rf"is quantised \({named}, says {file}\)"):
        load_config(folder, trust_remote_code=False)


def test_no_quantisation_is_none(with_config):
    assert load_config(with_config(quantization_config=None), trust_remote_code=False).num_hidden_layers == 2
