"""Processes for tests that kill them: copies of one that has loaded torch and the rest once, for that takes seconds each time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

import pytest


@contextmanager
def loaded(*modules: str) -> Iterator[ForkServerContext]:
    """Where processes start with `modules` loaded; they compute with one thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(modules))
        forkserver.ensure_running()
    try:
        yield context
    finally:
        forkserver._forkserver._stop()  # type: ignore[attr-defined]
