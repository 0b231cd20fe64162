"""kill -9 at random moments of scoring, then the same call again: the scores of an undisturbed run, byte for byte."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from actlas.errors import ScoresNotFound
from actlas.query import open_store, score_neurons
from actlas.testing.planted import planted_store
from tests.loaded import loaded
from tests.query.questions.slow_scores import STATS, score_slowly

N_KILLS = int(os.environ.get("ACTLAS_KILLS", "4"))


def scores_of(store: Path) -> dict[str, bytes]:
    """All bytes of scores and of their commit records; claims mean nothing to a reader."""
    files = [*(store / "scores").rglob("*"), *(store / "manifests").glob("*/scores/**/*")]
    return {
        str(path.relative_to(store)): path.read_bytes() for path in sorted(files) if path.is_file() and path.suffix != ".claim"
    }


def differing(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Files that are there once, or not the same."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    with loaded("tests.query.questions.slow_scores") as context:
        yield context


@pytest.mark.slow
def test_killed_scoring_ends_with_the_same_bytes(processes: ForkServerContext, tmp_path: Path) -> None:
    planted_store(tmp_path / "unscored")
    whole = Path(shutil.copytree(tmp_path / "unscored", tmp_path / "whole"))
    score_neurons(whole, stats=STATS)
    expected = scores_of(whole)
    chance = random.Random(0)
    store, n_midway = Path(shutil.copytree(tmp_path / "unscored", tmp_path / "store")), 0
    for kill in range(N_KILLS):
        reports, theirs = processes.Pipe(duplex=False)
        child = processes.Process(target=score_slowly, args=(theirs, str(store)))
        child.start()
        theirs.close()
        with suppress(EOFError):  # all that was left may be a record
            reports.recv()
        time.sleep(chance.uniform(0, 0.3))
        child.kill()
        child.join()
        reports.close()
        seen = open_store(store)
        finished = 0
        for checkpoint in seen.checkpoints:
            for site in seen.sites(checkpoint):
                try:
                    seen.scores(checkpoint, site)
                    finished += 1
                except ScoresNotFound:
                    continue
        if finished == len(seen.checkpoints) * len(seen.sites(seen.checkpoints[0])):
            # it came too late, or the ones before left little to do: go on with a new store
            assert differing(scores_of(store), expected) == []
            store = Path(shutil.copytree(tmp_path / "unscored", tmp_path / f"store-{kill}"))
        else:
            n_midway += 1
    score_neurons(store, stats=STATS)
    assert differing(scores_of(store), expected) == []
    assert n_midway > 0
