"""Writing one checkpoint: claim a block of texts, write its shards whole, commit it; show the checkpoint when all are in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from hashlib import sha256
from math import isfinite, prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from actlas.errors import DamagedStore, RecipeMismatch
from actlas.names import Checkpoint
from actlas.store import layout
from actlas.store.committed import checkpoint_name
from actlas.store.corpus.corpus import parquet_bytes
from actlas.store.dtypes import SiteDtype
from actlas.store.files.atomic import (
    clear_temporaries,
    create_once,
    npy_bytes,
    read_json,
    to_json,
    write_atomically,
    write_temporary,
)
from actlas.store.files.digests import record_files
from actlas.store.files.group_writer import create_groups, group_files
from actlas.store.files.locks import Claim
from actlas.store.files.shard_writer import start_shards, write_shards
from actlas.store.groups import ArrayGroup, count_group, cube_group, token_group
from actlas.store.layout import HEALTH_FILE, WEIGHTS_FILE, ArrayPlan, TextBlock
from actlas.store.log import Change, Log
from actlas.store.notes.health import SiteHealth, health_frame, merge, site_health
from actlas.store.notes.weights import WeightRecord, weight_table
from actlas.store.records import BlockRecord, CheckpointRecord, ShardRecord, block_record, read_record
from actlas.store.states import StatePlan
from actlas.store.values import BlockValues, Shapes
from actlas.store.write.block_claims import BlockClaims
from actlas.store.write.context import WriteContext
from actlas.store.write.state_writer import StateWriter, in_states, remove_parts


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
        recipe, corpus, n_blocks = context.recipe, context.corpus, len(context.blocks)
        texts, most = context.blocks[0].n_texts, max(context.block_tokens)
        self.dtypes = {site: SiteDtype(dtype=dtype) for site, dtype in recipe.dtypes.items()} | dict(dtypes or {})

        def stored(site: str) -> str:
            return self.dtypes[site].dtype if site in self.dtypes else recipe.dtype_of(site)

        self.cubes = {site: layout.cube_plan(*shape, corpus.n_texts, texts, stored(site)) for site, shape in cubes.items()}
        self.token_cubes = {site: layout.token_plan(*shape, n_blocks, most, stored(site)) for site, shape in token_cubes.items()}
        self.counts = {
            site: layout.count_plan(len(corpus.languages), *shape, len(recipe.count_thresholds)) for site, shape in counts.items()
        }
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
            "shapes": {site: list(plan.shape) for site, plan in sorted(self.cubes.items())},
            "states": {site: list(shape) for site, shape in sorted(states.items())},
            "dtypes": {site: msgspec.to_builtins(about) for site, about in sorted(self.dtypes.items())},
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
            if differs := [site for site, about in self.dtypes.items() if was.dtype_of(site, recipe) != about.dtype]:
                raise RecipeMismatch(
                    f"checkpoint {self.checkpoint.id} was begun with {differs[0]} in {was.dtype_of(differs[0], recipe)}, and "
                    f"this run stores {self.dtypes[differs[0]].dtype}; finish it with the dtype that it was begun with"
                )
        if not self.is_complete:
            self._create(self._groups())

    def _create(self, groups: Iterable[ArrayGroup]) -> None:
        context = self.context
        named = [replace(group, attributes={"actlas_checkpoint": self.checkpoint.id}) for group in groups]
        create_groups(context.path, named, context.codec, store_format=context.store_format, sync=context.sync)

    def _groups(self) -> Iterator[ArrayGroup]:
        name, recipe, corpus = self.checkpoint.id, self.context.recipe, self.context.corpus
        for site, plan in self.cubes.items():
            yield cube_group(layout.cube_path(name, site, recipe.pooling), plan, corpus.texts["text_id"].to_numpy())
        for site, plan in self.token_cubes.items():
            yield token_group(layout.token_path(name, site), plan, *self.context.token_rows)
        for site, plan in self.counts.items():
            yield count_group(layout.count_path(name, site), plan, corpus.languages, recipe.count_thresholds)

    def _values_path(self, group: str) -> str:
        return layout.values_path(group, self.context.store_format)

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

    def _part(self, block: TextBlock, site: str) -> Path:
        return self._folder / "blocks" / f"{block.index:06d}.{site}.npy"

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
        self._check(block, values)
        n_tokens = values.n_tokens if values.n_tokens is not None else np.zeros(len(self.context.corpus.languages), np.int64)
        shards, placements = self._start_shards(block, values)
        placements += self._start_counts(block, values.counts, n_tokens) + self._start_health(block, values.health)
        loss = values.loss_sum if isfinite(values.loss_sum) else None
        lost = {site: tuple(counted.tolist()) for site, counted in values.lost_vectors.items() if self.token_cubes}
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
        name, pooling = self.checkpoint.id, self.context.recipe.pooling
        parts = [
            (self._values_path(layout.cube_path(name, site, pooling)), plan, values.cubes[site], (0, 0, block.start))
            for site, plan in self.cubes.items()
        ]
        if self.context.block_tokens[block.index]:
            parts += [
                (self._values_path(layout.token_path(name, site)), plan, values.tokens[site], (0, block.index * plan.shard[1], 0))
                for site, plan in self.token_cubes.items()
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
            part, file = npy_bytes(counted[self._counted_rows(n_tokens)].astype(np.int32)), self._part(block, site)
            placements.append(self.context.threads.finish(write_temporary(file, [part]), file))
        return placements

    def _start_health(self, block: TextBlock, health: Mapping[str, NDArray[np.float64]]) -> list[Future[None]]:
        """Write what was noted of the values of a block: committed with it, put together when the last block is in."""
        placements = []
        for site, noted in health.items():
            file = self._part(block, f"{site}.health")
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

    def _counted_rows(self, n_counted: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows of the counts, thresholds times languages, whose language has tokens in a block."""
        return np.tile(n_counted > 0, len(self.context.recipe.count_thresholds))

    def _write(self, path: str, plan: ArrayPlan, values: NDArray[Any], start: tuple[int, ...]) -> list[ShardRecord]:
        context = self.context
        return write_shards(context.path, path, plan, context.codec, values, start=start, pool=context.pool, sync=context.sync)

    def _check(self, block: TextBlock, values: BlockValues) -> None:
        n_tokens = self.context.block_tokens[block.index]
        announced = {("cube", site): (*plan.shape[:2], block.n_texts) for site, plan in self.cubes.items()}
        if self.states is not None:
            announced |= {("cube", site): (*shape, block.n_texts) for site, shape in self.states.plan.shapes.items()}
        announced |= {("tokens", site): (plan.shape[0], n_tokens, plan.shape[2]) for site, plan in self.token_cubes.items()}
        announced |= {("counts", site): (prod(plan.shape[:-2]), *plan.shape[-2:]) for site, plan in self.counts.items()}
        given = {("cube", site): array.shape for site, array in values.cubes.items()}
        given |= {("tokens", site): array.shape for site, array in values.tokens.items() if self.token_cubes}
        given |= {("counts", site): array.shape for site, array in values.counts.items()}
        if announced != given:
            differs = sorted({*announced.items()} ^ {*given.items()})
            raise ValueError(f"block {block.index} of {self.checkpoint.id} has other arrays than announced: {differs}")

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
        records = [read_record(self.claims.record(block), block_record) for block in self.blocks]
        n_tokens = np.array([record.n_tokens for record in records], dtype=np.int64)
        shards: list[ShardRecord] = []
        for site, plan in self.counts.items():
            total = np.zeros((prod(plan.shape[:-2]), *plan.shape[-2:]), dtype=np.int64)
            for block, counted in zip(self.blocks, n_tokens, strict=True):
                total[self._counted_rows(counted)] += np.load(self._part(block, site), allow_pickle=False)
            path, start = self._values_path(layout.count_path(self.checkpoint.id, site)), (0,) * len(plan.shape)
            shards += self._write(path, plan, total.reshape(plan.shape), start)
        if self.states is not None:
            shards += self.states.write_arrays()
        about = {
            **read_json(self._folder / "begun.json"),
            **extra,
            **_sanity_loss(records),
            "n_texts": self.context.corpus.n_texts,
            "n_tokens": dict(zip(self.context.corpus.languages, n_tokens.sum(axis=0).tolist(), strict=True)),
            "cubes": sorted(self.cubes),
            "token_cubes": sorted(self.token_cubes),
            "counts": sorted(self.counts),
            "shards": shards,
            **self._write_health(records),
            **({"weights_digest": sha256(self.weights_file.read_bytes()).hexdigest()} if self.weights_file.exists() else {}),
        }
        if self.context.log is None:
            write_atomically(self._folder / "checkpoint.json", [to_json(about)], sync=self.context.sync)
        else:
            self._log(self.context.log, about)

    def _log(self, log: Log, about: dict[str, Any]) -> None:
        """Write the record of the checkpoint and name it, with all that it stands on, in the log."""
        root, sync = self.context.path, self.context.sync
        groups = [*self._groups(), *(() if self.states is None else self.states.groups())]
        small = (file for group in groups for file in group_files(root, group, self.context.store_format))
        write_atomically(self._folder / "checkpoint.json", [to_json({**about, "files": record_files(root, small)})], sync=sync)
        paths = [self._folder / "checkpoint.json", self._folder / "begun.json", *map(self.claims.record, self.blocks)]
        paths += [path for path in (self._folder / HEALTH_FILE, self.weights_file) if path.exists()]
        files = record_files(root, (path.relative_to(root).as_posix() for path in paths))
        name = checkpoint_name(self.checkpoint.id)
        # locks may not reach to another machine: it may have committed the same a moment ago
        log.append(lambda state: None if name in state.holds else Change({name: files}), sync=sync)

    def _write_health(self, records: Sequence[BlockRecord]) -> dict[str, Any]:
        """Put together what was noted of all blocks, and write table `neuron_health` of the checkpoint.

        Returns:
            For its record: every site in short, and the digest of the table. Nothing of values where a block was written by
            a version, or a backend, that notes nothing.
        """
        n_texts = self.context.corpus.n_texts
        codes = {} if self.states is None else self.states.code_health()
        healths = {}
        for site in self.cubes or ({} if self.states is None else self.states.plan.shapes):
            files = [self._part(block, f"{site}.health") for block in self.blocks]
            if all(file.exists() for file in files):
                healths[site] = merge([np.load(file, allow_pickle=False) for file in files])
        short = {site: site_health(health, n_texts, codes.get(site)) for site, health in healths.items()}
        n_vectors = sum(self.context.block_tokens)
        for site, plan in self.token_cubes.items():
            if all(site in record.lost_vectors for record in records):
                lost = np.array([record.lost_vectors[site] for record in records]).sum(0) / (n_vectors * plan.shape[2])
                short[site] = msgspec.structs.replace(short.get(site, SiteHealth()), lost_vectors_by_layer=tuple(lost.tolist()))
        if not healths:
            return {"health": short}
        table = parquet_bytes(health_frame(self.checkpoint.id, healths, codes, n_texts))
        write_atomically(self._folder / HEALTH_FILE, [table], sync=self.context.sync)
        return {"health": short, "health_digest": sha256(table).hexdigest()}

    def _complete_records(self) -> bool:
        """Write the records of blocks whose owner died between committing its states and saying so block by block.

        Returns:
            False if the owner of a block is just about to write its record.
        """
        for index, record in in_states(self._folder).items():
            path = self.claims.record(self.blocks[index])
            if not path.exists():
                claim = Claim.take(path.with_suffix(".claim"))
                if claim is None:
                    return False
                if not path.exists():
                    write_atomically(path, [to_json(record)], sync=self.context.sync)
                claim.release()
        return True

    def _remove_parts(self) -> None:
        remove_parts(self.context.path, self.checkpoint.id)
        kinds = [self.context.path / kind for kind in ("cubes", "tokens", "counts", "states")]
        # what all checkpoints share is in place as soon as one is complete
        for folder in (self._folder, self._folder / "blocks", self.context.path / "corpus", *kinds):
            clear_temporaries(folder, is_deep=False)
        for kind in kinds:
            clear_temporaries(kind / self.checkpoint.id)


def _sanity_loss(records: Sequence[BlockRecord]) -> dict[str, Any]:
    """Mean next-token loss of all blocks; null with the reason where one of them is no number."""
    n_tokens = sum(record.loss_tokens for record in records)
    sums = [record.loss_sum for record in records if record.loss_sum is not None]
    if len(sums) < len(records):
        return {"sanity_loss": None, "no_loss": "the loss is NaN or infinite"}
    return {"sanity_loss": sum(sums) / n_tokens if n_tokens else None}


def _wait_for(placements: Sequence[Future[None]]) -> None:
    for placement in placements:
        placement.result()
