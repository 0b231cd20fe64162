"""States on disk: integers that many blocks of texts are added to, committed so that no block is ever added twice.

A process adds blocks to states in memory; a commit writes the states that changed under new names, then replaces one record that
says which files count and which blocks are in them. Until that record is replaced nothing has happened, afterwards all of it has.
Each process owns a slot of its own; states of all slots are added up when the last block is in, and since they hold integers it
does not matter which process added which block.
"""

from __future__ import annotations

import itertools
import re
import shutil
import socket
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import DamagedStore
from actlas.store import layout
from actlas.store.corpus.text_sets import LanguageSets
from actlas.store.files.atomic import create_once, npy_bytes, read_json, to_json, write_atomically
from actlas.store.files.codecs import Codec, decode
from actlas.store.files.locks import Claim
from actlas.store.files.shard_writer import write_shards
from actlas.store.groups import ArrayGroup, state_group
from actlas.store.layout import TextBlock
from actlas.store.notes.health import CodeHealth
from actlas.store.records import BlockRecord, ShardRecord, block_record
from actlas.store.states import Accumulator, Arrays, Ranges, StateKey, StatePlan

#: A commit waits for this many seconds, and for this many times as long as the last one took.
COMMIT_SECONDS = 30.0
_COMMIT_SHARE = 10.0
#: Blocks that are added before a commit at most: each holds an open file.
_COMMIT_BLOCKS = 64
_PIECE_BYTES = 32 << 20


