"""Records: what the JSON files under ``manifests/`` say of checkpoints, their blocks and scores."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from actlas.errors import DamagedStore, FormatTooNew, raise_shortage
from actlas.names import Checkpoint, RandomTwin, Recipe
from actlas.store import layout
from actlas.store.committed import Committed, Logged, Manifests
from actlas.store.dtypes import SiteDtype
from actlas.store.files.digests import FileRecord
from actlas.store.layout import HEALTH_FILE, WEIGHTS_FILE
from actlas.store.log import Log, has_log
from actlas.store.notes.health import SiteHealth

R = TypeVar("R")

#: Record beside those of an earlier version: what `actlas upgrade` read of the files that these name.
DIGESTS = "digests.json"


class ShardRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a record says about one shard: enough to tell later whether it is whole, and whether it is this one.

    Attributes:
        path: Where it is inside the store.
        n_bytes: Its size.
        crc32c: Of the whole file, in records of earlier versions. It depends on the lengths of the chunks alone, because every
            chunk ends in its own crc32c.
        digest: xxh3-128 of the whole file, in hex; None in records of earlier versions.
        chunk_sums: The crc32c that ends each chunk, in the order of the index, little-endian and in base64;
            `layout.ABSENT_SUM` for a chunk that the shard does not hold.
    """

    path: str
    n_bytes: int
    crc32c: int | None = None
    digest: str | None = None
    chunk_sums: str | None = None

    def sums(self, shape: tuple[int, ...]) -> NDArray[np.uint32] | None:
        """The sums, with one dimension per dimension of the array; None in records of earlier versions.

        Raises:
            ValueError: If there are not as many as the shard has chunks.
        """
        if self.chunk_sums is None:
            return None
        return np.frombuffer(binascii.a2b_base64(self.chunk_sums), dtype="<u4").reshape(shape)


class BlockRecord(msgspec.Struct, frozen=True):
    """One committed block of texts of a checkpoint.

    Attributes:
        start: Its first row on the text axis.
        stop: The row behind its last one.
        n_tokens: Tokens that took part in the counts, per language.
        loss_sum: Sum of next-token losses in nats; None where it is NaN or infinite.
        loss_tokens: Tokens that this sum is over.
        shards: The files that hold its values.
        lost_vectors: site -> per layer, numbers in its token vectors that the stored dtype keeps as 0 or with fewer bits.
    """

    start: int
    stop: int
    n_tokens: tuple[int, ...] = ()
    loss_sum: float | None = 0.0
    loss_tokens: int = 0
    shards: tuple[ShardRecord, ...] = ()
    lost_vectors: dict[str, tuple[int, ...]] = {}

    @property
    def n_texts(self) -> int:
        return self.stop - self.start


