"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import settings

# before any import of torch or transformers: tests never reach for a hub
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# the report of a failure shows what functions were called with, and to show a relation DuckDB runs it, which may never end
duckdb.DuckDBPyRelation.__repr__ = object.__repr__

# machines that run tests are shared: no deadline can be trusted there
settings.register_profile("actlas", deadline=None)
settings.load_profile("actlas")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, in each of the halves that two processes begin with: what is short levels them out."""
    slow = list(dict.fromkeys(item.path for item in items if item.get_closest_marker("slow")))
    first, second = ([item for item in items if item.path in slow[start::2]] for start in (0, 1))
    short = [item for item in items if item.path not in slow]
    beside = max(0, len(items) // 2 - len(first))
    items[:] = [*first, *short[:beside], *second, *short[beside:]]


@pytest.fixture(autouse=True)
def _every_message_is_logged() -> None:
    """The command line sets the level of messages for its process (`--quiet`), which here is that of all tests."""
    logging.getLogger("actlas").setLevel(logging.NOTSET)


@pytest.fixture(scope="session", autouse=True)
def _short_waits() -> None:
    """Models here are tiny: two threads of torch spend longer waiting for each other than they save."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture
def ctrl_c_interrupts() -> Iterator[None]:
    """Also in the background of a shell, whose jobs ignore it; waits go on after a signal, as where polars was imported."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.siginterrupt(signal.SIGINT, False)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def ntrex() -> Path:
    """Folder of the NTREX-128 texts: ACTLAS_NTREX, or shared/data/ntrex-128 beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "ntrex-128"
    folder = Path(os.environ.get("ACTLAS_NTREX", beside))
    if not (folder / "eng.txt").is_file():
        pytest.skip(f"no NTREX-128 texts at {folder}; set ACTLAS_NTREX to their folder")
    return folder
