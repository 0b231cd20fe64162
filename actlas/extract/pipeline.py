"""Blocks of one checkpoint: one is written while the model reads the next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from actlas.extract.backend import BlockRun, Session
from actlas.extract.options import Progress, ProgressCallback
from actlas.extract.tokens import TokenisedCorpus
from actlas.names import Checkpoint
from actlas.store.layout import TextBlock
from actlas.store.writer import CheckpointWriter


@dataclass
class CheckpointProgress:
    """What is reported about the checkpoint that is worked on.

    Attributes:
        tell: Where reports go.
        checkpoint: Which checkpoint it is.
        number: Its place among all, from 1.
        n_checkpoints: How many there are.
        n_texts: Texts per checkpoint.
        disk_bytes: Upper bound of what is still to be written.
        texts_before: Texts that were committed by earlier runs.
        texts_read: Texts that this run has put through the model.
        bytes_per_text: Bytes of values per text.
        began: When the first block started.
    """

    tell: ProgressCallback
    checkpoint: Checkpoint
    number: int
    n_checkpoints: int
    n_texts: int
    disk_bytes: int | None = None
    texts_before: int = 0
    texts_read: int = 0
    bytes_per_text: int = 0
    began: float = 0.0

    def begin(self, texts_before: int, bytes_per_text: int) -> None:
        """The first block starts now."""
        self.texts_before, self.bytes_per_text, self.began = texts_before, bytes_per_text, time.perf_counter()
        self.report("extract", texts_before)

    def add(self, n_texts: int) -> None:
        """More texts went through the model."""
        self.texts_read += n_texts
        self.report("extract", self.texts_before + self.texts_read)

    def report(self, stage: str, texts_done: int = 0, warning: str | None = None) -> None:
        """Tell the caller."""
        rate, left = 0.0, None
        if self.texts_read:
            rate = self.texts_read / max(time.perf_counter() - self.began, 1e-9)
            left = (self.n_texts - texts_done + self.n_texts * (self.n_checkpoints - self.number)) / rate
        self.tell(
            Progress(
                self.checkpoint.id,
                self.number,
                self.n_checkpoints,
                stage,
                texts_done,
                self.n_texts,
                texts_per_s=rate,
                bytes_per_s=rate * self.bytes_per_text,
                seconds_left=left,
                disk_bytes=self.disk_bytes,
                warning=warning,
            )
        )


def run_blocks(
    work: CheckpointWriter,
    session: Session,
    texts: TokenisedCorpus,
    progress: CheckpointProgress,
    part: tuple[int, int] | None = None,
) -> dict[str, float]:
    """Compute and write every block that nobody else has; one is written while the next is computed.

    Two blocks are in memory at most. Whatever stops this, blocks that were not committed are given back.

    Returns:
        Seconds: "forward" and "wait" of the thread that runs the model ("wait": writing was behind), "collect" (from the device)
        and "write" of the thread beside it.
    """
    busy = {"forward": 0.0, "wait": 0.0, "collect": 0.0, "write": 0.0}

    def write(block: TextBlock, run: BlockRun) -> None:
        with timed(busy, "collect"):
            values = run.collect()
        with timed(busy, "write"):
            work.write_block(block, values)

    writing: Future[None] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="actlas-write") as thread:
        try:
            while (block := work.claim_next(part)) is not None:
                with timed(busy, "forward"):
                    run = session.run_block(texts.block(np.arange(block.start, block.stop)), on_batch=progress.add)
                with timed(busy, "wait"):
                    _finish(writing)
                writing = thread.submit(write, block, run)
            with timed(busy, "wait"):
                _finish(writing)
        finally:
            # a block that is computed is written, whatever stops the next one
            thread.shutdown(wait=True)
            try:
                with timed(busy, "write"):
                    work.flush()
            finally:
                work.release_claims()
    return busy


def _finish(writing: Future[None] | None) -> None:
    if writing is not None:
        writing.result()


@contextmanager
def timed(busy: dict[str, float], name: str) -> Iterator[None]:
    """Add the time spent inside to one entry."""
    began = time.perf_counter()
    try:
        yield
    finally:
        busy[name] += time.perf_counter() - began
