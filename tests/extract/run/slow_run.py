"""A run in a process of its own, with pauses in it, so that there are moments to be killed in."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from actlas.extract import extract_activations
from actlas.extract.backends.hf.backend import HfSession
from actlas.store import log
from actlas.store.files.atomic import create_once
from actlas.store.write import state_writer

OPTIONS = {"sites": ["mlp_pre", "resid"], "device": "cpu", "max_tokens": 60, "texts_per_block": 4, "fidelity_texts": 0}


def run_slowly(reports: Connection, model: str, corpus: str, store: str, kinds: tuple[str, ...] | bool) -> None:
    """Extract, and send every stage."""
    torch.set_num_threads(1)
    state_writer.COMMIT_SECONDS, state_writer._COMMIT_SHARE = 0.05, 0.0
    run_block = HfSession.run_block

    def slowly(self, block, **kwargs):
        time.sleep(0.02)
        return run_block(self, block, **kwargs)

    HfSession.run_block = slowly
    reports.send("ready")
    extract_activations(
        model,
        corpus,
        store,
        **OPTIONS,
        stats_only=kinds,
        progress=lambda progress: reports.send(progress.stage),
    )


def run_until(file: str, *, is_created: bool, arguments: tuple[str, str, str], kinds: tuple[str, ...] | bool) -> None:
    """Extract, and be killed when a file of the log is about to be created, or has just been."""
    torch.set_num_threads(1)

    def dies(path: Path, parts: Iterable[bytes], *, sync: bool) -> bool:
        is_new = (path.name != file or is_created) and create_once(path, parts, sync=sync)
        if path.name == file:
            os.kill(os.getpid(), signal.SIGKILL)
        return is_new

    log.create_once = dies
    extract_activations(*arguments, **OPTIONS, stats_only=kinds)
