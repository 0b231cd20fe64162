"""A run in a process of its own, with pauses in it, so that there are moments to be killed in."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection

import torch

from actlas.extract import extract_activations
from actlas.extract.backends.hf.backend import HfSession
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
