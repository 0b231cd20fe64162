"""Which module of which architecture every site is read from: one data table, shared by all backends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from actlas.errors import CapturePointNotFound
from actlas.names import SINGLE_SITES, SITES, CapturePoint

#: Instead of a site: every linear map of the repeated block, under the name of its module.
AUTO_LINEAR = "auto-linear"
_HAND_NAMED = "Name the module yourself: --site 'mlp_hidden=transformer.h.{layer}.mlp.dense_4h_to_h:input'"


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
class EngineBlock:
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
        blocks: Path of the list of blocks below the base model.
        embed: Path of the token embedding below the base model.
        sites: Site -> place below a block. `resid` and `embed` are known from the other fields.
        block_output: "tensor", or "tuple" where the block's output is the first of several.
        is_causal: False for encoders, which predict no next token and have no sanity loss.
        engine: The same in vLLM, for the first of the architectures; None where it was not verified.
    """

    architectures: tuple[str, ...]
    prefix: str
    blocks: str
    embed: str
    sites: Mapping[str, SitePath]
    block_output: str = "tensor"
    is_causal: bool = True
    engine: EngineBlock | None = None


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


_ENGINE_GATED = EngineBlock(
    {
        **_engine_sites("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"),
        "mlp_pre": EnginePath("mlp.gate_up_proj", split="gate"),
        "mlp_up": EnginePath("mlp.gate_up_proj", split="up"),
    },
    adds_residual=True,
)
_ENGINE_GEMMA = replace(_ENGINE_GATED, embed_factor="normalizer")
_ENGINE_BLOOM = EngineBlock(
    _engine_sites(
        "self_attention.query_key_value",
        "self_attention.dense",
        "mlp.dense_h_to_4h",
        "mlp.dense_4h_to_h",
        heads="heads_apart",
    ),
    tanh_gelu="mlp.gelu_impl",
)
_ENGINE_GPT2 = EngineBlock(_engine_sites("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"))
_ENGINE_OPT = EngineBlock(_engine_sites("self_attn.qkv_proj", "self_attn.out_proj", "fc1", "fc2"))
_PER_HEAD = "fused, per head: q, k, v of head 0, then of head 1, ..."
_FALCON = (
    "fused; with multi_query in config.json: q of all heads, k, v; without: per head q, k, v; with new_decoder_architecture: "
    "per head of k and v: its heads of q, k, v"
)


def _like_llama(name: str, engine: EngineBlock | None = None) -> Family:
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


def site_shape(site: str, widths: Sequence[int]) -> tuple[int, int]:
    """(layers, neurons) of a site, from its width in every layer.

    Raises:
        CapturePointNotFound: If layers differ.
    """
    if len(set(widths)) != 1:
        raise CapturePointNotFound(f"site {site} is not equally wide in every layer: {list(widths)}; leave it out")
    return len(widths), widths[0]


def known_architectures() -> tuple[str, ...]:
    """The first name of every family, in the order of the table."""
    return tuple(family.architectures[0] for family in FAMILIES)


def family_of(architecture: str) -> Family | None:
    """The family an architecture belongs to, or None."""
    return next((family for family in FAMILIES if architecture in family.architectures), None)


@dataclass(frozen=True)
class SiteMap:
    """The capture points of some sites in one concrete model.

    Attributes:
        points: Site -> one capture point per layer, by layer.
        layouts: Site -> note on the order of its neurons, where there is one.
        takes_first: Module paths whose output is a tuple of which the first entry is meant.
    """

    points: Mapping[str, tuple[CapturePoint, ...]]
    layouts: Mapping[str, str]
    takes_first: frozenset[str]


def site_map(
    architecture: str,
    n_layers: int,
    sites: Iterable[str],
    site_modules: Mapping[str, str] | None = None,
    *,
    has_head: bool = True,
) -> SiteMap:
    """Capture points of `sites` in a model.

    Args:
        architecture: Class name from config.json.
        n_layers: Number of blocks.
        sites: Sites asked for.
        site_modules: Sites named by hand: site -> "path with {layer}:input" or ":output". They win over the table.
        has_head: Whether the model was loaded with its head, so that the base model is one attribute further down.

    Raises:
        CapturePointNotFound: If a site is neither named by hand nor known for this architecture.

    Example:
        >>> found = site_map("GPT2LMHeadModel", 2, ["mlp_hidden"])
        >>> [(point.modules, point.side) for point in found.points["mlp_hidden"]]
        [(('transformer.h.0.mlp.c_proj',), 'input'), (('transformer.h.1.mlp.c_proj',), 'input')]
    """
    by_hand = dict(site_modules or {})
    family = family_of(architecture)
    points: dict[str, tuple[CapturePoint, ...]] = {}
    layouts: dict[str, str] = {}
    for site in sites:
        if site in by_hand:
            points[site] = _hand_named(site, by_hand[site], n_layers)
            continue
        if family is None:
            raise CapturePointNotFound(
                f"no sites known for architecture {architecture!r} (known: {', '.join(known_architectures())}). {_HAND_NAMED}"
            )
        points[site] = _from_family(site, family, architecture, n_layers, has_head)
        if site in family.sites and family.sites[site].layout:
            layouts[site] = family.sites[site].layout
    return SiteMap(points, layouts, _tuple_blocks(family, n_layers, has_head))


