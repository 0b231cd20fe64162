"""Records: the JSON files under ``manifests/`` that say what a store holds, each read once and again only when it changed.

Which of them count is said by the log (`actlas.store.log`), with the digest of each. Whether there is a next entry in it is all
that a second question asks of the file system, and so it notices what another process has committed since. In a store without
a log, a record is what was read before as long as its file has the same modification time, inode and size.
"""

from __future__ import annotations

import binascii
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from actlas.errors import DamagedStore, FormatTooNew, raise_shortage
from actlas.names import Checkpoint, RandomTwin, Recipe
from actlas.store import layout
from actlas.store.committed import Committed, Logged, Manifests, checkpoint_name, score_name
from actlas.store.dtypes import SiteDtype
from actlas.store.files.digests import FileRecord
from actlas.store.layout import HEALTH_FILE, WEIGHTS_FILE
from actlas.store.log import Log, has_log
from actlas.store.notes.health import SiteHealth

R = TypeVar("R")

#: Record beside those of an earlier version: what `actlas upgrade` read of the files that these name.
DIGESTS = "digests.json"

#: Array inside the store -> index of a shard ("0/1/0") -> its record.
Shards = dict[str, dict[str, "ShardRecord"]]
#: Records of shards that stay in memory, of the checkpoints and scores that were read last: tens of megabytes at most.
_SHARDS_KEPT = 50_000


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


def by_array(shards: Iterable[ShardRecord]) -> Shards:
    """Records of shards: array inside the store -> index of the shard -> its record."""
    arrays: Shards = {}
    for shard in shards:
        array, _, index = shard.path.partition("/c/")
        arrays.setdefault(array, {})[index] = shard
    return arrays


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


