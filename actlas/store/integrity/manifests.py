"""The records of a store, all of them, read for what they say of each other: those that cannot be read are faults, not errors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from actlas.errors import DamagedStore, raise_shortage
from actlas.store.records import BlockRecord, CheckpointRecord, ScoreRecord, ShardRecord, block_record, read_record, score_record

R = TypeVar("R")

#: What a checkpoint's record has beside everything that was written when it was begun.
_DERIVED = {"n_texts", "n_tokens", "sanity_loss", "no_loss", "cubes", "token_cubes", "counts", "shards", "files"}


class LayerRecord(msgspec.Struct, frozen=True):
    """Commit record of the scores of one layer."""

    layer: int
    shards: tuple[ShardRecord, ...]


class DoneRecord(msgspec.Struct, frozen=True):
    """Commit record of the scores of a site."""

    layers: int
    records: str | None = None


@dataclass
class ScoreManifest:
    """Records of the scores of one site of one checkpoint.

    Attributes:
        path: Their folder inside the store.
        settings: What the scores are; None where that is missing or damaged.
        layers: Number of a layer -> its record.
        is_done: Whether the scores are complete.
    """

    path: str
    settings: ScoreRecord | None = None
    layers: dict[int, LayerRecord] = field(default_factory=dict)
    is_done: bool = False


@dataclass
class Manifest:
    """Records of one checkpoint.

    Attributes:
        path: Their folder inside the store.
        checkpoint: Id of the checkpoint, which is the name of the folder.
        record: The checkpoint, if it is complete and its record can be read.
        is_begun: Whether there is a record that it was begun, which is its own.
        is_complete: Whether it is complete.
        blocks: Number of a block -> its record.
        scores: Folder of the scores of a site, as in `layout.score_path` -> their records.
    """

    path: str
    checkpoint: str
    record: CheckpointRecord | None = None
    is_begun: bool = False
    is_complete: bool = False
    blocks: dict[int, BlockRecord] = field(default_factory=dict)
    scores: dict[str, ScoreManifest] = field(default_factory=dict)

    def shards(self) -> Iterator[tuple[str, ShardRecord]]:
        """Every shard that a record names, with the path of that record."""
        for number, block in self.blocks.items():
            yield from ((f"{self.path}/blocks/{number:06d}.json", shard) for shard in block.shards)
        if self.record is not None:
            yield from ((f"{self.path}/checkpoint.json", shard) for shard in self.record.shards)
        for scores in self.scores.values():
            for number, layer in scores.layers.items():
                yield from ((f"{scores.path}/layer-{number:04d}.json", shard) for shard in layer.shards)


def read_manifests(root: Path, languages: Sequence[str], faults: list[str]) -> list[Manifest]:
    """The records of all checkpoints.

    Args:
        root: Folder of the store.
        languages: Of its corpus, in the order in which blocks count tokens.
        faults: Takes one line per record that cannot be read or contradicts another one.
    """
    folders = sorted(path for path in (root / "manifests").glob("*") if path.is_dir())
    return [_Reader(root, languages, faults).manifest(folder) for folder in folders]


class _Reader:
    def __init__(self, root: Path, languages: Sequence[str], faults: list[str]) -> None:
        self.root, self.languages, self.faults = root, languages, faults

    def manifest(self, folder: Path) -> Manifest:
        found = Manifest(str(folder.relative_to(self.root)), folder.name)
        begun = self._read(folder / "begun.json", dict[str, Any])
        complete = self._read(folder / "checkpoint.json", dict[str, Any])
        found.is_begun = begun is not None and begun.get("checkpoint") == folder.name
        found.is_complete = (folder / "checkpoint.json").exists()
        for path in _numbered(folder / "blocks", ""):
            block = self._read_as(path, block_record)
            if block is not None:
                found.blocks[int(path.stem)] = block
        if found.is_complete and begun is None and not (folder / "begun.json").exists():
            self._fault(folder / "begun.json", "missing")
        for name, data in (("begun.json", begun), ("checkpoint.json", complete)):
            if data is not None and data.get("checkpoint") != folder.name:
                self._fault(folder / name, f"it is the record of {data.get('checkpoint')!r}, in the folder of {folder.name}")
        if complete is not None:
            found.record = self._read_as(folder / "checkpoint.json", CheckpointRecord.from_json)
            self._check_derived(folder, begun, found)
        for path in sorted(one for one in (folder / "scores").glob("*") if one.is_dir()):
            found.scores[f"scores/{folder.name}/{path.name}"] = self._scores(path)
        return found

    def _check_derived(self, folder: Path, begun: Mapping[str, Any] | None, found: Manifest) -> None:
        """What the record of a complete checkpoint says must be what the others say, added up."""
        record, blocks = found.record, list(found.blocks.values())
        if record is None:
            return
        if begun is not None:
            changed = [name for name in begun if name not in _DERIVED and record.provenance.get(name) != begun[name]]
            if changed:
                self._fault(folder / "checkpoint.json", f"{', '.join(changed)} differs from what begun.json says")
        if sum(block.n_texts for block in blocks) != record.n_texts:
            # named as texts that no record covers
            return
        by_language = [sum(column) for column in zip(*(block.n_tokens for block in blocks), strict=False)]
        if self.languages and record.n_tokens != dict(zip(self.languages, by_language, strict=False)):
            self._fault(folder / "checkpoint.json", "its n_tokens are not those of its blocks")
        n_losses = sum(block.loss_tokens for block in blocks)
        sums = [block.loss_sum for block in _in_order(found.blocks) if block.loss_sum is not None]
        # a sum that is no number leaves none for the checkpoint
        loss = sum(sums) / n_losses if n_losses and len(sums) == len(blocks) else None
        if record.sanity_loss != loss:
            self._fault(folder / "checkpoint.json", f"its sanity_loss is {record.sanity_loss}, that of its blocks {loss}")

    def _scores(self, folder: Path) -> ScoreManifest:
        found = ScoreManifest(str(folder.relative_to(self.root)))
        done = self._read(folder / "done.json", DoneRecord)
        found.settings = self._read_as(folder / "settings.json", score_record)
        found.is_done = (folder / "done.json").exists()
        paths = list(_numbered(folder, "layer-"))
        for path in paths:
            record = self._read_as(path, lambda data: msgspec.convert(data, LayerRecord))
            if record is not None:
                if record.layer != int(path.stem.removeprefix("layer-")):
                    self._fault(path, f"it is the record of layer {record.layer}")
                found.layers[int(path.stem.removeprefix("layer-"))] = record
        if found.is_done and not (folder / "settings.json").exists():
            self._fault(folder / "settings.json", "missing")
        if done is not None:
            missing = sorted(set(range(done.layers)) - {int(path.stem.removeprefix("layer-")) for path in paths})
            for layer in missing:
                self._fault(folder / f"layer-{layer:04d}.json", "missing")
            contents = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
            if not missing and done.records not in (None, contents):
                self._fault(folder / "done.json", "the records of layers beside it are not those that it was written for")
        return found

    def _read(self, path: Path, kind: type[R]) -> R | None:
        return self._read_as(path, lambda data: msgspec.convert(data, kind))

    def _read_as(self, path: Path, kind: Callable[[Mapping[str, Any]], R]) -> R | None:
        """The record in a file; None, and a fault, where it is none; None alone where there is no file."""
        try:
            return read_record(path, kind)
        except OSError as error:
            raise_shortage(error)
            if not isinstance(error, FileNotFoundError):
                self._fault(path, f"cannot be read ({error.strerror})")
            return None
        except DamagedStore as error:
            cause = error.__cause__
            what = "not a record" if isinstance(cause, msgspec.ValidationError) else "not readable as JSON"
            self._fault(path, f"{what} ({' '.join(str(cause).split())})")
            return None

    def _fault(self, path: Path, what: str) -> None:
        self.faults.append(f"{path.relative_to(self.root)}: {what}")


def _numbered(folder: Path, prefix: str) -> Iterator[Path]:
    """Records whose names are numbers, in their order."""
    for path in sorted(folder.glob(f"{prefix}*.json")):
        if path.stem.removeprefix(prefix).isdecimal():
            yield path


def _in_order(blocks: Mapping[int, BlockRecord]) -> Sequence[BlockRecord]:
    return [blocks[number] for number in sorted(blocks)]


def uncovered_texts(manifest: Manifest, n_texts: int) -> Iterator[str]:
    """Texts that no block of a complete checkpoint covers."""
    covered = 0
    spans = sorted((block.start, block.stop) for block in manifest.blocks.values())
    for start, stop in [*spans, (n_texts, n_texts)]:
        if start != covered:
            yield f"{manifest.path}/blocks: no commit record for texts {covered:,} to {start:,}"
        covered = stop
