"""What a caller may choose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from actlas.names import POLICIES, STATE_KINDS, TokenSample


@dataclass(frozen=True)
class ExtractOptions:
    """Choices beyond sites, pooling, dtype and backend.

    Attributes:
        steps: Training step per checkpoint, where names do not say it.
        revisions: Patterns that choose among the revisions of every hub id, or the step folders of every local folder.
        duplicates: Weights that the store or this call has under another id: "flag" says so and goes on, "skip" leaves the
            checkpoint out, "refuse" stops; before it is loaded.
        broken: The same for a checkpoint that does worse than a uniform guess on a few texts, before it is extracted.
        device: "cpu", "cuda", "cuda:N", or "auto".
        devices: Several devices of this machine, with a process each; a device named twice has two.
        dask: Address of a Dask scheduler whose workers share the call, or "local:N" for N processes on this machine.
        part: (i, n): only the i-th of n parts of the blocks, counted from 1; together the parts are everything.
        compute_dtype: Dtype the model computes in; "auto" is float32 on the CPU and the checkpoint's own on a GPU;
            "autocast-bfloat16" or "autocast-float16" keeps the weights in float32 and takes matrix products in the dtype named.
        tensor_parallel: Devices (ranks) that the vllm backend divides a model among.
        tokens_per_batch: Most tokens of a batch, padding included; None leaves it to the device.
        max_tokens: Longest token sequence, special tokens included; None for 128, or what the first checkpoint can read if that
            is less.
        over_long: Longer texts: "truncate", "drop" or "error".
        special_tokens: Tokens that the tokenizer adds: "pool", "run" (through the model, not pooled) or "none" (not added).
        token_sample: Token vectors kept beside the pooled values; None keeps the default sample of the sites there are.
        count_sites: Sites whose active tokens are counted; None counts `mlp_hidden` where there is one.
        count_threshold: A token is active above it; several are counted side by side.
        tokenizer: Folder or hub id of the tokenizer, where the checkpoints have none.
        trust_remote_code: Whether code that a checkpoint brings along may run.
        fidelity_texts: Texts that are recomputed one by one and compared before anything is written; 0 skips the check.
        calibration_texts: Texts, the first of the corpus, that a backend other than transformers is compared with it on before
            anything is written; 0 skips the comparison.
        loss_texts: Texts, evenly spread, that the sanity loss is taken on; None takes all.
        texts_per_block: Texts of one unit of writing and of resume; None fits them to `value_bytes`.
        value_bytes: Values in memory at most, in the block that is computed and those that wait or are written, unless two
            blocks of 32 texts are more; None for 2 GiB. A block takes up to half of it. A store keeps the blocks that it was
            begun with, and two of them are always allowed.
        stats_only: Keep no cube and no token vectors, only states of the sites asked for: any of "counts" (active tokens per
            language), "moments" (sums per concept and language) and "histogram" (texts per 8-bit code, concept and language).
            True is ("counts",).
        active_threshold: With moments: a value above it is active (p_active).
        range_texts: With a histogram: texts, as many of every language, whose values decide beforehand which range the codes of
            a neuron divide.
        range_seed: Seed of the draw of these texts.
        state_bytes: States in memory at most; None for half of this machine's memory.
        removes_downloads: Whether a checkpoint that this call downloaded is removed from the hub's cache once it is finished.
        checks_disk: Whether a run that could outgrow the disk is refused.
        syncs: Whether every shard is flushed to disk before it counts as written.
        n_threads: Threads that encode; None for one per core.
    """

    steps: Sequence[int] | None = None
    revisions: Sequence[str] = ()
    duplicates: str = "flag"
    broken: str = "flag"
    device: str = "auto"
    devices: tuple[str, ...] = ()
    dask: str | None = None
    part: tuple[int, int] | None = None
    compute_dtype: str = "auto"
    tensor_parallel: int = 1
    tokens_per_batch: int | None = None
    max_tokens: int | None = None
    over_long: str = "truncate"
    special_tokens: str = "pool"
    token_sample: TokenSample | None = None
    count_sites: tuple[str, ...] | None = None
    count_threshold: float | Sequence[float] = 0.0
    tokenizer: str | None = None
    trust_remote_code: bool = False
    fidelity_texts: int = 4
    calibration_texts: int = 4
    loss_texts: int | None = 256
    texts_per_block: int | None = None
    value_bytes: int | None = None
    stats_only: bool | Sequence[str] = False
    active_threshold: float = 0.0
    range_texts: int = 512
    range_seed: int = 0
    state_bytes: int | None = None
    removes_downloads: bool = False
    checks_disk: bool = True
    syncs: bool = True
    n_threads: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("duplicates", self.duplicates), ("broken", self.broken)):
            if value not in POLICIES:
                raise ValueError(f"{name} {value!r} is not known; choose one of {', '.join(POLICIES)}")

    @property
    def count_thresholds(self) -> tuple[float, ...]:
        """Values above which tokens are counted, ascending.

        Raises:
            ValueError: If none is named, or one that is not a finite number.
        """
        asked = self.count_threshold
        found = tuple(sorted(map(float, asked))) if isinstance(asked, Sequence) else (float(asked),)
        if not found or not all(map(math.isfinite, found)):
            raise ValueError(f"count_threshold needs one finite number or several, not {asked!r}")
        return found

    @property
    def state_kinds(self) -> tuple[str, ...]:
        """Kinds of states that are kept in place of cubes, in the order of `STATE_KINDS`; none where cubes are kept.

        Raises:
            ValueError: If a kind is not known.
        """
        asked = ("counts",) if self.stats_only is True else tuple(self.stats_only or ())
        unknown = [kind for kind in asked if kind not in STATE_KINDS]
        if unknown or isinstance(self.stats_only, str):
            raise ValueError(f"stats_only names some of {', '.join(STATE_KINDS)}, not {self.stats_only!r}")
        return tuple(kind for kind in STATE_KINDS if kind in asked)
