"""The field's words as frozen dataclasses. Standard library only: every layer may import this."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from actlas.allowed import Count, Seed
from actlas.errors import OptionError

#: Version of this package; what it computes and keeps is recorded with it.
VERSION = "0.1.0"

#: Sites whose neurons are outputs of a linear map. Experts are ranked over these, all layers together.
LINEAR_SITES = ("attn_out", "attn_qkv", "mlp_out", "mlp_pre", "mlp_up")
#: Every site with a name of its own. `mlp_up` exists in gated MLPs only: the linear branch beside `mlp_pre`.
SITES = (*LINEAR_SITES, "mlp_hidden", "resid", "embed")
#: Sites that exist once in a model instead of once per block; stored as layer 0 of one.
SINGLE_SITES = ("embed",)

Pooling = Literal["max", "mean", "last", "max_with_pad"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
Dtype = Literal["float16", "bfloat16", "float32"]
#: Each after the first keeps what those before it cannot: a larger range, then more bits.
DTYPES: tuple[str, ...] = get_args(Dtype)
#: What may be asked for: one of them, or one that is chosen by the values.
StoredDtype = Literal["auto", Dtype]
#: What a model can compute in; "autocast-": weights in float32, matrix products in the dtype named.
ComputeDtype = Literal[Dtype, "autocast-float16", "autocast-bfloat16"]
#: Which tokens have their vectors kept: a draw, all of them, the last one of a marked span, every word (mean of its tokens).
TokenChoice = Literal["sample", "all", "span", "word"]
TOKEN_CHOICES: tuple[str, ...] = get_args(TokenChoice)
#: What can be kept without values: active tokens per language, sums per concept, texts per 8-bit code.
StateKind = Literal["counts", "moments", "histogram"]
STATE_KINDS: tuple[str, ...] = get_args(StateKind)
OverLong = Literal["truncate", "drop", "error"]
OVER_LONG: tuple[str, ...] = get_args(OverLong)
SpecialTokens = Literal["pool", "run", "none"]
SPECIAL_TOKENS: tuple[str, ...] = get_args(SpecialTokens)
#: What is done to a set of neurons. zero: set to 0 (LAPE). mean: set to the mean over languages. difference: add what makes the
#: mean over a text's language that of the set's. amplify: multiply. only: zero the sets of all other languages. damp: multiply by
#: 2 (1 - AUROC), as AurA does.
Intervention = Literal["zero", "mean", "difference", "amplify", "only", "damp"]
INTERVENTIONS: tuple[str, ...] = get_args(Intervention)
#: What is done side by side when a model is steered. none: nothing is forced; experts: those of the concept; random: as many
#: neurons of each site and layer, drawn among the others; next: the neurons that come after the experts; other: the experts of
#: another concept; file: neurons of a file.
Arm = Literal["none", "experts", "random", "next", "other", "file"]
#: Those of a run that names none.
ARMS: tuple[Arm, ...] = ("none", "experts", "random", "next", "other")
#: What a neuron is forced to: a statistic of its values over the positives of a concept.
OnValue = Literal["median", "p90", "mean", "max"]
ON_VALUES: tuple[OnValue, ...] = get_args(OnValue)
#: What is done with a value that a neuron is steered with, and at which of the tokens so far.
How = Literal["set", "add", "scale"]
HOWS: tuple[How, ...] = get_args(How)
Position = Literal["all", "last"]
POSITIONS: tuple[Position, ...] = get_args(Position)
#: Setting of a patch -> what is put into the target prompt. The last two put nothing there.
PATCH_SETTINGS: Mapping[str, str] = {
    "seen": "means over all ordered pairs of seen languages without English and the two that are translated between",
    "tgt": "latents of the source concept's prompt in the same two languages",
    "en_en": "latents of its prompt from English to English",
    "self": "latents of its prompt from the output language to itself",
    "tgt_tgt": "the target prompt's own latents: a control, which changes nothing but for rounding",
    "unpatched": "nothing: what the target prompt gives",
    "unpatched_source": "nothing, in the source concept's prompt in the same two languages: what is there to be carried over",
}
#: How the values that a group of neurons has for a text become one. l2: the root of the sum of their squares.
Combination = Literal["mean", "sum", "min", "max", "l2"]
COMBINATIONS: tuple[str, ...] = get_args(Combination)
#: How far two texts are apart in the values of a group of neurons. cosine: 1 less the cosine of the angle.
Metric = Literal["l1", "l2", "cosine"]
METRICS: tuple[str, ...] = get_args(Metric)
#: Sets of neurons that a store has without importing any: experts, LAPE's, and every neuron of the MLPs.
EXPERTS, LAPE, ALL = "experts", "lape", "all"
#: What quotation marks do in a CSV or TSV file: "csv": quote cells; "none": they are text; "auto": as the kind of file has it.
Quoting = Literal["auto", "csv", "none"]
QUOTINGS: tuple[str, ...] = get_args(Quoting)
#: What becomes of a checkpoint whose weights are there already under another step, or that does worse than guessing.
Policy = Literal["flag", "skip", "refuse"]

#: Scores that agree to this many decimals are equal when neurons are ranked: sums taken in another order must not decide.
RANK_DECIMALS = 12
#: A span of a text is marked by two columns of its corpus, ``NAME_start`` and ``NAME_end``, in characters; the end is exclusive.
SPAN_ENDS = ("_start", "_end")

_UNSAFE = re.compile(r"[^A-Za-z0-9._+@-]+")


def product_dtype(compute_dtype: str) -> str:
    """The dtype that a model takes its matrix products in, which is what rounds.

    Example:
        >>> product_dtype("autocast-bfloat16"), product_dtype("float32")
        ('bfloat16', 'float32')
    """
    return compute_dtype.removeprefix("autocast-")


def safe_id(name: str) -> str:
    """`name` with everything outside letters, digits and ``._+@-`` turned into one dash; usable as a folder name.

    Example:
        >>> safe_id("bigscience/bloom-560m intermediate")
        'bigscience-bloom-560m-intermediate'
    """
    return _UNSAFE.sub("-", name).strip("-.") or "model"


def span_names(columns: Sequence[str]) -> list[str]:
    """Names of the spans that columns of a corpus mark, in their order.

    Example:
        >>> span_names(["text", "verb_start", "verb_end", "noun_start"])
        ['verb']
    """
    first, last = SPAN_ENDS
    starts = [name.removesuffix(first) for name in columns if name.endswith(first)]
    return [name for name in starts if name + last in columns]


#: Backend of a store whose scores were computed elsewhere: it has no values.
IMPORTED = "imported"


@dataclass(frozen=True)
class RandomTwin:
    """What makes a checkpoint a control: its weights are new random ones of another checkpoint's architecture.

    Attributes:
        of: Id of that checkpoint.
        seed: Of the weights.
    """

    of: str
    seed: int

    def __str__(self) -> str:
        return f"random-weights twin of {self.of}, seed {self.seed}"


@dataclass(frozen=True)
class Checkpoint:
    """One set of weights.

    Attributes:
        id: Folder-safe string that names it everywhere: in paths, tables and `Store.checkpoints`.
        model: What was asked for: a local folder or a hub id, without the revision.
        step: Training step, the axis of trajectories; None where nothing says it.
        revision: Branch, tag or commit, only where Hugging Face needs one.
        twin: For a control, what it is; `model` and `revision` then say whose architecture it has. None for any other.
    """

    id: str
    model: str
    step: int | None = None
    revision: str | None = None
    twin: RandomTwin | None = None

    def __post_init__(self) -> None:
        if self.id != safe_id(self.id):
            raise OptionError(f"checkpoint id {self.id!r} is not usable as a folder name; {safe_id(self.id)!r} is")

    @property
    def order(self) -> tuple[int, int, int, str]:
        """Sort key: by step, those without one last, then by id; controls after all others."""
        return (self.twin is not None, self.step is None, self.step or 0, self.id)


@dataclass(frozen=True)
class CapturePoint:
    """A site in one layer of a concrete model: the module(s) it is read from, and on which side.

    Several paths mean that their values stand side by side in the neuron axis, in that order (an unfused q, k, v). A part (i, n)
    means the i-th of n equal ranges of what is there (one half of a fused gate and up).
    """

    site: str
    layer: int
    modules: tuple[str, ...]
    side: str  # "input" or "output"
    part: tuple[int, int] = (0, 1)


@dataclass(frozen=True, order=True)
class NeuronId:
    """One coordinate of a site in one layer. Its order breaks ties among experts."""

    site: str
    layer: int
    neuron: int


@dataclass(frozen=True)
class TokenSample:
    """Which token vectors are kept beside the pooled values, for probing and word-level work.

    Attributes:
        per_text: Tokens drawn per text without replacement (fewer where a text is shorter); 0 keeps none.
        seed: Seed of the draw; the draw of a text depends on the seed and its text_id alone.
        sites: Sites whose vectors are kept.
        choice: One of `TOKEN_CHOICES`; `per_text` and `seed` belong to "sample".
    """

    per_text: Count = 4
    seed: Seed = 0
    sites: tuple[str, ...] = ("embed", "resid")
    choice: TokenChoice = "sample"

    def __post_init__(self) -> None:
        if self.choice not in TOKEN_CHOICES:
            raise OptionError(f"token choice {self.choice!r} is not known; choose one of {', '.join(TOKEN_CHOICES)}")


@dataclass(frozen=True)
class StateRules:
    """States of the pooled values that are kept in place of a cube: integers per neuron, concept and language.

    Attributes:
        kinds: "moments", "histogram" or both, sorted the way `STATE_KINDS` is.
        sites: Sites they are kept of, sorted.
        threshold: A value above it is active (p_active).
        range_texts: Texts whose values decide, before the first block, which range a neuron's 8-bit codes divide.
        range_seed: Seed of the draw of these texts.
    """

    kinds: tuple[str, ...]
    sites: tuple[str, ...]
    threshold: float = 0.0
    range_texts: int = 512
    range_seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the numbers of a cube, apart from the weights. One store holds one recipe.

    Attributes:
        corpus: Fingerprint of the corpus as imported.
        tokenizer: Hash of the tokenizer's files.
        sites: Sites captured into cubes, sorted; empty where active tokens are counted and nothing else is kept, or
            scores were imported.
        pooling: Tokens to one value per text.
        dtype: Stored dtype of the values, token vectors included.
        site_dtypes: The sites that are stored in another one, each with it, sorted.
        max_tokens: Longest token sequence, special tokens included.
        over_long: What happens to longer texts.
        special_tokens: "pool": the tokenizer adds its own (BOS and the like) and values there are pooled and counted like any
            other, as the published scripts do; "run": they go through the model but are left out of pooling, counts and
            token samples; "none": they are not added.
        tokens: The token vectors kept.
        count_sites: Sites whose active tokens are counted per neuron and language (LAPE).
        count_thresholds: A token counts as active above this value; tokens are counted for every one of them.
        backend: Which backend made the values; never mixed within a store.
        compute_dtype: Dtype the model computed in.
        site_modules: Modules named by hand, site -> path pattern.
        states: What is kept of pooled values in place of cubes; None where cubes, or counts alone, are kept.
    """

    corpus: str
    tokenizer: str
    sites: tuple[str, ...]
    pooling: str = "max"
    dtype: str = "float16"
    max_tokens: int = 128
    over_long: str = "truncate"
    special_tokens: str = "pool"
    tokens: TokenSample = field(default_factory=TokenSample)
    count_sites: tuple[str, ...] = ("mlp_hidden",)
    count_thresholds: tuple[float, ...] = (0.0,)
    backend: str = "hf"
    compute_dtype: str = "float32"
    site_modules: tuple[tuple[str, str], ...] = ()
    states: StateRules | None = None
    site_dtypes: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("pooling", self.pooling, POOLINGS),
            ("dtype", self.dtype, DTYPES),
            *((f"dtype of {site}", dtype, DTYPES) for site, dtype in self.site_dtypes),
            ("over_long", self.over_long, OVER_LONG),
            ("special_tokens", self.special_tokens, SPECIAL_TOKENS),
        ):
            if value not in allowed:
                raise OptionError(f"{name} {value!r} is not known; choose one of {', '.join(allowed)}")
        if not self.sites and not self.count_sites and self.states is None and self.backend != IMPORTED:
            raise OptionError("a recipe needs at least one site")
        if not self.count_thresholds:
            raise OptionError("a recipe needs at least one count threshold")
        if len(set(self.count_thresholds)) != len(self.count_thresholds):
            raise OptionError(f"a count threshold is named twice: {', '.join(map(str, self.count_thresholds))}")

    def to_json(self) -> dict[str, object]:
        """Plain JSON types; `from_json` undoes it.

        The first count threshold and the further ones are two fields on disk, and fields that earlier versions did not have are
        left out where they are not used: a recipe keeps its fingerprint from version to version.
        """
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        data["count_threshold"], *more = data.pop("count_thresholds")
        if more:
            data["more_count_thresholds"] = more
        if data["states"] is None:
            del data["states"]
        if not data["site_dtypes"]:
            del data["site_dtypes"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Recipe:
        """The recipe that `to_json` wrote."""
        known = dict(data)
        sample = tuples(known.pop("tokens"))  # type: ignore[arg-type]
        thresholds = (known.pop("count_threshold", 0.0), *known.pop("more_count_thresholds", ()))  # type: ignore[misc]
        modules = tuple((str(site), str(path)) for site, path in known.pop("site_modules"))  # type: ignore[attr-defined]
        known["site_dtypes"] = tuple((str(site), str(dtype)) for site, dtype in known.pop("site_dtypes", ()))  # type: ignore[attr-defined]
        states = known.pop("states", None)
        if states is not None:
            known["states"] = StateRules(**tuples(states))  # type: ignore[arg-type]
        return cls(**{**tuples(known), "tokens": TokenSample(**sample), "site_modules": modules, "count_thresholds": thresholds})

    @property
    def value_sites(self) -> tuple[str, ...]:
        """Sites whose values are stored or added up, for whatever purpose, sorted."""
        vectors = self.tokens.sites if self.tokens.per_text or self.tokens.choice != "sample" else ()
        return tuple(sorted({*self.sites, *vectors, *(() if self.states is None else self.states.sites)}))

    def dtype_of(self, site: str) -> str:
        """Stored dtype of a site."""
        return dict(self.site_dtypes).get(site, self.dtype)

    @property
    def dtypes(self) -> dict[str, str]:
        """Stored dtype of every site that has values."""
        return {site: self.dtype_of(site) for site in self.value_sites}

    def with_dtypes(self, dtypes: Mapping[str, str]) -> Recipe:
        """The same with these stored dtypes of some sites. Recipes that store the same are equal, however they were made.

        Example:
            >>> recipe = Recipe("c", "t", ("mlp_pre", "resid"), tokens=TokenSample(per_text=0))
            >>> recipe.with_dtypes({"resid": "float32"}).site_dtypes, recipe.with_dtypes({"resid": "float16"}) == recipe
            ((('resid', 'float32'),), True)
        """
        chosen = {**self.dtypes, **dtypes}
        counted = Counter(chosen[site] for site in self.value_sites)
        most = max(DTYPES, key=lambda dtype: counted[dtype]) if counted else self.dtype
        others = ((site, chosen[site]) for site in self.value_sites if chosen[site] != most)
        return replace(self, dtype=most, site_dtypes=tuple(others))

    @property
    def fingerprint(self) -> str:
        """Hash of all fields: two cubes with one fingerprint and one weight hash hold the same numbers."""
        return fingerprint(self.to_json())


def tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    """Fields out of JSON, which knows lists where frozen dataclasses hold tuples.

    Example:
        >>> tuples({"sites": ["resid"], "seed": 0})
        {'sites': ('resid',), 'seed': 0}
    """
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


def fingerprint(data: object) -> str:
    """16 hex digits of the SHA-256 of `data` as canonical JSON.

    Example:
        >>> fingerprint({"b": 1, "a": [1, 2]}) == fingerprint({"a": [1, 2], "b": 1})
        True
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def installed_version(package: str) -> str | None:
    """Version of another package; None where it is not installed.

    Example:
        >>> installed_version("a-package-that-is-not-there") is None
        True
    """
    # not needed by most programs, and slow to import
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
