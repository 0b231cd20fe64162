"""Tiny models of every known family, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_SMALL = {"vocab_size": 96, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_LLAMA = {
    **_SMALL,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
_ONE_KEY_PER_HEAD = {name: value for name, value in _LLAMA.items() if name != "num_key_value_heads"}
_GEMMA = {**_LLAMA, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}
_BERT = {**_LLAMA, "max_position_embeddings": 66, "type_vocab_size": 1}
_FALCON = {**_SMALL, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}
_LATENT = {
    **_LLAMA,
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 6,
    "v_head_dim": 5,
    "first_k_dense_replace": 2,
    "n_routed_experts": 4,
}

#: family -> class of its configuration in transformers, and settings.
_TINY: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "bloom": ("Bloom", {**_SMALL, "hidden_size": 24, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}),
    "xglm": (
        "XGLM",
        {**_SMALL, "d_model": 24, "ffn_dim": 40, "num_layers": 2, "attention_heads": 4, "init_std": 0.2}
        | {"max_position_embeddings": 64},
    ),
    "gpt2": ("GPT2", {**_SMALL, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.2}),
    "gpt_neox": ("GPTNeoX", {**_ONE_KEY_PER_HEAD, "tie_word_embeddings": False}),
    "opt": (
        "OPT",
        {**_SMALL, "hidden_size": 24, "ffn_dim": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
        | {"word_embed_proj_dim": 16, "max_position_embeddings": 64, "init_std": 0.2},
    ),
    "llama": ("Llama", {**_LLAMA, "tie_word_embeddings": True}),
    "mistral": ("Mistral", {**_LLAMA, "head_dim": 6, "sliding_window": 16}),
    "qwen2": ("Qwen2", {**_LLAMA, "tie_word_embeddings": False}),
    "qwen3": ("Qwen3", {**_LLAMA, "head_dim": 8, "tie_word_embeddings": True}),
    "gemma2": ("Gemma2", _GEMMA),
    "gemma3": ("Gemma3Text", _GEMMA),
    "olmo2": ("Olmo2", _LLAMA),
    "falcon": ("Falcon", {**_FALCON, "bias": True}),
    "falcon_alibi": ("Falcon", {**_FALCON, "alibi": True, "parallel_attn": False, "multi_query": False}),
    "bert": ("Bert", _BERT),
    "xlm_roberta": ("XLMRoberta", _BERT),
    "gemma": ("Gemma", {**_LLAMA, "head_dim": 8}),
    "gemma4": (
        "Gemma4Text",
        {**_LLAMA, "head_dim": 8, "global_head_dim": 12, "layer_types": ["sliding_attention", "full_attention"]}
        | {"hidden_size_per_layer_input": 6, "vocab_size_per_layer_input": 96},
    ),
    "olmo": ("Olmo", {**_LLAMA, "clip_qkv": 1.0}),
    "olmo3": ("Olmo3", {**_LLAMA, "sliding_window": 16}),
    "granite": ("Granite", {**_LLAMA, "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.2}),
    "cohere": ("Cohere", {**_LLAMA, "use_qk_norm": True}),
    "cohere2": ("Cohere2", {**_LLAMA, "sliding_window": 16}),
    "stablelm": ("StableLm", {**_LLAMA, "use_parallel_residual": True}),
    "stablelm_serial": ("StableLm", {**_LLAMA, "qk_layernorm": True, "use_qkv_bias": True}),
    "starcoder2": ("Starcoder2", {**_LLAMA, "use_bias": True}),
    "phi": ("Phi", {**_LLAMA, "hidden_size": 32, "partial_rotary_factor": 0.5}),
    "phi3": ("Phi3", {**_LLAMA, "original_max_position_embeddings": 64}),
    "glm": ("Glm", {**_LLAMA, "head_dim": 6}),
    "glm4": ("Glm4", {**_LLAMA, "head_dim": 6}),
    "smollm3": ("SmolLM3", {**_LLAMA, "no_rope_layers": [1, 0]}),
    "deepseek_v2": ("DeepseekV2", {**_LATENT, "q_lora_rank": None}),
    "deepseek_v3": ("DeepseekV3", {**_LATENT, "q_lora_rank": 8, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 1}),
    "gptj": ("GPTJ", {**_SMALL, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64, "rotary_dim": 4}),
    "mpt": ("Mpt", {**_SMALL, "d_model": 24, "n_layers": 2, "n_heads": 4, "max_seq_len": 64, "initializer_range": 0.2}),
}


def tiny_configs() -> Mapping[str, Callable[[], Any]]:
    """Family -> a function that makes the configuration of a tiny model of two layers.

    Returns:
        Nothing is imported before one of them is called.

    Example:
        >>> tiny_configs()["llama"]().num_hidden_layers
        2
    """
    return {name: lambda name=name: _config(name) for name in _TINY}  # type: ignore[misc]


def _config(name: str) -> Any:
    import transformers

    kind, settings = _TINY[name]
    return getattr(transformers, f"{kind}Config")(**settings)


def model_of(config: Any, *, seed: int = 0) -> Any:
    """A model with random weights, without a head where its family predicts no next token.

    Args:
        config: Its configuration.
        seed: Of the weights.

    Returns:
        The model in float32, on the CPU. Norms, biases and scales, which start as ones and zeros, are drawn around these, since
        several mistakes would not show under them.

    Example:
        >>> type(model_of(tiny_configs()["bert"]())).__name__
        'BertModel'
    """
    import torch
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if type(config).__name__ in ("BertConfig", "XLMRobertaConfig"):
            model = transformers.AutoModel.from_config(config, add_pooling_layer=False)
        else:
            model = transformers.AutoModelForCausalLM.from_config(config)
        scales = [tensor for name, tensor in model.named_buffers() if name.endswith("layer_scalar")]
        for tensor in [*model.parameters(), *scales]:
            if tensor.ndim == 1:
                tensor.data += 0.1 * torch.randn_like(tensor)
    return model.eval()