class Records:
    """The records of one store, read once and again only when something else is committed.

    Args:
        committed: Where the store says what is committed.
        pooling: Pooling of its recipe.
    """

    def __init__(self, committed: Committed, pooling: str) -> None:
        self.committed, self._pooling = committed, pooling
        self._known: dict[str, tuple[object, Any]] = {}
        self._snapshot = (object(), Snapshot({}, {}))
        #: id of a record -> the record, so that its id is no other's, the shards that it stands for, and how many they are
        self._shards: OrderedDict[int, tuple[object, Shards, int]] = OrderedDict()
        self._n_shards = 0
        self._lock = threading.Lock()

    def checkpoint(self, checkpoint: str) -> CheckpointRecord | None:
        """A checkpoint that is committed; None for any other."""
        record = self._current(checkpoint_name(checkpoint), "checkpoint.json", CheckpointRecord.from_json)
        if record is not None and record.checkpoint != checkpoint:
            raise DamagedStore(f"checkpoint.json of {checkpoint} is the record of {record.checkpoint}")
        return record

    def checkpoints(self) -> dict[str, CheckpointRecord]:
        """The committed checkpoints, by step."""
        records = [record for name in self.committed.checkpoints() if (record := self.checkpoint(name)) is not None]
        return {record.checkpoint: record for record in sorted(records, key=lambda record: record.order)}

    def score_name(self, checkpoint: str, site: str) -> str:
        """What the scores of a site are called where they are committed."""
        return score_name(checkpoint, site, self._pooling)

    def scores(self, checkpoint: str, site: str) -> ScoreRecord | None:
        """Scores that are complete; None for any other."""
        return self._current(self.score_name(checkpoint, site), "settings.json", score_record)

    def score_files(self, checkpoint: str, site: str) -> tuple[FileRecord, ...]:
        """The small files of scores that are complete: metadata and coordinates. None are known of scores of earlier versions."""
        name = self.score_name(checkpoint, site)
        return self._current(f"{name} done", "done.json", _small_files, name) or self._digests(name).files

    def files(self, record: CheckpointRecord) -> tuple[FileRecord, ...]:
        """The small files of a committed checkpoint: metadata and coordinates. None are known of those of earlier versions."""
        return record.files or self._digests(checkpoint_name(record.checkpoint)).files

    def _digests(self, name: str) -> DigestRecord:
        """What an upgrade has added to the records of something that is committed; nothing where it was not needed."""
        nothing = DigestRecord()
        return self._current(f"{name} digests", DIGESTS, _digest_record, name, absent=nothing) or nothing

    def shards(self, record: CheckpointRecord) -> Shards:
        """The shards of a committed checkpoint: array inside the store -> index of a shard -> its record."""
        name = checkpoint_name(record.checkpoint)
        return self._grouped(
            record, lambda: [record.shards, *self._all_shards(name, "blocks/*.json"), self._digests(name).shards]
        )

    def score_shards(self, checkpoint: str, site: str, record: ScoreRecord) -> Shards:
        """The same for the scores of a site that are complete."""
        name = self.score_name(checkpoint, site)
        return self._grouped(record, lambda: [*self._all_shards(name, "layer-*.json"), self._digests(name).shards])

    def _all_shards(self, name: str, pattern: str) -> list[tuple[ShardRecord, ...]]:
        return [decode_record(data, path, block_shards) for path, data in self.committed.contents(name, pattern)]

    def _grouped(self, owner: object, read: Callable[[], Iterable[Sequence[ShardRecord]]]) -> Shards:
        """The shards that a record stands for, read once while it is one of the last that were asked for."""
        with self._lock:
            if id(owner) in self._shards:
                self._shards.move_to_end(id(owner))
                return self._shards[id(owner)][1]
        shards = by_array(shard for part in read() for shard in part)
        with self._lock:
            if id(owner) not in self._shards:
                self._shards[id(owner)] = (owner, shards, sum(map(len, shards.values())))
                self._n_shards += self._shards[id(owner)][2]
            while len(self._shards) > 1 and self._n_shards > _SHARDS_KEPT:
                self._n_shards -= self._shards.popitem(last=False)[1][2]
        return shards

    def snapshot(self) -> Snapshot:
        """What the store holds now: the snapshot that was given before, if nothing has changed since."""
        state = self.committed.state()
        with self._lock:
            if state is not None and self._snapshot[0] is state:
                return self._snapshot[1]
        checkpoints = self.checkpoints()
        scores = {
            (name, site): score
            for name, record in checkpoints.items()
            for site in record.sites
            if (score := self.scores(name, site)) is not None
        }
        with self._lock:
            known = self._snapshot[1]
            if not (_same(known.checkpoints, checkpoints) and _same(known.scores, scores)):
                known = Snapshot(checkpoints, scores)
            self._snapshot = (state, known)
            return known

    def _current(
        self, key: str, file: str, kind: Callable[[Mapping[str, Any]], R], name: str | None = None, absent: R | None = None
    ) -> R | None:
        """The record in a file of what is committed under a name, read again only if something else is; None where nothing is.

        A file that is not among what was committed is damage, unless `absent` says what that means.
        """
        name = name or key
        version = self.committed.version(name)
        if version is None:
            return None
        with self._lock:
            known = self._known.get(key)
        if known is None or not (known[0] is version or known[0] == version):
            try:
                found = next(self.committed.contents(name, file), None)
                if found is None and absent is None:
                    raise FileNotFoundError(file)
            except FileNotFoundError as error:
                if self.committed.version(name) == version:
                    raise DamagedStore(f"{file} of {name} is missing, and it was committed") from error
                return None
            known = (version, absent if found is None else decode_record(found[1], found[0], kind))
            with self._lock:
                self._known[key] = known
        record: R | None = known[1]
        return record


def _small_files(data: Mapping[str, Any]) -> tuple[FileRecord, ...]:
    return msgspec.convert(data.get("files", ()), tuple[FileRecord, ...])


def _digest_record(data: Mapping[str, Any]) -> DigestRecord:
    return msgspec.convert(data, DigestRecord)


def _same(one: Mapping[Any, object], other: Mapping[Any, object]) -> bool:
    """Whether two mappings have the same keys in the same order, and the very same objects under them."""
    return list(one) == list(other) and all(one[key] is other[key] for key in one)
