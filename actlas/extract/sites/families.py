"""Which module of which architecture every site is read from: one data table, shared by all backends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from actlas.extract.sites.streams import PLAIN, Embedding, Rules, Stream
from actlas.names import SITES


@dataclass(frozen=True)
class SitePath:
    """Where a site is read from, relative to the block.

    Attributes:
        modules: Paths below the block; several stand side by side in the neuron axis. An empty one is the block itself. The last
            name of one may be two, of which a model has one: ``q_proj|q_b_proj``.
        side: "input" or "output" of the module.
        layout: Order of the neurons where it is not plain: what is interleaved, what stands side by side.
        part: (i, n): the i-th of n equal ranges of what is there.
    """

    modules: tuple[str, ...]
    side: str = "output"
    layout: str = ""
    part: tuple[int, int] = (0, 1)


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
        rules: How its sites hang together, from which they are proved.
        engine: The same in vLLM, for the first of the architectures; None where it was not verified.
    """

    architectures: tuple[str, ...]
    prefix: str
    layers_path: str
    embed: str
    sites: Mapping[str, SitePath]
    block_output: str = "tensor"
    is_causal: bool = True
    rules: Rules = PLAIN
    engine: EngineFamily | None = None


_SIDE_BY_SIDE = "q | k | v side by side, heads in order"


def _sites(
    qkv: tuple[str, ...], out: str, first: str, down: str, *, up: str = "", layout: str = _SIDE_BY_SIDE
) -> dict[str, SitePath]:
    sites = {
        "attn_qkv": SitePath(qkv, layout=layout),
        "attn_out": SitePath((out,)),
        "mlp_pre": SitePath((first,)),
        "mlp_hidden": SitePath((down,), "input"),
        "mlp_out": SitePath((down,)),
    }
    return {**sites, "mlp_up": SitePath((up,))} if up else sites


