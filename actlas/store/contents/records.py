"""Records of an open store, each read once and again only when it changed.

Which of them count is said by the log (`actlas.store.log`), with the digest of each. Whether there is a next entry in it is all
that a second question asks of the file system, and so it notices what another process has committed since. In a store without
a log, a record is what was read before as long as its file has the same modification time, inode and size.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from actlas.errors import DamagedStore
from actlas.store.committed import Committed, checkpoint_name, score_name
from actlas.store.files.digests import FileRecord
from actlas.store.records import (
    DIGESTS,
    CheckpointRecord,
    DigestRecord,
    ScoreRecord,
    ShardRecord,
    block_shards,
    decode_record,
    score_record,
)

R = TypeVar("R")

#: Array inside the store -> index of a shard ("0/1/0") -> its record.
Shards = dict[str, dict[str, "ShardRecord"]]
#: Records of shards that stay in memory, of the checkpoints and scores that were read last: tens of megabytes at most.
_SHARDS_KEPT = 50_000


class Snapshot(msgspec.Struct, frozen=True, eq=False):
    """What a store held at one moment. `Records.snapshot` gives the same one while nothing was committed.

    Attributes:
        checkpoints: Committed checkpoints, by step.
        scores: (checkpoint, site) -> its complete scores, in the order of `checkpoints`, sites sorted.
    """

    checkpoints: dict[str, CheckpointRecord]
    scores: dict[tuple[str, str], ScoreRecord]


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


def by_array(shards: Iterable[ShardRecord]) -> Shards:
    """Records of shards: array inside the store -> index of the shard -> its record."""
    arrays: Shards = {}
    for shard in shards:
        array, _, index = shard.path.partition("/c/")
        arrays.setdefault(array, {})[index] = shard
    return arrays


def _small_files(data: Mapping[str, Any]) -> tuple[FileRecord, ...]:
    return msgspec.convert(data.get("files", ()), tuple[FileRecord, ...])


def _digest_record(data: Mapping[str, Any]) -> DigestRecord:
    return msgspec.convert(data, DigestRecord)


def _same(one: Mapping[Any, object], other: Mapping[Any, object]) -> bool:
    """Whether two mappings have the same keys in the same order, and the very same objects under them."""
    return list(one) == list(other) and all(one[key] is other[key] for key in one)
