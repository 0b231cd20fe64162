"""Two ways to know what is committed say the same of one store."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

import pytest

from actlas.errors import DamagedStore
from actlas.query import score_neurons
from actlas.store.committed import Logged, Manifests, generation_folders, is_committed, score_folder
from actlas.store.log import Log
from actlas.testing import Planting, planted_store

SCORES = "scores/planted-step64/mlp_pre.max"


@pytest.fixture(scope="module")
def half_scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = planted_store(tmp_path_factory.mktemp("half") / "s", Planting(steps=(0, 64), sharing=(0.0, 1.0)))
    score_neurons(path, stats=("ap",), checkpoints=["planted-step64"])
    return path


@pytest.fixture
def path(half_scored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(half_scored, tmp_path / "s"))


def test_a_log_and_the_records_themselves_say_the_same(path: Path) -> None:
    for committed in (Logged(path, Log(path)), Manifests(path)):
        assert sorted(committed.checkpoints()) == ["planted-step0", "planted-step64"]
        assert is_committed(committed, "planted-step64")
        assert not is_committed(committed, "planted-step65")
        assert committed.version(SCORES) is not None
        assert committed.version(SCORES.replace("64", "0")) is None
        assert committed.folder(SCORES) == PurePosixPath("manifests/planted-step64/scores/mlp_pre.max")
        assert score_folder(committed, SCORES) == SCORES
        assert [file.name for file, _ in committed.contents(SCORES, "layer-*.json")] == ["layer-0000.json", "layer-0001.json"]
        blocks = [file.name for file, _ in committed.contents("checkpoints/planted-step64", "blocks/*.json")]
        assert blocks == sorted(blocks)
        assert blocks


def test_only_a_log_knows_that_a_record_is_not_the_one(path: Path) -> None:
    record = path / generation_folders(SCORES, 1)[1] / "settings.json"
    record.write_bytes(record.read_bytes() + b" ")
    assert next(Manifests(path).contents(SCORES, "settings.json"))
    with pytest.raises(DamagedStore, match=r"settings\.json holds"):
        next(Logged(path, Log(path)).contents(SCORES, "settings.json"))