class CheckpointRecord(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A checkpoint that was begun or, with the attributes from `cubes` on, completed.

    Attributes:
        checkpoint: Its id.
        model: What was asked for when it was extracted.
        step: Its training step; None where nothing says it.
        revision: Branch, tag or commit on the Hugging Face hub; None elsewhere.
        twin: For a control, what it is; None for any other checkpoint.
        weight_hash: Hash of the weights.
        shapes: site -> layers, neurons, texts, for sites with a cube.
        states: site -> layers, neurons, for sites with states in place of a cube.
        imported: site -> layers, neurons, for sites whose scores were computed elsewhere, and which have nothing but these.
        cubes: Sites with a cube.
        token_cubes: Sites with sampled token vectors.
        counts: Sites whose active tokens were counted.
        n_texts: Texts of the text axis.
        n_tokens: language -> tokens that took part in the counts.
        sanity_loss: Mean next-token loss on the corpus in nats.
        shards: The files that were written when the checkpoint was completed.
        health: site -> what became of its values; empty where it was not noted.
        dtypes: site -> what its values are stored in; empty in records of earlier versions, which have that of the recipe.
        health_digest: SHA-256 of table `neuron_health` of the checkpoint; None where it has none.
        weights_digest: The same of its table `weights`.
        files: Metadata and coordinates of its groups; none in records of earlier versions.
        provenance: The whole record, with everything that the backend said of itself.
    """

    checkpoint: str
    model: str
    provenance: dict[str, Any]
    step: int | None = None
    revision: str | None = None
    twin: RandomTwin | None = None
    weight_hash: str | None = None
    shapes: dict[str, tuple[int, int, int]] = {}
    states: dict[str, tuple[int, int]] = {}
    imported: dict[str, tuple[int, int]] = {}
    cubes: tuple[str, ...] = ()
    token_cubes: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    n_texts: int = 0
    n_tokens: dict[str, int] = {}
    sanity_loss: float | None = None
    shards: tuple[ShardRecord, ...] = ()
    health: dict[str, SiteHealth] = {}
    dtypes: dict[str, SiteDtype] = {}
    health_digest: str | None = None
    weights_digest: str | None = None
    files: tuple[FileRecord, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CheckpointRecord:
        """The record that a file holds. What earlier versions did not know, or wrote as null, has its default."""
        known = {name: value for name, value in data.items() if value is not None}
        return msgspec.convert({**known, "provenance": dict(data)}, cls)

    @property
    def order(self) -> tuple[int, int, int, str]:
        """Sort key of checkpoints, see `actlas.names.Checkpoint.order`."""
        return Checkpoint(self.checkpoint, self.model, self.step, self.revision, self.twin).order

    @property
    def sites(self) -> list[str]:
        """Sites with a cube, with states or with imported scores, sorted."""
        return sorted({*self.cubes, *self.states, *self.imported})

    @property
    def lape_site(self) -> str | None:
        """The site whose values are above 0 iff the output of the MLPs' activation function is; None where that is not known."""
        if "lape_site" in self.provenance:
            site: str | None = self.provenance["lape_site"]
            return site
        # earlier versions did not say it, and knew one kind of gated MLP
        modules = self.provenance.get("modules", {}).get("mlp_hidden", ())
        return "mlp_pre" if any(module.endswith(".mlp.down_proj:input") for module in modules) else "mlp_hidden"

    @property
    def tables(self) -> dict[str, str]:
        """Tables of the checkpoint that lie beside its record: name of the file -> its SHA-256."""
        digests = {HEALTH_FILE: self.health_digest, WEIGHTS_FILE: self.weights_digest}
        return {file: digest for file, digest in digests.items() if digest is not None}

    def dtype_of(self, site: str, recipe: Recipe) -> str:
        """What the values of a site are stored in, in a store with this recipe."""
        return self.dtypes[site].dtype if site in self.dtypes else recipe.dtype_of(site)

    def shape(self, site: str) -> tuple[int, int]:
        """Layers and neurons of a site with a cube, with states or with imported scores.

        Raises:
            KeyError: If it has none of these.
        """
        layers, neurons = self.shapes[site][:2] if site in self.shapes else {**self.states, **self.imported}[site]
        return (layers, neurons)


class ScoreRecord(msgspec.Struct, frozen=True, eq=False):
    """What the scores of one cube are.

    Attributes:
        stats: Statistics that were computed.
        languages: Names along the first axis.
        concepts: Names along the second axis.
        settings: What decided the numbers: threshold, sources, versions.
    """

    stats: tuple[str, ...]
    languages: tuple[str, ...]
    concepts: tuple[str, ...]
    settings: dict[str, Any]


class DigestRecord(msgspec.Struct, frozen=True, eq=False):
    """What tells the files apart that the records beside it name, and which these, of an earlier version, do not tell apart.

    Attributes:
        shards: What those records name, with digests and the sums of chunks: it takes the place of what they say.
        files: Metadata and coordinates of the groups.
    """

    shards: tuple[ShardRecord, ...] = ()
    files: tuple[FileRecord, ...] = ()


def read_about(path: Path) -> dict[str, Any] | None:
    """What the store in a folder says of itself: format, recipe, codec, blocks; None where there is no store of ours.

    Raises:
        FormatTooNew: If a later version of actlas wrote it.
        DamagedStore: If its zarr.json is not what any version wrote.
    """
    root = path / "zarr.json"
    about = read_record(root, _about) if root.is_file() else None
    if about is not None and about["format"] > layout.FORMAT_VERSION:
        raise FormatTooNew(
            f"{path} has format {about['format']}, and this version of actlas reads formats up to {layout.FORMAT_VERSION}; "
            "install a later version to read it"
        )
    return about


def _about(data: Mapping[str, Any]) -> dict[str, Any] | None:
    about = data.get("attributes", {}).get("actlas")
    return None if about is None else {**about, "format": msgspec.convert(about["format"], int), "codec": str(about["codec"])}


def read_record(path: Path, kind: Callable[[Mapping[str, Any]], R]) -> R:
    """The record in a file.

    Args:
        path: The file.
        kind: Makes the record of what the JSON says.

    Raises:
        DamagedStore: If the file is no such record, or cannot be read.
        FileNotFoundError: If it is not there.
    """
    try:
        return decode_record(path.read_bytes(), path, kind)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise_shortage(error)
        raise DamagedStore(f"{path} is not the record that it should be ({' '.join(str(error).split())})") from error


def decode_record(data: bytes, path: Path, kind: Callable[[Mapping[str, Any]], R]) -> R:
    """The record that bytes of a file hold.

    Raises:
        DamagedStore: If they hold no such record.
    """
    try:
        return kind(msgspec.json.decode(data))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DamagedStore(f"{path} is not the record that it should be ({' '.join(str(error).split())})") from error


def block_record(data: Mapping[str, Any]) -> BlockRecord:
    """What the commit record of a block says."""
    return msgspec.convert(data, BlockRecord)


def score_record(data: Mapping[str, Any]) -> ScoreRecord:
    """What the settings of scores say."""
    return msgspec.convert(data, ScoreRecord)


def block_shards(data: Mapping[str, Any]) -> tuple[ShardRecord, ...]:
    """The shards that any record names."""
    return msgspec.convert(data["shards"], tuple[ShardRecord, ...])


def committed_in(root: Path, about: Mapping[str, Any] | None) -> Committed:
    """Where the store in a folder says what is committed in it.

    Args:
        root: The folder.
        about: What `read_about` said of it; None where there is no store, and so nothing is committed.
    """
    return Logged(root, Log(root)) if about is not None and has_log(about) else Manifests(root)


def score_manifest(root: Path, checkpoint: str, site: str, pooling: str) -> Path:
    """Folder of the records of the scores of one cube, where they are written for the first time."""
    return root / layout.manifest_path(checkpoint) / "scores" / f"{site}.{pooling}"


def begun_checkpoints(root: Path) -> Iterator[CheckpointRecord]:
    """Every checkpoint that was begun in the store at `root`, complete or not; none where there is no store."""
    for path in sorted((root / "manifests").glob("*/begun.json")):
        yield read_record(path, CheckpointRecord.from_json)
