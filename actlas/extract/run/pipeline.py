"""Blocks of one checkpoint on their way from the model to the disk, as many at a time as fit into memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from actlas.extract.backends.base import BlockRun, ModelSession
from actlas.extract.inputs.tokens import TokenisedCorpus
from actlas.extract.results import CheckpointProgress
from actlas.extract.run.profile import Profile
from actlas.store.layout import TextBlock
from actlas.store.values import BlockValues
from actlas.store.write.checkpoint_writer import CheckpointWriter


class _Writer:
    """The thread that writes blocks in their order, none behind one that could not be written."""

    def __init__(self, work: CheckpointWriter, profile: Profile) -> None:
        self._work, self._profile = work, profile
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="actlas-write")
        self._error: BaseException | None = None

    def submit(self, block: TextBlock, values: Future[BlockValues]) -> Future[None]:
        """Write a block once its values are there; what comes back is done when the block is committed."""
        committed: Future[None] = Future()
        self._thread.submit(self._write, block, values, committed)
        return committed

    def _write(self, block: TextBlock, values: Future[BlockValues], committed: Future[None]) -> None:
        try:
            if self._error is not None:
                raise self._error
            collected = values.result()
            with self._profile.busy.during("write"):
                written = self._work.start_block(block, collected)
        except BaseException as error:
            self._error = error
            committed.set_exception(error)
            return
        written.add_done_callback(lambda done: _hand_on(done, committed))

    def close(self) -> None:
        """Write what was submitted, then end."""
        self._thread.shutdown(wait=True)


def _hand_on(done: Future[None], committed: Future[None]) -> None:
    error = done.exception()
    if error is None:
        committed.set_result(None)
    else:
        committed.set_exception(error)


def run_blocks(
    work: CheckpointWriter,
    session: ModelSession,
    texts: TokenisedCorpus,
    progress: CheckpointProgress,
    profile: Profile,
    *,
    part: tuple[int, int] | None = None,
    most_blocks: int = 2,
    check: Callable[[BlockValues], None] | None = None,
) -> None:
    """Compute and write every block that no other process has.

    Every block goes through four threads: this one runs the model, one brings values to the host, one encodes and writes, one
    (the store's) brings files to the disk and commits. None waits for another one, unless `most_blocks` are on their way, or two
    of them on the device. Whatever stops this, blocks that were computed before are written, and those that could not be
    committed are given back; nothing is written behind a block that could not be.

    Args:
        work: Writes the checkpoint; its store adds the times of writing to `profile.busy`.
        session: The model.
        texts: The corpus.
        progress: Told of every batch.
        profile: Where times are added up.
        part: (i, n): only blocks of the i-th of n parts, counted from 1.
        most_blocks: Blocks in memory, the one that is computed included; two at least.
        check: Raises for values that must not be written.

    Raises:
        Exception: Whatever stopped a stage.
    """

    def collect(run: BlockRun) -> BlockValues:
        with profile.busy.during("collect"):
            values = run.collect()
        if check is not None:
            check(values)
        return values

    began = time.perf_counter()
    on_the_way: deque[Future[None]] = deque()
    collected: Future[BlockValues] | None = None
    writer = _Writer(work, profile)
    with ThreadPoolExecutor(1, thread_name_prefix="actlas-collect") as collector:
        try:
            while True:
                with profile.waits.during("forward"):
                    _wait_until(on_the_way, below=max(2, most_blocks))
                # claimed only now: the process that has room first takes it
                if (block := work.claim_next(part)) is None:
                    break
                with profile.busy.during("forward"):
                    run = session.run_block(texts.block(np.arange(block.start, block.stop)), on_batch=progress.add)
                if collected is not None:
                    with profile.waits.during("forward"):
                        collected.result()
                collected = collector.submit(collect, run)
                del run
                on_the_way.append(writer.submit(block, collected))
            with profile.waits.during("forward"):
                _wait_until(on_the_way, below=1)
        finally:
            # blocks that are computed are written, whatever stops the next one
            writer.close()
            try:
                work.flush()
            finally:
                work.release_claims()
    threads = {"collect": (1, ("collect",)), "write": (1, ("write",)), "sync": (1, ("sync", "commit"))}
    profile.add_idle(began, threads | {"encode": (work.context.n_threads, ("transpose", "encode"))})


def _wait_until(on_the_way: deque[Future[None]], *, below: int) -> None:
    """Wait for the oldest blocks to be committed until there are fewer; raise what stopped one of those that are done."""
    while on_the_way and (len(on_the_way) >= below or on_the_way[0].done()):
        on_the_way.popleft().result()
