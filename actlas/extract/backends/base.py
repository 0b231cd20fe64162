"""What extraction asks of a way to run models, as protocols, and what it hands over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from actlas.extract.checkpoints.weight_hash import HashedWeights
from actlas.extract.inputs.batches import BlockTexts
from actlas.extract.sites.proofs import Proof
from actlas.names import Checkpoint
from actlas.store.values import BlockValues


@dataclass(frozen=True)
class Capture:
    """What to read from a model: the same for every checkpoint of a run.

    Attributes:
        sites: Sites whose pooled values are kept.
        token_sites: Sites whose sampled token vectors are kept.
        count_sites: Sites whose active tokens are counted.
        pooling: Tokens to one value per text.
        dtype: Dtype of the values handed over.
        site_dtypes: The sites whose values have another one, each with it.
        count_thresholds: Values above which a token is active; the counts of all thresholds stand one after the other, languages
            within.
        n_languages: Length of the language axis of the counts.
        site_modules: Sites named by hand.
        pad_to: Pad every text to this many tokens and pool the padding too; None reads no padding.
        is_summed: Whether sums of the values are kept, in fixed steps.
        max_tokens: No text is longer.
    """

    sites: tuple[str, ...]
    token_sites: tuple[str, ...] = ()
    count_sites: tuple[str, ...] = ()
    pooling: str = "max"
    dtype: str = "float16"
    site_dtypes: Mapping[str, str] = field(default_factory=dict)
    count_thresholds: tuple[float, ...] = (0.0,)
    n_languages: int = 1
    site_modules: Mapping[str, str] = field(default_factory=dict)
    pad_to: int | None = None
    is_summed: bool = False
    max_tokens: int = 128

    def dtype_of(self, site: str) -> str:
        """Dtype of the values of a site that are handed over."""
        return self.site_dtypes.get(site, self.dtype)

    def all_in(self, dtype: str) -> Capture:
        """The same with the values of all sites in one dtype."""
        return replace(self, dtype=dtype, site_dtypes={})

    @property
    def n_count_rows(self) -> int:
        """Length of the first axis of the counts: thresholds times languages."""
        return len(self.count_thresholds) * self.n_languages

    @property
    def all_sites(self) -> tuple[str, ...]:
        """Every site that has to be read, for whatever purpose, sorted."""
        return tuple(sorted({*self.sites, *self.token_sites, *self.count_sites}))


@dataclass(frozen=True)
class BackendSettings:
    """How to run the models; what is read of them is said by `Capture`.

    Attributes:
        device: "cpu", "cuda", "cuda:1", or "auto" for CUDA where there is one.
        compute_dtype: A `names.ComputeDtype`, or "auto": float32 on the CPU, the checkpoint's own elsewhere.
        tokens_per_batch: Most tokens of a batch, padding included; None leaves it to the device.
        trust_remote_code: Whether code that a checkpoint brings along may run.
        tokenizer: Folder or hub id of the tokenizer, where the checkpoints have none of their own.
        tensor_parallel: Ranks that a model is divided among.
    """

    device: str = "auto"
    compute_dtype: str = "auto"
    tokens_per_batch: int | None = None
    trust_remote_code: bool = False
    tokenizer: str | None = None
    tensor_parallel: int = 1


@dataclass(frozen=True)
class LocatedCheckpoint:
    """A checkpoint whose files are on this machine.

    Attributes:
        checkpoint: Which one.
        folder: Where its files are.
        tokenizer_hashes: What its tokenizer is known by, see `TextTokenizer`; empty where it has none of its own.
        architecture: Class name from its config.
        max_positions: Longest sequence it can read; None without a limit.
        compute_dtype: Dtype it will compute in.
        commit: Commit of a checkpoint from the hub; None for a local folder.
        is_download: Whether `locate` downloaded it, of which nothing was on this machine before.
        vocabulary: Tokens that it has an embedding for; None where its configuration does not say.
        activation: Name of its MLPs' activation function; None where its configuration does not say.
    """

    checkpoint: Checkpoint
    folder: Path
    tokenizer_hashes: tuple[str, ...]
    architecture: str
    max_positions: int | None
    compute_dtype: str
    commit: str | None = None
    is_download: bool = False
    vocabulary: int | None = None
    activation: str | None = None

    @cached_property
    def _weights(self) -> HashedWeights:
        return HashedWeights.of(self.folder)

    @cached_property
    def weight_hash(self) -> str:
        """Hash of its tensors, all of which are read when it is first asked for.

        Raises:
            ModelNotLoaded: If a file is damaged.
        """
        return self._weights.hash

    def check_unchanged(self) -> None:
        """Refuse files that changed after they were hashed here.

        Raises:
            ModelNotLoaded: Naming them.
        """
        if "_weights" in vars(self):
            self._weights.check(self.folder)


@dataclass(frozen=True)
class Encoded:
    """Token ids of some texts, nothing cut.

    Attributes:
        token_ids: Per text.
        is_special: Per text, which of them the tokenizer added.
        places: Per text, int64 ``"tokens 2"``: first and last character (exclusive) of each token; -1 where that
            is not known.
    """

    token_ids: list[NDArray[np.int32]]
    is_special: list[NDArray[np.bool_]]
    places: list[NDArray[np.int64]]

    def keep(self, rows: NDArray[np.integer]) -> Encoded:
        """Some of the texts."""
        return Encoded(*([part[row] for row in rows] for part in (self.token_ids, self.is_special, self.places)))


class TextTokenizer(Protocol):
    """Texts to token ids.

    Attributes:
        hash: Of everything that decides its token ids.
        pad_id: Fills a batch.

    One that has special tokens says so in `special_tokens`: id -> how it is written. One that earlier versions of actlas called
    otherwise says so in `hashes`: `hash`, then the names under which a store may know it.
    """

    hash: str
    pad_id: int

    def encode(self, texts: Sequence[str], *, add_special: bool, max_tokens: int | None = None) -> Encoded:
        """Token ids of `texts`; with `max_tokens`, the end is cut (closing tokens stay)."""
        ...


class BlockRun(Protocol):
    """A block that a model has been run on; its values may still be on the device."""

    def collect(self) -> BlockValues:
        """The values, checked to be finite, on the host. May be called in another thread."""
        ...


class ModelSession(Protocol):
    """A loaded model that is being read.

    Attributes:
        shapes: Site -> (layers, neurons).
        about: What should be known later: architecture, device, versions, layouts.
        is_on_cpu: Whether the model runs on the processor that does everything else, too.
    """

    shapes: Mapping[str, tuple[int, int]]
    about: Mapping[str, Any]
    is_on_cpu: bool

    def run_block(
        self,
        block: BlockTexts,
        *,
        is_alone: bool = False,
        dtype: str | None = None,
        on_batch: Callable[[int], None] | None = None,
    ) -> BlockRun:
        """Run a block.

        Args:
            block: The texts.
            is_alone: Put every text in a batch of its own.
            dtype: Overrides the capture's, for all sites.
            on_batch: Called with the number of texts after every batch.
        """
        ...

    def store_as(self, capture: Capture) -> None:
        """Hand over values in the dtypes of a capture that is otherwise the one that the session was opened with."""
        ...

    def calibrate(self, block: BlockTexts) -> Mapping[str, Any] | None:
        """Compare a few texts with transformers; None from the backend that is transformers.

        Raises:
            FidelityError: If they differ by more than the dtype explains.
        """
        ...

    def close(self) -> None:
        """Let go of the model."""
        ...


class ProvingSession(ModelSession, Protocol):
    """A session that can prove its sites, which not every backend's can."""

    def prove(self, *, is_full: bool = False) -> list[Proof]:
        """Proofs of the sites of the model's family; none where it is in no family.

        Args:
            is_full: Also run texts alone and padded on either side.

        Raises:
            NotFiniteValues: If the model gives NaN or infinity.
        """
        ...


class Backend(Protocol):
    """A way to run models."""

    name: str

    def locate(self, checkpoint: Checkpoint) -> LocatedCheckpoint:
        """Bring the checkpoint's files to this machine and identify them; loads no weights."""
        ...

    def commit(self, checkpoint: Checkpoint) -> str | None:
        """Commit that a checkpoint's revision stands for on the hub now; None for a local folder, or if the hub does not say."""
        ...

    def discard(self, located: LocatedCheckpoint) -> None:
        """Remove the files of a checkpoint that `locate` downloaded; those of any other are left alone."""
        ...

    def tokenizer(self, located: LocatedCheckpoint) -> TextTokenizer:
        """The tokenizer that the run uses."""
        ...

    def linear_sites(self, located: LocatedCheckpoint) -> list[str]:
        """Sites named by hand, as `parse_sites` takes them, for every linear map of the repeated block; loads no weights."""
        ...

    def revisions(self, model: str) -> list[str]:
        """Names of the branches and tags of a model on the hub."""
        ...

    def open(self, located: LocatedCheckpoint, capture: Capture) -> ModelSession:
        """Load the weights and prepare to read what `capture` says."""
        ...