def _base(family: Family, has_head: bool) -> str:
    return f"{family.prefix}." if has_head else ""


def _tuple_blocks(family: Family | None, n_layers: int, has_head: bool) -> frozenset[str]:
    if family is None or family.block_output == "tensor":
        return frozenset()
    return frozenset(f"{_base(family, has_head)}{family.blocks}.{layer}" for layer in range(n_layers))


def _from_family(site: str, family: Family, architecture: str, n_layers: int, has_head: bool) -> tuple[CapturePoint, ...]:
    base = _base(family, has_head)
    if site == "embed":
        return (CapturePoint("embed", 0, (f"{base}{family.embed}",), "output"),)
    place = SitePath(("",)) if site == "resid" else family.sites.get(site)
    if place is None:
        raise CapturePointNotFound(f"{architecture} has no site {site!r}; it has {', '.join(known_sites(family))}. {_HAND_NAMED}")
    return tuple(
        CapturePoint(
            site,
            layer,
            tuple(".".join(filter(None, (f"{base}{family.blocks}.{layer}", path))) for path in place.modules),
            place.side,
        )
        for layer in range(n_layers)
    )


def known_sites(family: Family) -> tuple[str, ...]:
    """Sites that a family has, in the order of `names.SITES`."""
    return tuple(site for site in SITES if site in family.sites or site in ("resid", "embed"))


def parse_sites(arguments: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Splits what `--site` takes into site names and the modules named by hand.

    Raises:
        CapturePointNotFound: If a name is neither a known site nor given a module.

    Example:
        >>> parse_sites(["mlp_pre", "mlp_hidden=h.{layer}.mlp.c_proj:input"])
        (('mlp_pre', 'mlp_hidden'), {'mlp_hidden': 'h.{layer}.mlp.c_proj:input'})
    """
    sites: list[str] = []
    by_hand: dict[str, str] = {}
    for argument in arguments:
        site, equals, pattern = argument.partition("=")
        if argument == AUTO_LINEAR:
            raise CapturePointNotFound(f"{AUTO_LINEAR} stands for many sites; it is resolved per model, not here")
        if equals:
            _hand_named(site, pattern, 1)
            by_hand[site] = pattern
        elif site not in SITES:
            raise CapturePointNotFound(f"{site!r} is not a site; the sites are {', '.join(SITES)}. {_HAND_NAMED}")
        if site not in sites:
            sites.append(site)
    return tuple(sites), by_hand


def linear_patterns(blocks: str, modules: Sequence[str]) -> list[str]:
    """`--site` arguments that name linear modules of a block by hand.

    Example:
        >>> linear_patterns("transformer.h", ["attn.q_proj"])
        ['attn_q_proj=transformer.h.{layer}.attn.q_proj:output']
    """
    return [f"{path.replace('.', '_')}={blocks}.{{layer}}.{path}:output" for path in modules]


def _hand_named(site: str, pattern: str, n_layers: int) -> tuple[CapturePoint, ...]:
    path, colon, side = pattern.rpartition(":")
    if not colon:
        path, side = pattern, "output"
    if side not in ("input", "output") or not path:
        raise CapturePointNotFound(f"site {site!r} was given as {pattern!r}; write a module path that ends in :input or :output")
    if not re.fullmatch(r"[A-Za-z0-9_]+", site):
        raise CapturePointNotFound(f"site name {site!r} may hold letters, digits and underscores only")
    if "{layer}" not in path:
        if n_layers > 1 and site not in SINGLE_SITES:
            raise CapturePointNotFound(
                f"site {site!r} was given as {pattern!r}, which names one module for all {n_layers} layers; "
                "put {layer} where the number of the block stands"
            )
        return (CapturePoint(site, 0, (path,), side),)
    return tuple(CapturePoint(site, layer, (path.replace("{layer}", str(layer)),), side) for layer in range(n_layers))