def _three(attention: str, names: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")) -> tuple[str, ...]:
    return tuple(f"{attention}.{name}" for name in names)


def _gated() -> dict[str, SitePath]:
    return _sites(_three("self_attn"), "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj", up="mlp.up_proj")


def _half_gated(qkv: tuple[str, ...]) -> dict[str, SitePath]:
    """Gate and up are the halves of one linear map."""
    halves = {site: SitePath(("mlp.gate_up_proj",), part=(i, 2)) for i, site in enumerate(("mlp_pre", "mlp_up"))}
    return {**_sites(qkv, "self_attn.o_proj", "", "mlp.down_proj"), **halves}


def _fused(attention: str, layout: str) -> dict[str, SitePath]:
    qkv, out = f"{attention}.query_key_value", f"{attention}.dense"
    return _sites((qkv,), out, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", layout=layout)


def _encoder() -> dict[str, SitePath]:
    qkv = _three("attention.self", ("query", "key", "value"))
    return _sites(qkv, "attention.output.dense", "intermediate.dense", "output.dense")


_FAIRSEQ = _sites(_three("self_attn"), "self_attn.out_proj", "fc1", "fc2")
_GPT2 = _sites(("attn.c_attn",), "attn.c_proj", "mlp.c_fc", "mlp.c_proj", layout="fused q | k | v, heads in order")
_GPTJ = _sites(_three("attn"), "attn.out_proj", "mlp.fc_in", "mlp.fc_out")
_MPT = _sites(("attn.Wqkv",), "attn.out_proj", "ffn.up_proj", "ffn.down_proj", layout="fused q | k | v, heads in order")
_PHI = _sites(_three("self_attn"), "self_attn.dense", "mlp.fc1", "mlp.fc2")
_STARCODER2 = _sites(_three("self_attn"), "self_attn.o_proj", "mlp.c_fc", "mlp.c_proj")
#: Layers of one model have keys of several widths, or none of their own.
_GEMMA4 = {site: place for site, place in _gated().items() if site != "attn_qkv"}
#: Queries are a map of their own, or, in larger models, the last of two.
_LATENT = {
    **_gated(),
    "attn_qkv": SitePath(
        ("self_attn.q_proj|q_b_proj", "self_attn.kv_a_proj_with_mqa"),
        layout="q of all heads | what k and v are made of | the key's rotated part, which all heads share",
    ),
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


_BERT_STREAM = Stream(middle="attention.output.LayerNorm", end="output.LayerNorm")
_BERT_EMBEDDING = Embedding(
    added=("embeddings.token_type_embeddings", "embeddings.position_embeddings"), norm="embeddings.LayerNorm"
)
_POST_NORMS = Stream("post_attention_layernorm", "post_feedforward_layernorm")
_GEMMA_EMBEDDING = Embedding(scale="root")
_RULES = {
    "bloom": Rules(
        "=gelu_new",
        "groups",
        streams={
            ("apply_residual_connection_post_layernorm", True): Stream(start="input_layernorm", middle="post_attention_layernorm")
        },
        embedding=Embedding(norm="word_embeddings_layernorm"),
    ),
    "xglm": Rules("activation_function", embedding=Embedding("scale_embedding", added=("embed_positions",))),
    "gpt2": Rules("activation_function", embedding=Embedding(added=("wpe",))),
    "gptj": Rules("activation_function"),
    "groups": Rules(heads="groups"),
    "opt": Rules(
        "activation_function",
        streams={("do_layer_norm_before", False): Stream(middle="self_attn_layer_norm", end="final_layer_norm")},
        embedding=Embedding(through="decoder.project_in", added=("decoder.embed_positions",)),
    ),
    "gemma": Rules(embedding=_GEMMA_EMBEDDING),
    "gemma2": Rules("hidden_activation", stream=_POST_NORMS, embedding=_GEMMA_EMBEDDING),
    "gemma4": Rules(
        "hidden_activation",
        stream=replace(_POST_NORMS, added=("post_per_layer_input_norm",), scale="layer_scalar"),
        embedding=_GEMMA_EMBEDDING,
    ),
    "olmo": Rules(clip="clip_qkv"),
    "olmo2": Rules(stream=_POST_NORMS),
    "glm4": Rules(stream=Stream("post_self_attn_layernorm", "post_mlp_layernorm")),
    "granite": Rules(stream=Stream(multiplier="residual_multiplier"), embedding=Embedding(factor="embedding_multiplier")),
    "mpt": Rules("=gelu", clip="attn_config.clip_qkv"),
    "falcon": Rules("activation", "groups", "num_kv_heads"),
    "latent": Rules(heads="latent"),
    "bert": Rules(key_heads="", stream=_BERT_STREAM, embedding=_BERT_EMBEDDING),
    "roberta": Rules(key_heads="", stream=_BERT_STREAM, embedding=replace(_BERT_EMBEDDING, finds_padding=True)),
}


def _like_llama(
    name: str, rules: Rules = PLAIN, sites: Mapping[str, SitePath] | None = None, engine: EngineFamily | None = None
) -> Family:
    architectures = tuple(f"{name}{ending}" for ending in ("ForCausalLM", "Model"))
    return Family(architectures, "model", "layers", "embed_tokens", sites or _gated(), rules=rules, engine=engine)


def _gemma(number: str, rules: Rules, sites: Mapping[str, SitePath] | None = None, engine: EngineFamily | None = None) -> Family:
    """Those whose larger sisters also see images: the text model has a name of its own."""
    family = _like_llama(f"Gemma{number}", rules, sites, engine)
    return replace(family, architectures=(f"Gemma{number}ForCausalLM", f"Gemma{number}TextModel"))


def _like_bert(name: str, prefix: str) -> Family:
    heads = ("Model", "ForMaskedLM", "ForPreTraining")
    names = tuple(f"{name}{head}" for head in heads)
    places = (prefix, "encoder.layer", "embeddings.word_embeddings")
    return Family(names, *places, _encoder(), is_causal=False, rules=_RULES[prefix])


FAMILIES: tuple[Family, ...] = (
    Family(
        ("BloomForCausalLM", "BloomModel"),
        "transformer",
        "h",
        "word_embeddings",
        _fused("self_attention", _PER_HEAD),
        block_output="tuple",
        rules=_RULES["bloom"],
        engine=_ENGINE_BLOOM,
    ),
    Family(("XGLMForCausalLM", "XGLMModel"), "model", "layers", "embed_tokens", _FAIRSEQ, rules=_RULES["xglm"]),
    Family(("GPT2LMHeadModel", "GPT2Model"), "transformer", "h", "wte", _GPT2, rules=_RULES["gpt2"], engine=_ENGINE_GPT2),
    Family(
        ("GPTNeoXForCausalLM", "GPTNeoXModel"),
        "gpt_neox",
        "layers",
        "embed_in",
        _fused("attention", _PER_HEAD),
        rules=_RULES["groups"],
    ),
    Family(
        ("OPTForCausalLM", "OPTModel"),
        "model",
        "decoder.layers",
        "decoder.embed_tokens",
        _FAIRSEQ,
        rules=_RULES["opt"],
        engine=_ENGINE_OPT,
    ),
    *(_like_llama(name, engine=_ENGINE_GATED) for name in ("Llama", "Mistral", "Qwen2", "Qwen3")),
    _like_llama("Gemma2", _RULES["gemma2"]),
    _gemma("3", _RULES["gemma2"], engine=_ENGINE_GEMMA),
    _like_llama("Olmo2", _RULES["olmo2"]),
    Family(
        ("FalconForCausalLM", "FalconModel"),
        "transformer",
        "h",
        "word_embeddings",
        _fused("self_attention", _FALCON),
        block_output="tuple",
        rules=_RULES["falcon"],
    ),
    _like_bert("Bert", "bert"),
    _like_bert("XLMRoberta", "roberta"),
    _like_llama("Gemma", _RULES["gemma"]),
    _gemma("4", _RULES["gemma4"], _GEMMA4),
    _like_llama("Olmo", _RULES["olmo"]),
    _like_llama("Olmo3", _RULES["olmo2"]),
    _like_llama("Granite", _RULES["granite"]),
    _like_llama("Cohere"),
    _like_llama("Cohere2"),
    _like_llama("StableLm"),
    _like_llama("Starcoder2", sites=_STARCODER2),
    _like_llama("Phi", sites=_PHI),
    _like_llama("Phi3", sites=_half_gated(("self_attn.qkv_proj",))),
    _like_llama("Glm", sites=_half_gated(_three("self_attn"))),
    _like_llama("Glm4", _RULES["glm4"], _half_gated(_three("self_attn"))),
    _like_llama("SmolLM3"),
    _like_llama("DeepseekV2", _RULES["latent"], _LATENT),
    _like_llama("DeepseekV3", _RULES["latent"], _LATENT),
    Family(("GPTJForCausalLM", "GPTJModel"), "transformer", "h", "wte", _GPTJ, rules=_RULES["gptj"]),
    Family(("MptForCausalLM", "MptModel"), "transformer", "blocks", "wte", _MPT, block_output="tuple", rules=_RULES["mpt"]),
)


_EXPERTS = "its MLP is a mixture of experts, whose neurons see some of the tokens each, so that they have no one value per text"
#: Architectures that are known and have no sites to read, each with the reason.
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        ("DbrxForCausalLM", "DbrxModel", "Cohere2MoeForCausalLM", "MixtralForCausalLM", "GptOssForCausalLM"), _EXPERTS
    ),
    **dict.fromkeys(
        ("Gemma3nForCausalLM", "Gemma3nForConditionalGeneration"),
        "it has several residual streams beside each other, and no one of them is the site resid",
    ),
}


def known_architectures() -> tuple[str, ...]:
    """The first name of every family, in the order of the table."""
    return tuple(family.architectures[0] for family in FAMILIES)


def family_of(architecture: str) -> Family | None:
    """The family an architecture belongs to, or None."""
    return next((family for family in FAMILIES if architecture in family.architectures), None)


def known_sites(family: Family) -> tuple[str, ...]:
    """Sites that a family has, in the order of `names.SITES`."""
    return tuple(site for site in SITES if site in family.sites or site in ("resid", "embed"))
