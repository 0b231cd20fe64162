"""Records: the JSON files under ``manifests/`` that say what a store holds, each read once and again only when it changed.

A writer puts a record in its place by renaming a file, and never changes one in place. So a record is what was read before as
long as its file has the same modification time, inode and size. Asking the file system for these three is all that a second
question costs, and it notices what another process has committed since.
"""

from __future__ import annotations

import binascii
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from actlas.errors import DamagedStore, FormatTooNew
from actlas.names import Checkpoint
from actlas.store import layout
from actlas.store.health import SiteHealth

R = TypeVar("R")

#: Array inside the store -> index of a shard ("0/1/0") -> its record.
Shards = dict[str, dict[str, "ShardRecord"]]
#: Checkpoints, and scores of sites, whose records of shards stay in memory: those of a large checkpoint take megabytes.
_SHARDS_KEPT = 8


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
        weight_hash: Hash of the weights.
        shapes: site -> layers, neurons, texts, for sites with a cube.
        states: site -> layers, neurons, for sites with states in place of a cube.
        cubes: Sites with a cube.
        token_cubes: Sites with sampled token vectors.
        counts: Sites whose active tokens were counted.
        n_texts: Texts of the text axis.
        n_tokens: language -> tokens that took part in the counts.
        sanity_loss: Mean next-token loss on the corpus in nats.
        shards: The files that were written when the checkpoint was completed.
        health: site -> what became of its values; empty where it was not noted.
        health_digest: SHA-256 of table `neuron_health` of the checkpoint; None where it has none.
        provenance: The whole record, with everything that the backend said of itself.
    """

    checkpoint: str
    model: str
    provenance: dict[str, Any]
    step: int | None = None
    revision: str | None = None
    weight_hash: str | None = None
    shapes: dict[str, tuple[int, int, int]] = {}
    states: dict[str, tuple[int, int]] = {}
    cubes: tuple[str, ...] = ()
    token_cubes: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    n_texts: int = 0
    n_tokens: dict[str, int] = {}
    sanity_loss: float | None = None
    shards: tuple[ShardRecord, ...] = ()
    health: dict[str, SiteHealth] = {}
    health_digest: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CheckpointRecord:
        """The record that a file holds. What earlier versions did not know, or wrote as null, has its default."""
        known = {name: value for name, value in data.items() if value is not None}
        return msgspec.convert({**known, "provenance": dict(data)}, cls)

    @property
    def order(self) -> tuple[int, int, str]:
        """Sort key of checkpoints, see `actlas.names.Checkpoint.order`."""
        return Checkpoint(self.checkpoint, self.model, self.step, self.revision).order

    @property
    def sites(self) -> list[str]:
        """Sites with a cube or with states, sorted."""
        return sorted({*self.cubes, *self.states})

    def shape(self, site: str) -> tuple[int, int]:
        """Layers and neurons of a site with a cube or with states.

        Raises:
            KeyError: If it has neither.
        """
        layers, neurons = self.shapes[site][:2] if site in self.shapes else self.states[site]
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


class Snapshot(msgspec.Struct, frozen=True, eq=False):
    """What a store held at one moment. `Records.snapshot` gives the same one while nothing was committed.

    Attributes:
        checkpoints: Committed checkpoints, by step.
        scores: (checkpoint, site) -> its complete scores, in the order of `checkpoints`, sites sorted.
    """

    checkpoints: dict[str, CheckpointRecord]
    scores: dict[tuple[str, str], ScoreRecord]


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
        return kind(msgspec.json.decode(path.read_bytes()))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
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


def by_array(shards: Iterable[ShardRecord]) -> Shards:
    """Records of shards: array inside the store -> index of the shard -> its record."""
    arrays: Shards = {}
    for shard in shards:
        array, _, index = shard.path.partition("/c/")
        arrays.setdefault(array, {})[index] = shard
    return arrays


def score_manifest(root: Path, checkpoint: str, site: str, pooling: str) -> Path:
    """Folder of the records of the scores of one cube."""
    return root / layout.manifest_path(checkpoint) / "scores" / f"{site}.{pooling}"


def begun_checkpoints(root: Path) -> Iterator[CheckpointRecord]:
    """Every checkpoint that was begun in the store at `root`, complete or not; none where there is no store."""
    for path in sorted((root / "manifests").glob("*/begun.json")):
        yield read_record(path, CheckpointRecord.from_json)


class Records:
    """The records of one store.

    Args:
        root: Folder of the store.
        pooling: Pooling of its recipe.
    """

    def __init__(self, root: Path, pooling: str) -> None:
        self._pooling = pooling
        # names of files as text: a question asks for hundreds of them, and joining and hashing paths would take most of its time
        self._manifests = str(root / "manifests")
        self._known: dict[str, tuple[_Stamp, Any]] = {}
        self._snapshot = Snapshot({}, {})
        #: id of a record -> the record, so that its id is no other's, and the shards that it stands for
        self._shards: OrderedDict[int, tuple[object, Shards]] = OrderedDict()
        self._lock = threading.Lock()

    def checkpoint(self, checkpoint: str) -> CheckpointRecord | None:
        """A checkpoint that is committed; None for any other."""
        path = f"{self._manifests}/{checkpoint}/checkpoint.json"
        record = self._current(path, path, CheckpointRecord.from_json)
        if record is not None and record.checkpoint != checkpoint:
            raise DamagedStore(f"{path} is the record of {record.checkpoint}, in the folder of {checkpoint}")
        return record

    def checkpoints(self) -> dict[str, CheckpointRecord]:
        """The committed checkpoints, by step."""
        records = [record for name in self._folders() if (record := self.checkpoint(name)) is not None]
        return {record.checkpoint: record for record in sorted(records, key=lambda record: record.order)}

    def scores(self, checkpoint: str, site: str) -> ScoreRecord | None:
        """Scores that are complete; None for any other."""
        folder = self._score_folder(checkpoint, site)
        # the settings are those of complete scores as long as the mark of completion is the same file
        return self._current(f"{folder}/done.json", f"{folder}/settings.json", score_record)

    def shards(self, checkpoint: str) -> Shards:
        """The shards of a committed checkpoint: array inside the store -> index of a shard -> its record."""
        record = self.checkpoint(checkpoint)
        assert record is not None  # asked of what was found
        blocks = sorted(Path(self._manifests, checkpoint, "blocks").glob("*.json"))
        return self._grouped(record, lambda: (record.shards, *(read_record(path, block_record).shards for path in blocks)))

    def score_shards(self, checkpoint: str, site: str) -> Shards:
        """The same for the scores of a site that are complete."""
        record = self.scores(checkpoint, site)
        assert record is not None  # asked of what was found
        layers = sorted(Path(self._score_folder(checkpoint, site)).glob("layer-*.json"))
        return self._grouped(record, lambda: (read_record(path, block_shards) for path in layers))

    def _grouped(self, owner: object, read: Callable[[], Iterable[Sequence[ShardRecord]]]) -> Shards:
        """The shards that a record stands for, read once while it is one of the last few that were asked for."""
        with self._lock:
            if id(owner) in self._shards:
                self._shards.move_to_end(id(owner))
                return self._shards[id(owner)][1]
        shards = by_array(shard for part in read() for shard in part)
        with self._lock:
            self._shards[id(owner)] = (owner, shards)
            while len(self._shards) > _SHARDS_KEPT:
                self._shards.popitem(last=False)
        return shards

    def _score_folder(self, checkpoint: str, site: str) -> str:
        return f"{self._manifests}/{checkpoint}/scores/{site}.{self._pooling}"

    def snapshot(self) -> Snapshot:
        """What the store holds now: the snapshot that was given before, if nothing has changed since."""
        checkpoints = self.checkpoints()
        scores = {
            (name, site): score
            for name, record in checkpoints.items()
            for site in record.sites
            if (score := self.scores(name, site)) is not None
        }
        with self._lock:
            known = self._snapshot
            if not (_same(known.checkpoints, checkpoints) and _same(known.scores, scores)):
                self._snapshot = Snapshot(checkpoints, scores)
            return self._snapshot

    def _folders(self) -> list[str]:
        try:
            with os.scandir(self._manifests) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return []

    def _current(self, mark: str, path: str, kind: Callable[[Mapping[str, Any]], R]) -> R | None:
        """The record in `path`, read again only if the file `mark` has changed; None where either is not there."""
        stamp = _stamp(mark)
        if stamp is None:
            return None
        with self._lock:
            known = self._known.get(mark)
            if known is None or known[0] != stamp:
                try:
                    known = self._known[mark] = (stamp, read_record(Path(path), kind))
                except FileNotFoundError as error:
                    if _stamp(mark) == stamp:
                        raise DamagedStore(f"{path} is missing, and {mark} says that it was committed") from error
                    return None
            record: R = known[1]
            return record


#: Modification time, inode and size of a file.
_Stamp = tuple[int, int, int]


def _stamp(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return (status.st_mtime_ns, status.st_ino, status.st_size)


def _same(one: Mapping[Any, object], other: Mapping[Any, object]) -> bool:
    """Whether two mappings have the same keys in the same order, and the very same objects under them."""
    return list(one) == list(other) and all(one[key] is other[key] for key in one)
