"""The weights of a checkpoint are described by one process: while its model reads texts on a device, or after it on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from actlas.extract.checkpoints.weights import describe_weights
from actlas.store.files.locks import Claim
from actlas.store.write.checkpoint_writer import CheckpointWriter
from actlas.timing import StageTimes


@contextmanager
def describing(work: CheckpointWriter, folder: Path, times: StageTimes, *, meanwhile: bool) -> Iterator[Callable[[], None]]:
    """Describe the weights in `folder`, unless another process does.

    Leaving before the wait is over stops it; what was not written is left out.

    Args:
        work: Writes the checkpoint.
        folder: Its safetensors files.
        times: Where its time is added up, as "weights".
        meanwhile: Whether to begin at once, in a thread of its own. Where the model runs on the CPU, two libraries that each
            take every core wait for each other: both become several times slower.

    Yields:
        Waits until table `weights` of the checkpoint is written; does what another process did not end.
    """
    stopped = threading.Event()

    def describe(claim: Claim | None) -> None:
        if claim is None:
            return
        with claim, times.during("weights"):
            if not work.weights_file.exists() and not work.is_complete:
                records = list(describe_weights(folder, lambda: not stopped.is_set()))
                if not stopped.is_set():
                    work.write_weights(records)

    path = work.weights_file.with_suffix(".claim")
    with ThreadPoolExecutor(1, thread_name_prefix="actlas-weights") as pool:
        begun = pool.submit(lambda: describe(Claim.take(path))) if meanwhile else None

        def wait() -> None:
            if begun is not None:
                begun.result()
            if not work.weights_file.exists() and not work.is_complete:
                describe(Claim.hold(path))

        try:
            yield wait
        finally:
            stopped.set()
