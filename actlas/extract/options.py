"""Every option of a run, declared once: its name, type, default and help, and which values it allows.

`ExtractOptions` is made of these, and so are the keywords of `extract_activations` (`ExtractFields` names them for type
checkers) and the flags of ``actlas extract``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict, TypeVar, get_type_hints

from actlas.allowed import Bytes, Count, Names, Number, Positive, Seed, Share, Step, why_not
from actlas.errors import BackendUnavailable, OptionError
from actlas.names import (
    STATE_KINDS,
    ComputeDtype,
    OverLong,
    Policy,
    Pooling,
    SpecialTokens,
    StateKind,
    StoredDtype,
    TokenSample,
)
from actlas.options import About, about, declared

F = TypeVar("F", bound=Callable[..., object])

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,4})?")


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """What a run of `extract_activations` does; nothing but `models`, `corpus` and `store` has to be named.

    Sequences may be given as any sequence and are kept as tuples, so that options can be compared.

    Raises:
        OptionError: If a value is not one of those allowed, or two options contradict one another.
        BackendUnavailable: If a device has no such name.

    Example:
        >>> ExtractOptions(stats_only=True).sites_or_default
        ('mlp_pre',)
    """

    sites: Sequence[str] | None = field(
        default=None,
        metadata=about(
            "sites to read: any of attn_out, attn_qkv, mlp_out, mlp_pre, mlp_up, mlp_hidden, resid, embed; one named by hand as "
            "NAME=MODULE.PATH.{layer}:input|output; or auto-linear for every linear map of the repeated block",
            unset="mlp_pre; mlp_hidden where active tokens are counted and nothing else is kept",
            flags=("--site",),
            metavar="SITE",
            repeats=True,
        ),
    )
    pooling: Pooling = field(default="max", metadata=about("how the values of a text's tokens become one"))
    dtype: StoredDtype | Mapping[str, StoredDtype] = field(
        default="auto",
        metadata=about(
            "stored dtype: one for all sites, or SITE=DTYPE for some and auto for the others; auto chooses one per site by the "
            "values of a few texts; a value beyond its range is refused, never clipped",
            metavar="DTYPE|SITE=DTYPE,...",
        ),
    )
    backend: str = field(
        default="hf", metadata=about("what runs the models: hf (transformers) or vllm; a store holds the values of one of them")
    )
    tensor_parallel: Positive = field(default=1, metadata=about("devices a model is divided among (vllm)", metavar="N"))
    steps: Sequence[Step] | None = field(
        default=None,
        metadata=about(
            "training steps, one per checkpoint, where names do not say them", flags=("--steps", "--step"), metavar="N"
        ),
    )
    revisions: Sequence[str] = field(
        default=(),
        metadata=about(
            "take the branches and tags of each hub id (or the step folders of each folder) that match, such as 'global_step*'",
            metavar="PATTERN",
        ),
    )
    duplicates: Policy = field(
        default="flag",
        metadata=about(
            "what becomes of weights that the store or this call has under another id: flag says so and goes on, skip leaves the "
            "checkpoint out, refuse stops; before it is loaded"
        ),
    )
    broken: Policy = field(
        default="flag",
        metadata=about("the same for a checkpoint that does worse than a uniform guess on a few texts, before it is extracted"),
    )
    random_twin: bool = field(
        default=False,
        metadata=about(
            "extract, after the checkpoints, a control too: the architecture and tokenizer of the last of them with new random "
            "weights, as a checkpoint NAME-random0 (one for every name that checkpoints have beside their steps; hf)"
        ),
    )
    twin_seed: Seed = field(default=0, metadata=about("with random_twin: seed of the new weights, which its id ends in"))
    max_tokens: Positive | None = field(
        default=None,
        metadata=about(
            "longest token sequence, special tokens included",
            unset="128, or what the first checkpoint can read if that is less",
        ),
    )
    over_long: OverLong = field(default="truncate", metadata=about("what happens to longer texts"))
    drops_languages: bool = field(
        default=False,
        metadata=about("let --over-long drop leave out languages, too, whose texts are all longer", flags=("--drop-languages",)),
    )
    special_tokens: SpecialTokens = field(
        default="pool", metadata=about("tokens that the tokenizer adds: pooled, only run through the model, or not added")
    )
    tokenizer: str | None = field(
        default=None, metadata=about("folder or hub id of the tokenizer, where the checkpoints have none")
    )
    device: str = field(default="auto", metadata=about("cpu, cuda, cuda:N or auto"))
    devices: Sequence[str] = field(
        default=(),
        metadata=about("several devices of this machine, a process each; a device named twice has two", metavar="DEVICE"),
    )
    dask: str | None = field(
        default=None,
        metadata=about(
            "address of a Dask scheduler whose workers share the work, or local:N for N processes here", metavar="ADDRESS"
        ),
    )
    part: tuple[int, int] | None = field(
        default=None,
        metadata=about("only part I of N of the texts, counted from 1, for arrays of jobs on one store", metavar="I/N"),
    )
    compute_dtype: Literal["auto", ComputeDtype] = field(
        default="auto",
        metadata=about(
            "dtype the model computes in; auto is float32 on the CPU and the checkpoint's own on a GPU; autocast- keeps the "
            "weights in float32 and takes matrix products in the dtype named"
        ),
    )
    tokens_per_batch: Positive | None = field(
        default=None, metadata=about("most tokens of a batch, padding included", unset="what suits the device")
    )
    texts_per_block: Positive | None = field(
        default=None,
        metadata=about("texts of one unit of writing and of resume", unset="what fits into the memory for values"),
    )
    value_bytes: Bytes | None = field(
        default=None,
        metadata=about(
            "values in memory at most: the block that is computed and those that wait or are written; two blocks of 32 texts are "
            "always allowed",
            unset="2 GiB",
            flags=("--value-memory",),
            in_gigabytes=True,
        ),
    )
    token_sample: TokenSample | None = field(
        default=None,
        metadata=about(
            "token vectors kept beside the pooled values",
            unset="a sample of the sites that the model has",
            parts={
                "per_text": About(
                    "token vectors kept per text for probing; 0 keeps none", flags=("--token-sample",), metavar="N"
                ),
                "seed": About("seed of the token sample", flags=("--seed",)),
                "sites": About("sites whose token vectors are kept", flags=("--token-sites",), metavar="SITE"),
                "choice": About("which tokens those are", flags=("--token-choice",)),
            },
        ),
    )
    count_sites: Names | None = field(
        default=None,
        metadata=about(
            "sites whose active tokens are counted per language",
            unset="where LAPE counts: mlp_pre in a gated MLP, whose act(gate) it stands for, else mlp_hidden; with states alone, "
            "the sites that were named",
            metavar="SITE",
        ),
    )
    count_threshold: Number | Sequence[Number] = field(
        default=(0.0,), metadata=about("a token is counted as active above it; several are counted side by side", metavar="X")
    )
    stats_only: bool | Sequence[StateKind] = field(
        default=False,
        metadata=about(
            "keep no cube and no token vectors but states of any number of texts: counts (active tokens, for LAPE; kept if no "
            "kind is named), moments (mean, std, p_active per concept and language), histogram (ap, auroc, quantiles, best_f1 of "
            "8-bit codes)",
            metavar="KIND",
        ),
    )
    active_threshold: Number = field(default=0.0, metadata=about("with moments: a value above it is active"))
    range_texts: Positive = field(
        default=512,
        metadata=about("with a histogram: texts, as many of every language, whose values decide the range of the codes"),
    )
    range_seed: Seed = field(default=0, metadata=about("seed of the draw of these texts"))
    state_bytes: Bytes | None = field(
        default=None,
        metadata=about(
            "states in memory at most",
            unset="half of this machine's memory",
            flags=("--state-memory",),
            in_gigabytes=True,
        ),
    )
    lost_share: Share = field(
        default=0.01,
        metadata=about(
            "share of a layer's values (or of its token vectors' numbers) that may be so small that --dtype keeps them as 0 or "
            "with fewer bits before a warning says so; 1 never warns",
            metavar="X",
        ),
    )
    loss_texts: Count | None = field(default=256, metadata=about("texts, evenly spread, that the sanity loss is taken on"))
    fidelity_texts: Count = field(
        default=8,
        metadata=about(
            "texts of all languages and lengths, recomputed one by one and compared before anything is written; 0 skips the check"
        ),
    )
    calibration_texts: Count = field(
        default=8,
        metadata=about(
            "texts of all languages and lengths that vllm is compared with transformers on before anything is written; 0 skips it"
        ),
    )
    trust_remote_code: bool = field(default=False, metadata=about("run code that a checkpoint brings along"))
    removes_downloads: bool = field(
        default=False,
        metadata=about("remove a finished checkpoint's files if this run downloaded them", flags=("--remove-downloads",)),
    )
    checks_disk: bool = field(
        default=True, metadata=about("refuse a run that could outgrow the disk", flags=("--no-disk-check",))
    )
    proves_sites: bool = field(
        default=True,
        metadata=about(
            "prove on a few tokens, before anything is written, that every site is the tensor of its name", flags=("--no-proofs",)
        ),
    )
    describes_weights: bool = field(
        default=True,
        metadata=about(
            "keep norm, spectrum and a sketch of every weight matrix (table weights), computed beside the model's run",
            flags=("--no-weights",),
        ),
    )
    syncs: bool = field(
        default=True, metadata=about("flush every shard to disk before it counts as written", flags=("--no-sync",))
    )
    n_threads: Positive | None = field(
        default=None, metadata=about("threads that encode", unset="one per core", flags=("--threads",))
    )

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for each in fields(self):
            value, note = getattr(self, each.name), each.metadata["about"]
            is_several = isinstance(value, Collection) and not isinstance(value, str | Mapping)
            if (tuple(value) if is_several else value) != each.default:
                _check(each.name, value, hints[each.name])
            if note.parts and value is not None:
                inner = get_type_hints(type(value), include_extras=True)
                for part in note.parts:
                    _check(f"{each.name}.{part}", getattr(value, part), inner[part])
            if is_several:
                object.__setattr__(self, each.name, tuple(value))
        self._check_together()

    def _check_together(self) -> None:
        """Refuse what each option alone does not show."""
        kinds = self.state_kinds
        for device in (self.device, *self.devices):
            if not _DEVICE.fullmatch(device):
                raise BackendUnavailable(f"no device {device!r}; choose cpu, cuda, cuda:N or auto")
        if self.part is not None and not 1 <= self.part[0] <= self.part[1]:
            raise OptionError(f"there is no part {self.part[0]} of {self.part[1]}; parts are numbered from 1")
        if self.devices and self.device != "auto":
            raise OptionError(
                f"device {self.device} is one, devices are several ({', '.join(self.devices)}); choose one of the two"
            )
        if self.devices and self.part:
            raise OptionError("devices divide the texts among them; choose devices or a part, not both")
        self._check_states(kinds)
        if self.twin_seed and not self.random_twin:
            raise OptionError("twin_seed is of the weights that random_twin makes; add random_twin, or leave twin_seed out")
        if self.random_twin and self.backend != "hf":
            raise OptionError(
                f"random_twin makes new weights with transformers, and backend {self.backend!r} reads its own; use backend 'hf'"
            )
        if self.drops_languages and self.over_long != "drop":
            raise OptionError(f"drops_languages is about texts that over_long='drop' leaves out, not about {self.over_long!r}")
        if self.devices and self.dask:
            raise OptionError("devices are of this machine, Dask's workers have their own; choose devices or dask, not both")
        if self.dask and self.part:
            raise OptionError("Dask divides the texts among its workers; choose dask or a part, not both")
        if self.removes_downloads and (self.devices or self.dask):
            raise OptionError(
                "removing downloads would take files from processes that still read them; with devices or dask, remove them "
                "afterwards"
            )

    def _check_states(self, kinds: tuple[str, ...]) -> None:
        """Refuse what says something about states that are not kept, and about vectors beside them."""
        default = {each.name: each.default for each in fields(self)}
        about = {"active_threshold": "moments", "range_texts": "histogram", "range_seed": "histogram"}
        # beside cubes tokens are always counted
        about |= {"count_sites": "counts", "count_threshold": "counts"} if kinds else {}
        for name, kind in about.items():
            if kind not in kinds and getattr(self, name) != default[name]:
                kept = f"stats_only keeps {', '.join(kinds)}" if kinds else "cubes are kept"
                raise OptionError(f"{name} is about {kind}, and here {kept}; add {kind} to stats_only, or leave {name} out")
        if kinds and self.token_sample is not None and self.token_sample.per_text:
            raise OptionError("stats_only keeps no token vectors; leave token_sample out, or stats_only")

    @property
    def sites_or_default(self) -> tuple[str, ...]:
        """Sites to read."""
        return tuple(self.sites or ("mlp_pre",))

    @property
    def named_dtypes(self) -> Mapping[str, str]:
        """Stored dtypes of sites that were named with one; empty where all have the same, or each is chosen."""
        named = self.dtype if isinstance(self.dtype, Mapping) else {}
        return {site: dtype for site, dtype in named.items() if dtype != "auto"}

    @property
    def count_thresholds(self) -> tuple[float, ...]:
        """Values above which tokens are counted, ascending."""
        given = self.count_threshold
        return tuple(sorted(map(float, given if isinstance(given, Sequence) else (given,))))

    @property
    def state_kinds(self) -> tuple[str, ...]:
        """Kinds of states that are kept in place of cubes, in the order of `STATE_KINDS`; none where cubes are kept."""
        given = ("counts",) if self.stats_only is True else tuple(self.stats_only or ())
        return tuple(kind for kind in STATE_KINDS if kind in given)


class ExtractFields(TypedDict, total=False):
    """The fields of `ExtractOptions` as keywords, for type checkers and editors. A test holds the two equal."""

    sites: Sequence[str] | None
    pooling: Pooling
    dtype: StoredDtype | Mapping[str, StoredDtype]
    backend: str
    tensor_parallel: Positive
    steps: Sequence[Step] | None
    revisions: Sequence[str]
    duplicates: Policy
    broken: Policy
    random_twin: bool
    twin_seed: Seed
    max_tokens: Positive | None
    over_long: OverLong
    drops_languages: bool
    special_tokens: SpecialTokens
    tokenizer: str | None
    device: str
    devices: Sequence[str]
    dask: str | None
    part: tuple[int, int] | None
    compute_dtype: Literal["auto", ComputeDtype]
    tokens_per_batch: Positive | None
    texts_per_block: Positive | None
    value_bytes: Bytes | None
    token_sample: TokenSample | None
    count_sites: Names | None
    count_threshold: Number | Sequence[Number]
    stats_only: bool | Sequence[StateKind]
    active_threshold: Number
    range_texts: Positive
    range_seed: Seed
    state_bytes: Bytes | None
    lost_share: Share
    loss_texts: Count | None
    fidelity_texts: Count
    calibration_texts: Count
    trust_remote_code: bool
    removes_downloads: bool
    checks_disk: bool
    proves_sites: bool
    describes_weights: bool
    syncs: bool
    n_threads: Positive | None


def _check(name: str, value: Any, hint: Any) -> None:
    """Refuse a value that a type does not allow."""
    reason = why_not(name, value, hint)
    if reason is not None:
        raise OptionError(reason)


def takes_options(function: F) -> F:
    """Let `help` and `inspect` show every option of a run where a function takes them as ``**options``."""
    signature = inspect.signature(function)
    parameters = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    for each in fields(ExtractOptions):
        parameters.append(
            inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type)
        )
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    # Python 3.13 takes the indentation off docstrings, earlier ones keep it
    text = inspect.cleandoc(function.__doc__ or "")
    before, line, after = text.partition("    **options: Fields of `ExtractOptions`.\n")
    function.__doc__ = before + line + _described() + after
    return function


def _described() -> str:
    """One line of a docstring per option."""
    lines = []
    for name, _, note in declared(ExtractOptions):
        lines.append(f"    {name}: {note.help}{f' (unset: {note.unset})' if note.unset else ''}.\n")
    return "".join(lines)


# written once, in the fields
ExtractOptions.__doc__ = f"{inspect.cleandoc(ExtractOptions.__doc__ or '')}\n\nAttributes:\n{_described()}"
