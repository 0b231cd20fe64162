"""What a configuration says of a model before its weights are read."""

import pytest
import transformers

from actlas.errors import CapturePointNotFound
from actlas.extract.backend_hf_files import refuse_experts

MIXTURES = (
    *("Mixtral", "Qwen2Moe", "Qwen3Moe", "Olmoe", "DeepseekV3", "GptOss", "GraniteMoe", "JetMoe", "Jamba"),
    *("Glm4Moe", "MiniMax", "FlexOlmo", "Llama4Text", "Qwen3Next", "Dbrx"),
)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_of_experts_is_refused_whatever_its_configuration_calls_them(name):
    with pytest.raises(CapturePointNotFound, match=r"routes each token to some of \d+ experts; .* Dense models can be extracted"):
        refuse_experts(getattr(transformers, f"{name}Config")())


@pytest.mark.parametrize("name", ["Llama", "Qwen3", "Gemma2", "Falcon", "Bloom", "GPT2", "Doge", "HunYuanMoEV1"])
def test_dense_models_are_not_refused(name):
    refuse_experts(getattr(transformers, f"{name}Config")())
