"""The weights of a checkpoint are described while its model reads texts: by one process, in a thread of its own."""

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
def describing(work: CheckpointWriter, folder: Path, times: StageTimes) -> Iterator[Callable[[], None]]:
    """Describe the weights in `folder` meanwhile, unless another process does.

    Leaving before the wait is over stops it; what was not written is left out.

    Args:
        work: Writes the checkpoint.
        folder: Its safetensors files.
        times: Where its time is added up, as "weights".

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
        meanwhile = pool.submit(lambda: describe(Claim.take(path)))

        def wait() -> None:
            meanwhile.result()
            if not work.weights_file.exists() and not work.is_complete:
                describe(Claim.hold(path))

        try:
            yield wait
        finally:
            stopped.set()
