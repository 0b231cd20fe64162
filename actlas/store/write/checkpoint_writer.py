"""Writing one checkpoint: claim a block of texts, write its shards whole, commit it; show the checkpoint when all are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import DamagedStore, RecipeMismatch
from actlas.names import Checkpoint
from actlas.store import layout
from actlas.store.files.atomic import (
    clear_temporaries,
    create_once,
    npy_bytes,
    read_json,
    to_json,
    write_atomically,
    write_temporary,
)
from actlas.store.files.locks import Claim
from actlas.store.files.shard_writer import create_array, start_shards, write_shards
from actlas.store.layout import ArrayPlan, TextBlock
from actlas.store.records import ShardRecord
from actlas.store.states import StatePlan
from actlas.store.values import BlockValues, Shapes
from actlas.store.write.block_claims import BlockClaims
from actlas.store.write.state_writer import StateWriter, in_states, remove_parts

if TYPE_CHECKING:
    from actlas.store.write.writer import StoreWriter


class CheckpointWriter:
    """Writes one checkpoint into a store, block by block. Several may work on one checkpoint at once, in any processes."""

    def __init__(
        self,
        store: StoreWriter,
        checkpoint: Checkpoint,
        provenance: Mapping[str, Any],
        cubes: Shapes,
        token_cubes: Shapes,
        counts: Shapes,
        states: StatePlan | None = None,
        claims: BlockClaims | None = None,
    ) -> None:
        self.store = store
        self.checkpoint = checkpoint
        self.claims = claims or BlockClaims(store.path, checkpoint.id, store.blocks)
        self.folder, self.blocks = self.claims.folder, store.blocks
        recipe, corpus, n_blocks = store.recipe, store.corpus, len(store.blocks)
        texts = store.blocks[0].n_texts
        self.cubes = {site: layout.cube_plan(*shape, corpus.n_texts, texts, recipe.dtype) for site, shape in cubes.items()}
        most = max(store.block_tokens)
        self.token_cubes = {site: layout.token_plan(*shape, n_blocks, most, recipe.dtype) for site, shape in token_cubes.items()}
        self.counts = {
            site: layout.count_plan(len(corpus.languages), *shape, len(recipe.count_thresholds)) for site, shape in counts.items()
        }
        self.states: StateWriter | None = None
        self._begin(provenance, {} if states is None else states.shapes)
        if states is not None and not self.is_complete:
            self._begin_states(states)

    def _begin_states(self, states: StatePlan) -> None:
        store = self.store
        sets = store.corpus.text_sets
        pooling, sync = store.recipe.pooling, store.sync
        self.states = StateWriter(
            store.path, self.checkpoint.id, states, sets, store.codec, store.threads.pool, pooling=pooling, sync=sync
        )
        self._create_arrays(list(self.states.arrays()))

    def _begin(self, provenance: Mapping[str, Any], states: Shapes) -> None:
        record = {
            **provenance,
            "checkpoint": self.checkpoint.id,
            "model": self.checkpoint.model,
            "step": self.checkpoint.step,
            "revision": self.checkpoint.revision,
            "shapes": {site: list(plan.shape) for site, plan in sorted(self.cubes.items())},
            "states": {site: list(shape) for site, shape in sorted(states.items())},
        }
        begun = self.folder / "begun.json"
        if begun.exists() or not create_once(begun, [to_json(record)], sync=self.store.sync):
            there = read_json(begun)
            for name in ("weight_hash", "shapes", "states"):
                if (there.get(name) or {}) != (record.get(name) or {}):
                    raise RecipeMismatch(
                        f"checkpoint {self.checkpoint.id} was begun with {name} {there.get(name)}, this run has "
                        f"{record.get(name)}; extract it under another id or into a new store"
                    )
        if not self.is_complete:
            self._create_arrays(self._arrays())

    def _create_arrays(self, arrays: list[tuple[str, ArrayPlan]]) -> None:
        for path, plan in arrays:
            create_array(self.store.path, path, plan, self.store.codec, {"actlas_checkpoint": self.checkpoint.id})

    def _arrays(self) -> list[tuple[str, ArrayPlan]]:
        name, pooling = self.checkpoint.id, self.store.recipe.pooling
        cubes = [(layout.cube_path(name, site, pooling), plan) for site, plan in self.cubes.items()]
        tokens = [(layout.token_path(name, site), plan) for site, plan in self.token_cubes.items()]
        counts = [(layout.count_path(name, site), plan) for site, plan in self.counts.items()]
        return [*cubes, *tokens, *counts]

    @property
    def is_complete(self) -> bool:
        """Whether the checkpoint is committed and visible."""
        return self.claims.is_complete

    def _part(self, block: TextBlock, site: str) -> Path:
        return self.folder / "blocks" / f"{block.index:06d}.{site}.npy"

    def is_committed(self, block: TextBlock) -> bool:
        """Whether a block is written and will never be written again."""
        return self.claims.is_committed(block)

    @property
    def pending(self) -> list[TextBlock]:
        """Blocks without a commit record, whoever works on them."""
        return self.claims.pending

    def claim_next(self, part: tuple[int, int] | None = None) -> TextBlock | None:
        """See `BlockClaims.claim_next`."""
        return self.claims.claim_next(part)

    def release_claims(self) -> None:
        """Give back the blocks that were claimed and not committed, once nothing is written any more."""
        self._wait()
        self.claims.release_all()
        if self.states is not None:
            self.states.release()

    def write_block(self, block: TextBlock, values: BlockValues) -> None:
        """Encode, write and commit one claimed block. Until this returns, nothing of the block counts as there.

        Where states are kept, several blocks are committed together: this one counts once `flush` returns.

        Raises:
            ValueError: If the block is not claimed by us, or an array has another shape than was announced.
            TypeError: If an array has another dtype than the store keeps.
        """
        self.start_block(block, values).result()

    def start_block(self, block: TextBlock, values: BlockValues) -> Future[None]:
        """The same as `write_block` up to the point where `values` is not needed any more: all is encoded and written.

        Shards reach the disk, and then the block is committed, in a thread of the store; one block after the other.

        Returns:
            Done when the block is committed; raises what went wrong.

        Raises:
            ValueError: If the block is not claimed by us, or an array has another shape than was announced.
            TypeError: If an array has another dtype than the store keeps.
        """
        if not self.claims.owns(block):
            raise ValueError(f"block {block.index} of {self.checkpoint.id} is not claimed here; only its owner may write it")
        self._check(block, values)
        shards: list[ShardRecord] = []
        placements: list[Future[None]] = []
        name, pooling, store = self.checkpoint.id, self.store.recipe.pooling, self.store

        def start(path: str, plan: ArrayPlan, array: NDArray[Any], at: tuple[int, ...]) -> None:
            written = start_shards(store.path, path, plan, store.codec, array, start=at, threads=store.threads)
            shards.extend(written[0])
            placements.extend(written[1])

        for site, plan in self.cubes.items():
            start(layout.cube_path(name, site, pooling), plan, values.cubes[site], (0, 0, block.start))
        for site, plan in self.token_cubes.items():
            at = (0, block.index * plan.shard[1], 0)
            if store.block_tokens[block.index]:
                start(layout.token_path(name, site), plan, values.tokens[site], at)
        n_counted = values.n_tokens if values.n_tokens is not None else np.zeros(len(self.store.corpus.languages), np.int64)
        for site, counts in values.counts.items():
            # committed with the block, summed when the last block is in; only the languages of the block
            part = npy_bytes(counts[self._counted_rows(n_counted)].astype(np.int32))
            placements.append(store.threads.finish(write_temporary(self._part(block, site), [part]), self._part(block, site)))
        record = {
            "start": block.start,
            "stop": block.stop,
            "n_tokens": n_counted.tolist(),
            "loss_sum": values.loss_sum,
            "loss_tokens": values.loss_tokens,
            "shards": shards,
        }
        if self.states is None:
            return store.threads.finisher.submit(self._commit_placed, block.index, record, placements)
        _wait_for(placements)
        with store.times.during("fold"):
            self.states.add(block, values.cubes, record)
        if self.states.is_due:
            self.flush()
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _commit_placed(self, index: int, record: Mapping[str, Any], placements: Sequence[Future[None]]) -> None:
        _wait_for(placements)
        with self.store.times.during("commit"):
            self._commit(index, record)

    def _wait(self) -> None:
        """Until every block that was started is committed, or could not be."""
        self.store.threads.finisher.submit(lambda: None).result()

    def flush(self) -> None:
        """Commit the blocks that were written and wait for it; those that could not be have told whoever started them."""
        self._wait()
        if self.states is not None:
            with self.store.times.during("commit"):
                for index, record in self.states.commit().items():
                    self._commit(index, record)

    def _commit(self, index: int, record: Mapping[str, Any]) -> None:
        write_atomically(self.claims.record(self.blocks[index]), [to_json(record)], sync=self.store.sync)
        self.claims.release(index)

    def _counted_rows(self, n_counted: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows of the counts, thresholds times languages, whose language has tokens in a block."""
        return np.tile(n_counted > 0, len(self.store.recipe.count_thresholds))

    def _write(self, path: str, plan: ArrayPlan, values: NDArray[Any], at: tuple[int, ...]) -> list[ShardRecord]:
        store = self.store
        return write_shards(store.path, path, plan, store.codec, values, start=at, pool=store.threads.pool, sync=store.sync)

    def _check(self, block: TextBlock, values: BlockValues) -> None:
        n_tokens = self.store.block_tokens[block.index]
        wanted = {("cube", site): (*plan.shape[:2], block.n_texts) for site, plan in self.cubes.items()}
        if self.states is not None:
            wanted |= {("cube", site): (*shape, block.n_texts) for site, shape in self.states.plan.shapes.items()}
        wanted |= {("tokens", site): (plan.shape[0], n_tokens, plan.shape[2]) for site, plan in self.token_cubes.items()}
        wanted |= {("counts", site): (prod(plan.shape[:-2]), *plan.shape[-2:]) for site, plan in self.counts.items()}
        given = {("cube", site): array.shape for site, array in values.cubes.items()}
        given |= {("tokens", site): array.shape for site, array in values.tokens.items() if self.token_cubes}
        given |= {("counts", site): array.shape for site, array in values.counts.items()}
        if wanted != given:
            differs = sorted({*wanted.items()} ^ {*given.items()})
            raise ValueError(f"block {block.index} of {self.checkpoint.id} has other arrays than announced: {differs}")

    def finish(self, extra: Mapping[str, Any] | None = None) -> bool:
        """Make the checkpoint visible if every block is committed.

        Args:
            extra: More provenance, known only now (measured tolerances, times).

        Returns:
            True if the checkpoint is complete, False if other owners still have blocks to write.
        """
        with self.claims.finishing():
            if not self.is_complete:
                if self.pending or not self._complete_records():
                    return False
                try:
                    self._make_visible(extra or {})
                except (FileNotFoundError, DamagedStore):
                    # locks may not reach to another machine: it has completed the same and removed what was read here
                    if not self.is_complete:
                        raise
            self._remove_parts()
            return True

    def _make_visible(self, extra: Mapping[str, Any]) -> None:
        records = [read_json(self.claims.record(block)) for block in self.blocks]
        n_tokens = np.array([record["n_tokens"] for record in records], dtype=np.int64)
        shards: list[ShardRecord] = []
        for site, plan in self.counts.items():
            total = np.zeros((prod(plan.shape[:-2]), *plan.shape[-2:]), dtype=np.int64)
            for block, counted in zip(self.blocks, n_tokens, strict=True):
                total[self._counted_rows(counted)] += np.load(self._part(block, site), allow_pickle=False)
            path, start = layout.count_path(self.checkpoint.id, site), (0,) * len(plan.shape)
            shards += self._write(path, plan, total.reshape(plan.shape), start)
        if self.states is not None:
            shards += self.states.write_arrays()
        loss_tokens = sum(record["loss_tokens"] for record in records)
        about = {
            **read_json(self.folder / "begun.json"),
            **extra,
            "n_texts": self.store.corpus.n_texts,
            "n_tokens": dict(zip(self.store.corpus.languages, n_tokens.sum(axis=0).tolist(), strict=True)),
            "sanity_loss": sum(record["loss_sum"] for record in records) / loss_tokens if loss_tokens else None,
            "cubes": sorted(self.cubes),
            "token_cubes": sorted(self.token_cubes),
            "counts": sorted(self.counts),
            "shards": shards,
        }
        write_atomically(self.folder / "checkpoint.json", [to_json(about)], sync=self.store.sync)

    def _complete_records(self) -> bool:
        """Write the records of blocks whose owner died between committing its states and saying so block by block.

        Returns:
            False if an owner is just about to do it himself.
        """
        for index, record in in_states(self.folder).items():
            path = self.claims.record(self.blocks[index])
            if not path.exists():
                claim = Claim.take(path.with_suffix(".claim"))
                if claim is None:
                    return False
                if not path.exists():
                    write_atomically(path, [to_json(record)], sync=self.store.sync)
                claim.release()
        return True

    def _remove_parts(self) -> None:
        remove_parts(self.store.path, self.checkpoint.id)
        blocks = self.folder / "blocks"
        for part in blocks.glob("*.npy"):
            part.unlink(missing_ok=True)
        for folder in (self.folder, blocks):
            clear_temporaries(folder, is_deep=False)
        for kind in ("cubes", "tokens", "counts", "states"):
            clear_temporaries(self.store.path / kind / self.checkpoint.id)


def _wait_for(placements: Sequence[Future[None]]) -> None:
    for placement in placements:
        placement.result()
