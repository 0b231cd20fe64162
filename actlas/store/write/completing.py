"""The end of writing a checkpoint: what its blocks left is put together, and one entry of the log makes it visible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from typing import Any

import msgspec
import numpy as np

from actlas.errors import DamagedStore
from actlas.store.committed import checkpoint_name
from actlas.store.files.atomic import clear_temporaries, read_json, to_json, write_atomically
from actlas.store.files.digests import record_files
from actlas.store.files.group_writer import group_files
from actlas.store.files.locks import Claim
from actlas.store.files.parquet import parquet_bytes
from actlas.store.files.shard_writer import write_shards
from actlas.store.groups import ArrayGroup
from actlas.store.layout import HEALTH_FILE, WEIGHTS_FILE
from actlas.store.log import Change, Log
from actlas.store.notes.health import SiteHealth, health_frame, merge, site_health
from actlas.store.records import BlockRecord, ShardRecord, block_record, read_record
from actlas.store.write.arrays import CheckpointArrays
from actlas.store.write.block_claims import BlockClaims
from actlas.store.write.context import WriteContext
from actlas.store.write.state_writer import StateWriter, in_states, remove_parts


@dataclass(frozen=True)
class Completion:
    """Completes one checkpoint, once all of its blocks are committed.

    Attributes:
        context: What all checkpoints of the store have in common.
        claims: Which of its blocks are committed.
        arrays: What it consists of.
        states: Writes what is kept of the pooled values in place of cubes; None where cubes are kept, or nothing is left to do.
    """

    context: WriteContext
    claims: BlockClaims
    arrays: CheckpointArrays
    states: StateWriter | None

    def finish(self, extra: Mapping[str, Any]) -> bool:
        """Make the checkpoint visible if every block is committed; see `CheckpointWriter.finish`."""
        with self.claims.finishing():
            if not self.claims.is_complete:
                if self.claims.pending or not self._complete_records():
                    return False
                try:
                    self._make_visible(extra)
                except (FileNotFoundError, DamagedStore):
                    # locks may not reach to another machine: it has completed the same and removed what was read here
                    if not self.claims.is_complete:
                        raise
            self._remove_parts()
            return True

    def _complete_records(self) -> bool:
        """Write the records of blocks whose owner died between committing its states and saying so block by block.

        Returns:
            False if the owner of a block is just about to write its record.
        """
        for index, record in in_states(self.claims.folder).items():
            path = self.claims.record(self.claims.blocks[index])
            if not path.exists():
                claim = Claim.take(path.with_suffix(".claim"))
                if claim is None:
                    return False
                if not path.exists():
                    write_atomically(path, [to_json(record)], sync=self.context.sync)
                claim.release()
        return True

    def _make_visible(self, extra: Mapping[str, Any]) -> None:
        records = [read_record(self.claims.record(block), block_record) for block in self.claims.blocks]
        shards = self._write_counts(records)
        if self.states is not None:
            shards += self.states.write_arrays()
        corpus, weights = self.context.corpus, self.claims.folder / WEIGHTS_FILE
        n_tokens = np.array([record.n_tokens for record in records], dtype=np.int64).sum(axis=0)
        about = {
            **read_json(self.claims.folder / "begun.json"),
            **extra,
            **_sanity_loss(records),
            "n_texts": corpus.n_texts,
            "n_tokens": dict(zip(corpus.languages, n_tokens.tolist(), strict=True)),
            "cubes": sorted(self.arrays.cubes),
            "token_cubes": sorted(self.arrays.token_cubes),
            "counts": sorted(self.arrays.counts),
            "shards": shards,
            **self._write_health(records),
            **({"weights_digest": sha256(weights.read_bytes()).hexdigest()} if weights.exists() else {}),
        }
        if self.context.log is None:
            write_atomically(self.claims.folder / "checkpoint.json", [to_json(about)], sync=self.context.sync)
        else:
            self._log(self.context.log, about)

    def _write_counts(self, records: Sequence[BlockRecord]) -> list[ShardRecord]:
        """Add up the counts of all blocks."""
        context, shards = self.context, []
        for site, plan in self.arrays.counts.items():
            total = np.zeros((prod(plan.shape[:-2]), *plan.shape[-2:]), dtype=np.int64)
            for block, record in zip(self.claims.blocks, records, strict=True):
                rows = self.arrays.counted_rows(np.array(record.n_tokens, dtype=np.int64))
                total[rows] += np.load(self.claims.part(block, site), allow_pickle=False)
            shards += write_shards(
                context.path,
                self.arrays.count_path(site),
                plan,
                context.codec,
                total.reshape(plan.shape),
                start=(0,) * len(plan.shape),
                pool=context.pool,
                sync=context.sync,
            )
        return shards

    def _write_health(self, records: Sequence[BlockRecord]) -> dict[str, Any]:
        """Put together what was noted of all blocks, and write table `neuron_health` of the checkpoint.

        Returns:
            For its record: every site in short, and the digest of the table. Nothing of values where a block was written by
            a version, or a backend, that notes nothing.
        """
        n_texts = self.context.corpus.n_texts
        codes = {} if self.states is None else self.states.code_health()
        healths = {}
        for site in self.arrays.cubes or ({} if self.states is None else self.states.plan.shapes):
            files = [self.claims.part(block, f"{site}.health") for block in self.claims.blocks]
            if all(file.exists() for file in files):
                healths[site] = merge([np.load(file, allow_pickle=False) for file in files])
        short = {site: site_health(health, n_texts, codes.get(site)) for site, health in healths.items()}
        n_vectors = sum(self.context.block_tokens)
        for site, plan in self.arrays.token_cubes.items():
            if all(site in record.lost_vectors for record in records):
                lost = np.array([record.lost_vectors[site] for record in records]).sum(0) / (n_vectors * plan.shape[2])
                short[site] = msgspec.structs.replace(short.get(site, SiteHealth()), lost_vectors_by_layer=tuple(lost.tolist()))
        if not healths:
            return {"health": short}
        table = parquet_bytes(health_frame(self.claims.checkpoint, healths, codes, n_texts))
        write_atomically(self.claims.folder / HEALTH_FILE, [table], sync=self.context.sync)
        return {"health": short, "health_digest": sha256(table).hexdigest()}

    def _groups(self) -> Iterator[ArrayGroup]:
        yield from self.arrays.groups()
        if self.states is not None:
            yield from self.states.groups()

    def _log(self, log: Log, about: dict[str, Any]) -> None:
        """Write the record of the checkpoint and name it, with all that it stands on, in the log."""
        root, sync, folder = self.context.path, self.context.sync, self.claims.folder
        small = (file for group in self._groups() for file in group_files(root, group, self.context.store_format))
        write_atomically(folder / "checkpoint.json", [to_json({**about, "files": record_files(root, small)})], sync=sync)
        paths = [folder / "checkpoint.json", folder / "begun.json", *map(self.claims.record, self.claims.blocks)]
        paths += [path for path in (folder / HEALTH_FILE, folder / WEIGHTS_FILE) if path.exists()]
        files = record_files(root, (path.relative_to(root).as_posix() for path in paths))
        name = checkpoint_name(self.claims.checkpoint)
        # locks may not reach to another machine: it may have committed the same a moment ago
        log.append(lambda state: None if name in state.holds else Change({name: files}), sync=sync)

    def _remove_parts(self) -> None:
        root, folder = self.context.path, self.claims.folder
        remove_parts(root, self.claims.checkpoint)
        kinds = [root / kind for kind in ("cubes", "tokens", "counts", "states")]
        # what all checkpoints share is in place as soon as one is complete
        for one in (folder, folder / "blocks", root / "corpus", *kinds):
            clear_temporaries(one, is_deep=False)
        for kind in kinds:
            clear_temporaries(kind / self.claims.checkpoint)


def _sanity_loss(records: Sequence[BlockRecord]) -> dict[str, Any]:
    """Mean next-token loss of all blocks; null with the reason where one of them is no number."""
    n_tokens = sum(record.loss_tokens for record in records)
    sums = [record.loss_sum for record in records if record.loss_sum is not None]
    if len(sums) < len(records):
        return {"sanity_loss": None, "no_loss": "the loss is NaN or infinite"}
    return {"sanity_loss": sum(sums) / n_tokens if n_tokens else None}
