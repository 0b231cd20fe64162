"""Which module of which architecture every site is read from: one data table, shared by all backends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from actlas.names import SITES


@dataclass(frozen=True)
class SitePath:
    """Where a site is read from, relative to the block.

    Attributes:
        modules: Paths below the block; several stand side by side in the neuron axis. An empty one is the block itself.
        side: "input" or "output" of the module.
        layout: Order of the neurons where it is not plain: what is interleaved, what stands side by side.
    """

    modules: tuple[str, ...]
    side: str = "output"
    layout: str = ""


@dataclass(frozen=True)
class EnginePath:
    """Where vLLM, which fuses projections and divides them among ranks, has what `SitePath` says of transformers.

    Attributes:
        module: Path below the block.
        side: "input" or "output" of the module.
        split: Which neurons a rank has there: "all"; "even" (one of equal ranges); "gate" or "up" (that half of a fused pair,
            each divided evenly); "heads" (q | k | v, each divided by heads); "heads_apart" (the same, while transformers has one
            head's q, k, v after the other's, which is the order that is kept).
    """

    module: str
    side: str = "output"
    split: str = "all"


@dataclass(frozen=True)
class EngineFamily:
    """What vLLM makes of a family; its paths of the list of blocks and of the token embedding are those of transformers.

    Attributes:
        sites: Site -> place below a block.
        adds_residual: Whether a block gives (hidden, residual), whose sum is the residual stream.
        tanh_gelu: Path below the block of an exact GELU that has to be the tanh form the model was trained with.
        embed_factor: Buffer below the base model that embeddings are multiplied by outside their module.
    """

    sites: Mapping[str, EnginePath]
    adds_residual: bool = False
    tanh_gelu: str = ""
    embed_factor: str = ""


@dataclass(frozen=True)
class Family:
    """Everything a backend has to know about one architecture.

    Attributes:
        architectures: Class names in a checkpoint's config.json that mean this family.
        prefix: Attribute that holds the base model inside the model with a head.
        layers_path: Path of the list of blocks below the base model.
        embed: Path of the token embedding below the base model.
        sites: Site -> place below a block. `resid` and `embed` are known from the other fields.
        block_output: "tensor", or "tuple" where the block's output is the first of several.
        is_causal: False for encoders, which predict no next token and have no sanity loss.
        engine: The same in vLLM, for the first of the architectures; None where it was not verified.
    """

    architectures: tuple[str, ...]
    prefix: str
    layers_path: str
    embed: str
    sites: Mapping[str, SitePath]
    block_output: str = "tensor"
    is_causal: bool = True
    engine: EngineFamily | None = None


def _gated(attention: str = "self_attn") -> dict[str, SitePath]:
    qkv = tuple(f"{attention}.{name}_proj" for name in "qkv")
    return {
        "attn_qkv": SitePath(qkv, layout="q | k | v side by side, heads in order"),
        "attn_out": SitePath((f"{attention}.o_proj",)),
        "mlp_pre": SitePath(("mlp.gate_proj",)),
        "mlp_up": SitePath(("mlp.up_proj",)),
        "mlp_hidden": SitePath(("mlp.down_proj",), "input"),
        "mlp_out": SitePath(("mlp.down_proj",)),
    }


def _fused(attention: str, layout: str) -> dict[str, SitePath]:
    return {
        "attn_qkv": SitePath((f"{attention}.query_key_value",), layout=layout),
        "attn_out": SitePath((f"{attention}.dense",)),
        "mlp_pre": SitePath(("mlp.dense_h_to_4h",)),
        "mlp_hidden": SitePath(("mlp.dense_4h_to_h",), "input"),
        "mlp_out": SitePath(("mlp.dense_4h_to_h",)),
    }


def _fairseq() -> dict[str, SitePath]:
    return {
        "attn_qkv": SitePath(tuple(f"self_attn.{name}_proj" for name in "qkv"), layout="q | k | v side by side"),
        "attn_out": SitePath(("self_attn.out_proj",)),
        "mlp_pre": SitePath(("fc1",)),
        "mlp_hidden": SitePath(("fc2",), "input"),
        "mlp_out": SitePath(("fc2",)),
    }


def _encoder() -> dict[str, SitePath]:
    qkv = tuple(f"attention.self.{name}" for name in ("query", "key", "value"))
    return {
        "attn_qkv": SitePath(qkv, layout="q | k | v side by side, heads in order"),
        "attn_out": SitePath(("attention.output.dense",)),
        "mlp_pre": SitePath(("intermediate.dense",)),
        "mlp_hidden": SitePath(("output.dense",), "input"),
        "mlp_out": SitePath(("output.dense",)),
    }


_GPT2 = {
    "attn_qkv": SitePath(("attn.c_attn",), layout="fused q | k | v, heads in order"),
    "attn_out": SitePath(("attn.c_proj",)),
    "mlp_pre": SitePath(("mlp.c_fc",)),
    "mlp_hidden": SitePath(("mlp.c_proj",), "input"),
    "mlp_out": SitePath(("mlp.c_proj",)),
}


def _engine_sites(qkv: str, out: str, first: str, down: str, *, heads: str = "heads") -> dict[str, EnginePath]:
    return {
        "attn_qkv": EnginePath(qkv, split=heads),
        "attn_out": EnginePath(out),
        "mlp_pre": EnginePath(first, split="even"),
        "mlp_hidden": EnginePath(down, "input", split="even"),
        "mlp_out": EnginePath(down),
    }


_ENGINE_GATED = EngineFamily(
    {
        **_engine_sites("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"),
        "mlp_pre": EnginePath("mlp.gate_up_proj", split="gate"),
        "mlp_up": EnginePath("mlp.gate_up_proj", split="up"),
    },
    adds_residual=True,
)
_ENGINE_GEMMA = replace(_ENGINE_GATED, embed_factor="normalizer")
_ENGINE_BLOOM = EngineFamily(
    _engine_sites(
        "self_attention.query_key_value",
        "self_attention.dense",
        "mlp.dense_h_to_4h",
        "mlp.dense_4h_to_h",
        heads="heads_apart",
    ),
    tanh_gelu="mlp.gelu_impl",
)
_ENGINE_GPT2 = EngineFamily(_engine_sites("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"))
_ENGINE_OPT = EngineFamily(_engine_sites("self_attn.qkv_proj", "self_attn.out_proj", "fc1", "fc2"))
_PER_HEAD = "fused, per head: q, k, v of head 0, then of head 1, ..."
_FALCON = (
    "fused; with multi_query in config.json: q of all heads, k, v; without: per head q, k, v; with new_decoder_architecture: "
    "per head of k and v: its heads of q, k, v"
)


def _like_llama(name: str, engine: EngineFamily | None = None) -> Family:
    architectures = tuple(f"{name}{ending}" for ending in ("ForCausalLM", "Model"))
    return Family(architectures, "model", "layers", "embed_tokens", _gated(), engine=engine)


def _like_bert(name: str, prefix: str) -> Family:
    heads = ("Model", "ForMaskedLM", "ForPreTraining")
    names = tuple(f"{name}{head}" for head in heads)
    return Family(names, prefix, "encoder.layer", "embeddings.word_embeddings", _encoder(), is_causal=False)


FAMILIES: tuple[Family, ...] = (
    Family(
        ("BloomForCausalLM", "BloomModel"),
        "transformer",
        "h",
        "word_embeddings",
        _fused("self_attention", _PER_HEAD),
        block_output="tuple",
        engine=_ENGINE_BLOOM,
    ),
    Family(("XGLMForCausalLM", "XGLMModel"), "model", "layers", "embed_tokens", _fairseq()),
    Family(("GPT2LMHeadModel", "GPT2Model"), "transformer", "h", "wte", _GPT2, engine=_ENGINE_GPT2),
    Family(("GPTNeoXForCausalLM", "GPTNeoXModel"), "gpt_neox", "layers", "embed_in", _fused("attention", _PER_HEAD)),
    Family(("OPTForCausalLM", "OPTModel"), "model", "decoder.layers", "decoder.embed_tokens", _fairseq(), engine=_ENGINE_OPT),
    _like_llama("Llama", _ENGINE_GATED),
    _like_llama("Mistral", _ENGINE_GATED),
    _like_llama("Qwen2", _ENGINE_GATED),
    _like_llama("Qwen3", _ENGINE_GATED),
    _like_llama("Gemma2"),
    Family(("Gemma3ForCausalLM", "Gemma3TextModel"), "model", "layers", "embed_tokens", _gated(), engine=_ENGINE_GEMMA),
    _like_llama("Olmo2"),
    Family(
        ("FalconForCausalLM", "FalconModel"),
        "transformer",
        "h",
        "word_embeddings",
        _fused("self_attention", _FALCON),
        block_output="tuple",
    ),
    _like_bert("Bert", "bert"),
    _like_bert("XLMRoberta", "roberta"),
)


def known_architectures() -> tuple[str, ...]:
    """The first name of every family, in the order of the table."""
    return tuple(family.architectures[0] for family in FAMILIES)


def family_of(architecture: str) -> Family | None:
    """The family an architecture belongs to, or None."""
    return next((family for family in FAMILIES if architecture in family.architectures), None)


def known_sites(family: Family) -> tuple[str, ...]:
    """Sites that a family has, in the order of `names.SITES`."""
    return tuple(site for site in SITES if site in family.sites or site in ("resid", "embed"))
