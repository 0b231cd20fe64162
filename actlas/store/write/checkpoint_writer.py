"""Writing one checkpoint: claim a block of texts, write its shards whole, commit it; show the checkpoint when all are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from actlas.errors import RecipeMismatch
from actlas.names import Checkpoint
from actlas.store.dtypes import SiteDtype
from actlas.store.files.atomic import (
    create_once,
    npy_bytes,
    read_json,
    to_json,
    write_atomically,
    write_temporary,
)
from actlas.store.files.group_writer import create_groups
from actlas.store.files.shard_writer import start_shards
from actlas.store.groups import ArrayGroup
from actlas.store.layout import WEIGHTS_FILE, TextBlock
from actlas.store.notes.weights import WeightRecord, weight_table
from actlas.store.records import BlockRecord, CheckpointRecord, ShardRecord, read_record
from actlas.store.states import StatePlan
from actlas.store.values import BlockValues, Shapes
from actlas.store.write.arrays import CheckpointArrays
from actlas.store.write.block_claims import BlockClaims
from actlas.store.write.completing import Completion
from actlas.store.write.context import WriteContext
from actlas.store.write.state_writer import StateWriter


class CheckpointWriter:
    """Writes one checkpoint into a store, block by block. Several may work on one checkpoint at once, in any processes.

    Made by `StoreWriter.checkpoint`.

    Attributes:
        context: What all checkpoints of the store have in common.
        checkpoint: Which one is written.
        claims: Which of its blocks are committed, and which are ours.
        blocks: All of its blocks.
        states: Writes what is kept of the pooled values in place of cubes; None where cubes are kept, or nothing is left to do.
    """

    def __init__(
        self,
        context: WriteContext,
        checkpoint: Checkpoint,
        provenance: Mapping[str, Any],
        cubes: Shapes,
        token_cubes: Shapes,
        counts: Shapes,
        states: StatePlan | None = None,
        claims: BlockClaims | None = None,
        dtypes: Mapping[str, SiteDtype] | None = None,
    ) -> None:
        self.context, self.checkpoint, self.blocks = context, checkpoint, context.blocks
        self.claims = claims or BlockClaims(context.path, checkpoint.id, context.blocks)
        self._arrays = CheckpointArrays(context, checkpoint.id, cubes, token_cubes, counts, dtypes or {})
        self.states: StateWriter | None = None
        self._begin(provenance, {} if states is None else states.shapes)
        if states is not None and not self.is_complete:
            self._begin_states(states)

    @property
    def _folder(self) -> Path:
        return self.claims.folder

    def _begin_states(self, states: StatePlan) -> None:
        context = self.context
        self.states = StateWriter(
            context.path,
            self.checkpoint.id,
            states,
            context.corpus.text_sets,
            context.codec,
            context.pool,
            pooling=context.recipe.pooling,
            sync=context.sync,
            store_format=context.store_format,
        )
        self._create(self.states.groups())

    def _begin(self, provenance: Mapping[str, Any], states: Shapes) -> None:
        record = {
            **provenance,
            "checkpoint": self.checkpoint.id,
            "model": self.checkpoint.model,
            "step": self.checkpoint.step,
            "revision": self.checkpoint.revision,
            **({} if self.checkpoint.twin is None else {"twin": asdict(self.checkpoint.twin)}),
            "shapes": {site: list(plan.shape) for site, plan in sorted(self._arrays.cubes.items())},
            "states": {site: list(shape) for site, shape in sorted(states.items())},
            "dtypes": {site: msgspec.to_builtins(about) for site, about in sorted(self._arrays.dtypes.items())},
        }
        begun = self._folder / "begun.json"
        if begun.exists() or not create_once(begun, [to_json(record)], sync=self.context.sync):
            existing = read_json(begun)
            for name in ("weight_hash", "shapes", "states"):
                if (existing.get(name) or {}) != (record.get(name) or {}):
                    raise RecipeMismatch(
                        f"checkpoint {self.checkpoint.id} was begun with {name} {existing.get(name)}, this run has "
                        f"{record.get(name)}; extract it under another id or into a new store"
                    )
            was, recipe = read_record(begun, CheckpointRecord.from_json), self.context.recipe
            dtypes = self._arrays.dtypes
            if differs := [site for site, about in dtypes.items() if was.dtype_of(site, recipe) != about.dtype]:
                raise RecipeMismatch(
                    f"checkpoint {self.checkpoint.id} was begun with {differs[0]} in {was.dtype_of(differs[0], recipe)}, and "
                    f"this run stores {dtypes[differs[0]].dtype}; finish it with the dtype that it was begun with"
                )
        if not self.is_complete:
            self._create(self._arrays.groups())

    def _create(self, groups: Iterable[ArrayGroup]) -> None:
        context = self.context
        named = [replace(group, attributes={"actlas_checkpoint": self.checkpoint.id}) for group in groups]
        create_groups(context.path, named, context.codec, store_format=context.store_format, sync=context.sync)

    @property
    def weights_file(self) -> Path:
        """Table `weights` of the checkpoint: it counts once the checkpoint does."""
        return self._folder / WEIGHTS_FILE

    def write_weights(self, records: Iterable[WeightRecord]) -> None:
        """Write what is known of the weights, to be committed with the checkpoint.

        Args:
            records: One per tensor.

        Example:
            >>> checkpoint_writer.write_weights([WeightRecord("h.0.ln.weight", (8,), "F32", norm=2.0)])
            >>> checkpoint_writer.weights_file.name
            'weights.parquet'
        """
        write_atomically(self.weights_file, [weight_table(self.checkpoint.id, records)], sync=self.context.sync)

    @property
    def is_complete(self) -> bool:
        """Whether the checkpoint is committed and visible."""
        return self.claims.is_complete

    @property
    def pending(self) -> list[TextBlock]:
        """Blocks without a commit record, also those that another process works on."""
        return self.claims.pending

    def claim_next(self, part: tuple[int, int] | None = None) -> TextBlock | None:
        """Reserve a block that is neither committed nor reserved by another process.

        Args:
            part: (i, n): only block numbers of part i of n; None for all.

        Returns:
            The block, or None when none is left to reserve.

        Example:
            >>> block = checkpoint_writer.claim_next()
            >>> block.index, block.n_texts, checkpoint_writer.claim_next() is None
            (0, 12, True)
        """
        return self.claims.claim_next(part)

    def release_claims(self) -> None:
        """Give back the blocks that were claimed and not committed, once nothing is written any more.

        Example:
            >>> _ = checkpoint_writer.claim_next()
            >>> checkpoint_writer.release_claims()
            >>> checkpoint_writer.claim_next().index
            0
        """
        self._wait()
        self.claims.release_all()
        if self.states is not None:
            self.states.release()

    def write_block(self, block: TextBlock, values: BlockValues) -> None:
        """Encode, write and commit one claimed block. Until this returns, nothing of the block counts as there.

        Where states are kept, several blocks are committed together: this one counts once `flush` returns.

        Args:
            block: One that `claim_next` gave.
            values: Everything of it: an array for each site that was announced.

        Raises:
            ValueError: If the block is not claimed by us, or an array has another shape than was announced.
            TypeError: If an array has another dtype than the store keeps.

        Example:
            >>> block = checkpoint_writer.claim_next()
            >>> checkpoint_writer.write_block(block, BlockValues({"mlp_pre": np.zeros((1, 8, 12), np.float16)}))
            >>> checkpoint_writer.pending
            []
        """
        self.start_block(block, values).result()

    def start_block(self, block: TextBlock, values: BlockValues) -> Future[None]:
        """The same as `write_block` up to the point where `values` is not needed any more: all is encoded and written.

        Shards reach the disk, and then the block is committed, in a thread of the store; one block after the other.

        Args:
            block: One that `claim_next` gave.
            values: Everything of it: an array for each site that was announced.

        Returns:
            Done when the block is committed; raises what went wrong.

        Raises:
            ValueError: If the block is not claimed by us, or an array has another shape than was announced.
            TypeError: If an array has another dtype than the store keeps.

        Example:
            >>> block = checkpoint_writer.claim_next()
            >>> written = checkpoint_writer.start_block(block, BlockValues({"mlp_pre": np.zeros((1, 8, 12), np.float16)}))
            >>> written.result()
            >>> checkpoint_writer.pending
            []
        """
        if not self.claims.owns(block):
            raise ValueError(f"block {block.index} of {self.checkpoint.id} is not claimed here; only its owner may write it")
        self._arrays.check(block, values, {} if self.states is None else self.states.plan.shapes)
        n_tokens = values.n_tokens if values.n_tokens is not None else np.zeros(len(self.context.corpus.languages), np.int64)
        shards, placements = self._start_shards(block, values)
        placements += self._start_counts(block, values.counts, n_tokens) + self._start_health(block, values.health)
        loss = values.loss_sum if isfinite(values.loss_sum) else None
        lost = {site: tuple(counted.tolist()) for site, counted in values.lost_vectors.items() if self._arrays.token_cubes}
        record = BlockRecord(block.start, block.stop, tuple(n_tokens.tolist()), loss, values.loss_tokens, tuple(shards), lost)
        if self.states is None:
            return self.context.threads.finisher.submit(self._commit_placed, block.index, record, placements)
        _wait_for(placements)
        with self.context.times.during("accumulate"):
            self.states.add(block, values.cubes, record)
        if self.states.is_due:
            self.flush()
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _start_shards(self, block: TextBlock, values: BlockValues) -> tuple[list[ShardRecord], list[Future[None]]]:
        """Encode and write the cubes and the token vectors of a block.

        Returns:
            The record of every shard, and a future that is done when it is in its place.
        """
        parts = [
            (self._arrays.cube_path(site), plan, values.cubes[site], (0, 0, block.start))
            for site, plan in self._arrays.cubes.items()
        ]
        if self.context.block_tokens[block.index]:
            parts += [
                (self._arrays.token_path(site), plan, values.tokens[site], (0, block.index * plan.shard[1], 0))
                for site, plan in self._arrays.token_cubes.items()
            ]
        shards: list[ShardRecord] = []
        placements: list[Future[None]] = []
        for path, plan, array, start in parts:
            written = start_shards(
                self.context.path, path, plan, self.context.codec, array, start=start, threads=self.context.threads
            )
            shards += written[0]
            placements += written[1]
        return shards, placements

    def _start_counts(
        self, block: TextBlock, counts: Mapping[str, NDArray[np.int64]], n_tokens: NDArray[np.int64]
    ) -> list[Future[None]]:
        """Write the counts of a block: committed with it, added up when the last block is in; only its own languages."""
        placements = []
        for site, counted in counts.items():
            part = npy_bytes(counted[self._arrays.counted_rows(n_tokens)].astype(np.int32))
            file = self.claims.part(block, site)
            placements.append(self.context.threads.finish(write_temporary(file, [part]), file))
        return placements

    def _start_health(self, block: TextBlock, health: Mapping[str, NDArray[np.float64]]) -> list[Future[None]]:
        """Write what was noted of the values of a block: committed with it, put together when the last block is in."""
        placements = []
        for site, noted in health.items():
            file = self.claims.part(block, f"{site}.health")
            placements.append(self.context.threads.finish(write_temporary(file, [npy_bytes(noted)]), file))
        return placements

    def _commit_placed(self, index: int, record: BlockRecord, placements: Sequence[Future[None]]) -> None:
        _wait_for(placements)
        with self.context.times.during("commit"):
            self._commit(index, record)

    def _wait(self) -> None:
        """Wait until every block that was started is committed, or could not be."""
        self.context.threads.finisher.submit(lambda: None).result()

    def flush(self) -> None:
        """Commit the blocks that were written and wait for it. A block that could not be raises where its future is asked.

        Example:
            >>> block = checkpoint_writer.claim_next()
            >>> _ = checkpoint_writer.start_block(block, BlockValues({"mlp_pre": np.zeros((1, 8, 12), np.float16)}))
            >>> checkpoint_writer.flush()
            >>> checkpoint_writer.pending
            []
        """
        self._wait()
        if self.states is not None:
            with self.context.times.during("commit"):
                for index, record in self.states.commit().items():
                    self._commit(index, record)

    def _commit(self, index: int, record: BlockRecord) -> None:
        write_atomically(self.claims.record(self.blocks[index]), [to_json(record)], sync=self.context.sync)
        self.claims.release(index)

    def finish(self, extra: Mapping[str, Any] | None = None) -> bool:
        """Make the checkpoint visible if every block is committed.

        Args:
            extra: More provenance, known only now (measured tolerances, times).

        Returns:
            True if the checkpoint is complete, False if other owners still have blocks to write.

        Example:
            >>> checkpoint_writer.finish()
            False
            >>> block = checkpoint_writer.claim_next()
            >>> checkpoint_writer.write_block(block, BlockValues({"mlp_pre": np.zeros((1, 8, 12), np.float16)}))
            >>> checkpoint_writer.finish({"backend": "by hand"})
            True
        """
        return Completion(self.context, self.claims, self._arrays, self.states).finish(extra or {})


def _wait_for(placements: Sequence[Future[None]]) -> None:
    for placement in placements:
        placement.result()