class StateWriter:
    """The states of one checkpoint as one process sees them.

    Args:
        root: Folder of the store.
        checkpoint: Id of the checkpoint.
        plan: What to keep.
        sets: Sets of texts, by language.
        codec: How arrays are compressed.
        pool: Threads that compress.
        pooling: Pooling of the recipe, which is part of the arrays' names.
        sync: Whether files are flushed to disk.
        store_format: Format of the store.
    """

    def __init__(
        self,
        root: Path,
        checkpoint: str,
        plan: StatePlan,
        sets: tuple[LanguageSets, ...],
        codec: Codec,
        pool: ThreadPoolExecutor,
        *,
        pooling: str,
        sync: bool,
        store_format: int = layout.FORMAT_VERSION,
    ) -> None:
        plan.check(sets)
        self.folder = root / layout.manifest_path(checkpoint) / "states"
        self.plan, self.sets = plan, sets
        self._root, self._checkpoint, self._pooling = root, checkpoint, pooling
        self._codec, self._pool, self._sync, self._store_format = codec, pool, sync, store_format
        self._slot: Claim | None = None
        self._committed: dict[str, Any] = {"states": {}, "blocks": {}}
        self._added: dict[int, BlockRecord] = {}
        self._files: dict[str, int] = {}
        self._held: OrderedDict[str, Arrays] = OrderedDict()
        self._changed: set[str] = set()
        self._held_bytes = 0
        self._is_torn = False
        self._codes: dict[str, CodeHealth] = {}
        self._last_commit = time.monotonic()
        self._commit_took = 0.0
        self.ranges = self._shared_ranges()

    # Ranges of the codes

    def _shared_ranges(self) -> Ranges:
        """The ranges, computed by the first process and then fixed: all blocks must be coded alike."""
        done = self.folder / "ranges.json"
        files = {site: self.folder / f"range.{site}.npy" for site in self.plan.shapes}
        if not done.exists():
            with Claim.hold(self.folder / "ranges.claim"):
                if not done.exists():
                    ranges = self.plan.find_ranges()
                    for site, file in files.items():
                        # the first ones stay: a process on a machine that the lock does not reach may compute them, too
                        create_once(file, [npy_bytes(ranges[site])], sync=self._sync)
                    write_atomically(done, [to_json({"sites": sorted(files)})], sync=self._sync)
        return {site: np.load(file, allow_pickle=False) for site, file in files.items()}

    # Adding blocks

    def add(self, block: TextBlock, values: Mapping[str, NDArray[Any]], record: BlockRecord) -> None:
        """Add one block that is in no state yet; it counts once `commit` returns.

        Args:
            block: Its texts.
            values: site -> ``"layers neurons texts"``.
            record: What the block's commit record will say.
        """
        if self._slot is None:
            self._take_slot()
        self._is_torn = True
        for number, sets in enumerate(self.sets):
            start, stop = max(block.start, sets.rows.start), min(block.stop, sets.rows.stop)
            if start >= stop or not sets.n_sets:
                continue
            texts = slice(start - sets.rows.start, stop - sets.rows.start)
            for site in self.plan.shapes:
                self._add_site(site, number, texts, values[site][:, :, start - block.start : stop - block.start])
        self._is_torn = False
        self._added[block.index] = record

    def _add_site(self, site: str, language: int, texts: slice, values: NDArray[Any]) -> None:
        """Add values ``"layers neurons texts"``, layers side by side, as many at a time as their states fit into memory."""
        sets, ranges = self.sets[language], self.ranges[site]
        n_layers = self.plan.shapes[site][0]
        step = min(n_layers, max(1, self.plan.memory_bytes // self.plan.state_bytes(site, sets.n_sets)))
        for first in range(0, n_layers, step):
            layers = range(first, min(first + step, n_layers))
            keys = [StateKey(site, layer, language) for layer in layers]
            # states that are asked for last are written out last, so none of these has to make room for another one
            held = [self._hold(key) for key in keys]
            self._changed.update(key.name for key in keys)
            adding = [
                self._pool.submit(self.plan.accumulator.add, arrays, sets, texts, values[layer], ranges[:, layer])
                for arrays, layer in zip(held, layers, strict=True)
            ]
            # all of them, also where one fails: no thread may go on adding after this returns
            wait(adding)
            for addition in adding:
                addition.result()

    @property
    def is_due(self) -> bool:
        """Whether enough was added for a commit to be worth its time."""
        waited = time.monotonic() - self._last_commit
        return len(self._added) >= _COMMIT_BLOCKS or waited >= max(COMMIT_SECONDS, _COMMIT_SHARE * self._commit_took)

    def commit(self) -> dict[int, BlockRecord]:
        """Make everything that was added count, all at once.

        Returns:
            The records of the blocks that count from now on.
        """
        # an addition that failed half way leaves states that belong to no whole number of blocks
        if self._is_torn or not self._added:
            return {}
        began = time.monotonic()
        for name in sorted(self._changed):
            self._write(name)
        blocks = {**self._committed["blocks"], **{str(index): record for index, record in self._added.items()}}
        before, self._committed = self._committed, {"states": dict(self._files), "blocks": blocks}
        write_atomically(self._record, [to_json(self._committed)], sync=self._sync)
        for name, number in before["states"].items():
            if self._files[name] != number:
                self._file(name, number).unlink(missing_ok=True)
        added, self._added = self._added, {}
        self._last_commit = time.monotonic()
        self._commit_took = self._last_commit - began
        return added

    def release(self) -> None:
        """Give the slot back; what was not committed is forgotten."""
        if self._slot is not None:
            self._slot.release()
        self._slot = None
        self._held.clear()
        self._changed.clear()
        self._held_bytes, self._is_torn = 0, False
        self._added = {}

    def _take_slot(self) -> None:
        """Take a slot that is free, and go on from what its last owner committed.

        Machines have slots of their own: locks may not reach from one to another.
        """
        machine = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
        for number in itertools.count():
            self._slot_name = f"slot-{machine}-{number}"
            self._slot = Claim.take(self.folder / f"{self._slot_name}.claim")
            if self._slot is not None:
                break
        self._record = self.folder / f"{self._slot_name}.json"
        self._committed = read_json(self._record) if self._record.exists() else {"states": {}, "blocks": {}}
        self._files = dict(self._committed["states"])
        committed = {self._file(name, number) for name, number in self._files.items()}
        for file in (self.folder / self._slot_name).glob("*"):
            if file not in committed:
                file.unlink()

    def _file(self, name: str, number: int, slot: str | None = None) -> Path:
        return self.folder / (slot or self._slot_name) / f"{name}.{number}"

    def _hold(self, key: StateKey) -> Arrays:
        """A state in memory, in exchange for others if there is no room."""
        name = key.name
        if name in self._held:
            self._held.move_to_end(name)
            return self._held[name]
        size = self.plan.state_bytes(key.site, self.sets[key.language].n_sets)
        while self._held and self._held_bytes + size > self.plan.memory_bytes:
            oldest = next(iter(self._held))
            if oldest in self._changed:
                self._write(oldest)
            self._held_bytes -= sum(array.nbytes for array in self._held.pop(oldest).values())
        arrays = self._read(key, self._file(name, self._files[name])) if name in self._files else self._empty(key)
        self._held[name] = arrays
        self._held_bytes += size
        return arrays

    def _write(self, name: str) -> None:
        """Write a changed state under a new number; the one that a commit counts on stays."""
        number = self._files.get(name)
        self._files[name] = 1 if number is None else number + 1
        self._write_arrays(self._file(name, self._files[name]), self._held[name])
        if number is not None and number != self._committed["states"].get(name):
            self._file(name, number).unlink(missing_ok=True)
        self._changed.discard(name)

    # Files of states

    def _empty(self, key: StateKey) -> Arrays:
        n_sets, n_neurons = self.sets[key.language].n_sets, self.plan.shapes[key.site][1]
        shapes = self.plan.accumulator.shapes(n_sets, n_neurons)
        arrays = {name: np.zeros(shape, layout.STATE_ARRAYS[name][1]) for name, shape in shapes.items()}
        return {"count": np.zeros(n_sets, np.int64), **arrays}

    def _write_arrays(self, file: Path, arrays: Arrays) -> None:
        pieces = [piece for array in arrays.values() for piece in _pieces(array)]
        encoded = list(self._pool.map(self._codec.encode, pieces))
        sizes = np.array([len(piece) for piece in encoded], "<u8")
        write_atomically(file, [sizes.tobytes(), *encoded], sync=self._sync)

    def _read(self, key: StateKey, file: Path) -> Arrays:
        arrays = self._empty(key)
        pieces = [piece for array in arrays.values() for piece in _pieces(array)]
        data = memoryview(file.read_bytes())
        ends = np.cumsum(np.frombuffer(data[: 8 * len(pieces)], "<u8")).tolist()
        if len(data) != 8 * len(pieces) + ends[-1]:
            raise DamagedStore(f"{file} does not have the size that its index says; extract the checkpoint again")
        body = data[8 * len(pieces) :]
        for piece, start, stop in zip(pieces, [0, *ends[:-1]], ends, strict=True):
            decode(body[start:stop], piece)
        return arrays

    # The end

    def write_arrays(self) -> list[ShardRecord]:
        """Add up all slots into the arrays of the store. Every block has to be committed.

        Raises:
            DamagedStore: If states have seen another number of texts than the labels say.
        """
        slots = [(path.stem, read_json(path)["states"]) for path in sorted(self.folder.glob("slot-*.json"))]
        records = []
        for site, (n_layers, n_neurons) in self.plan.shapes.items():
            records += self._write_part(site, "range", self.ranges[site], (0, 0, 0))
            noted = []
            for layer in range(n_layers):
                merged_layer = _LayerCodes(n_neurons)
                waiting: dict[str, list[NDArray[Any]]] = {}
                written: dict[str, int] = {}
                for number in range(len(self.sets)):
                    merged = self._merged(StateKey(site, layer, number), slots)
                    merged_layer.add(self.plan.accumulator, merged, self.sets[number], self.ranges[site][:, layer])
                    is_last = number == len(self.sets) - 1
                    for name in self.plan.accumulator.shapes(1, n_neurons):
                        waiting.setdefault(name, []).append(merged[name])
                        records += self._write_whole(site, layer, name, waiting[name], written, is_last=is_last)
                noted.append(merged_layer)
            if noted[0].has_codes:
                self._codes[site] = CodeHealth(
                    n_codes=np.stack([(part.counts > 0).sum(1) for part in noted]),
                    fullest=np.stack([part.counts.max(1) for part in noted]),
                    n_texts=int(noted[0].counts[0].sum()),
                    ap_slack=np.stack([part.slack for part in noted]),
                )
        return records

    def code_health(self) -> Mapping[str, CodeHealth]:
        """site -> what its codes tell apart, once `write_arrays` has seen them; empty where no values are coded."""
        return self._codes

    def _merged(self, key: StateKey, slots: list[tuple[str, dict[str, int]]]) -> Arrays:
        total = self._empty(key)
        for slot, files in slots:
            if key.name in files:
                total = self.plan.accumulator.merge(total, self._read(key, self._file(key.name, files[key.name], slot)))
        sets = self.sets[key.language]
        if not np.array_equal(total["count"], sets.n_texts):
            raise DamagedStore(
                f"states of {self._checkpoint} {key.site} in {sets.language} have seen {total['count'].tolist()} texts of sets "
                f"that hold {sets.n_texts.tolist()}; extract the checkpoint again"
            )
        return total

    def _write_whole(
        self, site: str, layer: int, name: str, waiting: list[NDArray[Any]], written: dict[str, int], *, is_last: bool
    ) -> Iterator[ShardRecord]:
        """Write as many sets as fill whole shards; all of them at the end."""
        axis = layout.STATE_ARRAYS[name][0].index("set")
        step = self.array_plan(site, name).shard[axis]
        n_sets = sum(part.shape[axis] for part in waiting)
        n_whole = n_sets if is_last else n_sets // step * step
        if not n_whole:
            return
        joined = np.concatenate(waiting, axis=axis)
        waiting[:] = [joined.take(range(n_whole, n_sets), axis=axis)]
        first = written.get(name, 0)
        written[name] = first + n_whole
        # the layer stands behind the set
        values = np.expand_dims(joined.take(range(n_whole), axis=axis), axis + 1)
        start = [0] * values.ndim
        start[axis], start[axis + 1] = first, layer
        yield from self._write_part(site, name, values, tuple(start))

    def _write_part(self, site: str, name: str, values: NDArray[Any], start: tuple[int, ...]) -> list[ShardRecord]:
        path = layout.state_path(self._checkpoint, site, self._pooling, name)
        plan = self.array_plan(site, name)
        return write_shards(self._root, path, plan, self._codec, values, start=start, pool=self._pool, sync=self._sync)

    def array_plan(self, site: str, name: str) -> layout.ArrayPlan:
        """Grid of one array of a site."""
        n_sets = sum(part.n_sets for part in self.sets)
        return layout.state_array_plan(name, n_sets, *self.plan.shapes[site], self._store_format)

    def groups(self) -> Iterator[ArrayGroup]:
        """The arrays that will be there, a group per site."""
        for site, (_, n_neurons) in self.plan.shapes.items():
            plans = {name: self.array_plan(site, name) for name in ("range", *self.plan.accumulator.shapes(1, n_neurons))}
            yield state_group(layout.state_path(self._checkpoint, site, self._pooling), plans)


class _LayerCodes:
    """Codes of one layer, put together over languages."""

    def __init__(self, n_neurons: int) -> None:
        self.counts = np.zeros((n_neurons, 256), np.int64)
        self.slack = np.zeros(n_neurons)
        self.has_codes = False

    def add(self, accumulator: Accumulator, arrays: Arrays, sets: LanguageSets, ends: NDArray[np.float64]) -> None:
        """Add the states of one language."""
        if "codes" not in arrays:
            return
        self.has_codes = True
        if sets.n_sets:
            # the largest set of texts is the one that concepts are told from
            self.counts += arrays["codes"][int(np.argmax(sets.n_texts))]
            self.slack = np.maximum(self.slack, accumulator.ap_slack(arrays, sets, ends))


def in_states(manifest: Path) -> dict[int, BlockRecord]:
    """Blocks that are in committed states of any slot, with their records.

    Args:
        manifest: Folder of the checkpoint's records; one without states gives none.
    """
    blocks: dict[int, BlockRecord] = {}
    for path in (manifest / "states").glob("slot-*.json"):
        # it vanishes where another process completes the checkpoint at this moment
        with suppress(FileNotFoundError):
            blocks |= {int(index): block_record(record) for index, record in read_json(path)["blocks"].items()}
    return blocks


def remove_parts(root: Path, checkpoint: str) -> None:
    """Remove what a complete checkpoint no longer needs."""
    folder = root / layout.manifest_path(checkpoint)
    shutil.rmtree(folder / "states", ignore_errors=True)
    for part in (folder / "blocks").glob("*.npy"):
        part.unlink(missing_ok=True)


def _pieces(array: NDArray[Any]) -> list[NDArray[Any]]:
    """Views of a C-contiguous array, small enough to be compressed one by one."""
    flat = array.reshape(-1)
    step = max(1, _PIECE_BYTES // array.itemsize)
    return [flat[start : start + step] for start in range(0, flat.size, step)]
