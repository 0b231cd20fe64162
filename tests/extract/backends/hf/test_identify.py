"""What a configuration says of a model before its weights are read."""

import pytest
import transformers

from actlas.errors import ModelNotSupported
from actlas.extract.backends.hf.identify import refuse_experts

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


@pytest.mark.parametrize("name", ["Llama", "Qwen3", "Gemma2", "Falcon", "Bloom", "GPT2", "Doge", "HunYuanMoEV1", "Dots1"])
def test_dense_models_are_not_refused(name):
    refuse_experts(getattr(transformers, f"{name}Config")())
