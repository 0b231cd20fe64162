"""Stores of earlier versions get a log: nothing that they answer changes, and what they could not tell apart is refused then."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from actlas.errors import DamagedStore, StoreError
from actlas.names import Checkpoint
from actlas.query import open_store, score_neurons, top_experts
from actlas.query.keep import kept_parts
from actlas.store import Store, layout, upgrade, verify
from actlas.store.files import Claim
from actlas.store.files.locks import writers_claim
from actlas.store.records import DIGESTS
from actlas.store.write import upgrade as module
from actlas.testing.planted import Planting, planted_store
from tests.store.conftest import Planted

PLANTING = Planting(steps=(0, 64), sharing=(0.0, 1.0), sites={"mlp_hidden": (2, 8), "mlp_pre": (2, 8)}, n_planted=2)
OLD = Path(__file__).resolve().parents[2] / "data" / "store_v1"
V1, V2 = "format 1", "format 2"


def aged(path: Path) -> Path:
    """Make a store one of format 2 from before there was a log: with the sums of files, and without what came with the log."""
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["actlas"].pop("log", None)
    (path / "zarr.json").write_text(json.dumps(root))
    shutil.rmtree(path / "log", ignore_errors=True)
    for file in (path / "manifests").rglob("*.json"):
        record = json.loads(file.read_text())
        record.pop("files", None)
        record.pop("records", None)
        for shard in record.get("shards", ()):
            shard.pop("digest", None)
            shard.pop("chunk_sums", None)
            shard["crc32c"] = google_crc32c.value((path / shard["path"]).read_bytes())
        file.write_text(json.dumps(record))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stores of earlier versions with scores and kept answers."""
    path = planted_store(tmp_path_factory.mktemp("old") / "v2", PLANTING)
    score_neurons(aged(path), stats=("ap", "mean"))
    aged(path)
    top_experts(open_store(path, "a"), k=2)
    return {V1: OLD, V2: path}


@pytest.fixture(params=[V1, V2])
def old(request: pytest.FixtureRequest, made: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[request.param], tmp_path / "old"))


@pytest.fixture
def old_2(made: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[V2], tmp_path / "old"))


def files_of(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def answers(path: Path) -> dict[str, Any]:
    """Everything that can be read, and whether kept answers still stand."""
    store = open_store(path)
    found: dict[str, Any] = {}
    for checkpoint in store.checkpoints:
        found[checkpoint] = store.checkpoint(checkpoint)
        for site in store.sites(checkpoint):
            found[checkpoint, site] = store.cube(checkpoint, site).read()
            for stat in ("ap", "mean"):
                found[checkpoint, site, stat] = store.scores(checkpoint, site).read(stat)
        found[checkpoint, "counts"] = store.token_counts(checkpoint).active
        found[checkpoint, "tokens"] = store.token_cube(checkpoint, "resid").read(0)
    found["experts"] = store.sql("SELECT * FROM experts ORDER BY ALL")
    found["kept"] = [(part.name, part.checkpoint, part.is_current(store)) for part in kept_parts(store, "experts")]
    return found


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, pl.DataFrame):
            assert_frame_equal(value, other[key])
        else:
            np.testing.assert_equal(value, other[key])


def swap(path: Path, one: str, other: str) -> None:
    files = path / one, path / other
    data = [file.read_bytes() for file in files]
    files[0].write_bytes(data[1])
    files[1].write_bytes(data[0])


def test_nothing_it_answers_changes_and_it_is_whole(old: Path) -> None:
    before, was = answers(old), files_of(old)
    seen: list[tuple[int, int, int]] = []
    done = upgrade(old, lambda *step: seen.append(step))
    assert not done.had_log
    assert done.n_shards == len(seen) == seen[-1][0] == seen[-1][1]
    assert done.n_bytes == seen[-1][2]
    assert_same(before, answers(old))
    now = files_of(old)
    # whatever was there is what it was, but for what the store says of itself
    assert {name for name in was if now[name] != was[name]} == {"zarr.json"}
    found = verify(old)
    assert (found.damage, found.has_log) == ((), True)
    assert found.n_shards == done.n_shards


def test_it_says_of_its_shards_what_a_new_store_says(old_2: Path, tmp_path: Path) -> None:
    upgrade(old_2)
    new = Store(planted_store(tmp_path / "new", PLANTING))
    for name, record in new.snapshot().checkpoints.items():
        theirs = Store(old_2)._records.shards(Store(old_2).snapshot().checkpoints[name])
        for array, shards in new._records.shards(record).items():
            for index, shard in shards.items():
                assert (shard.digest, shard.chunk_sums) == (theirs[array][index].digest, theirs[array][index].chunk_sums)


def test_kept_answers_go_on_standing(old_2: Path) -> None:
    upgrade(old_2)
    store = open_store(old_2)
    parts = list(kept_parts(store, "experts"))
    assert [part.is_current(store) for part in parts] == [True, True]
    assert all(part.path.name == "part.parquet" for part in parts)
    top_experts(open_store(old_2, "a"), k=3)
    top_experts(open_store(old_2, "a"), k=1, sites=["mlp_pre"])
    assert verify(old_2).damage == ()


def test_what_has_a_log_is_left_alone(old: Path) -> None:
    upgrade(old)
    before = files_of(old)
    assert upgrade(old).had_log
    assert files_of(old) == before


def test_swapped_shards_pass_before_and_are_refused_then(old_2: Path) -> None:
    upgraded = Path(shutil.copytree(old_2, old_2.parent / "upgraded"))
    upgrade(upgraded)
    scores = [f"scores/planted-step0/mlp_pre.max/ap/c/0/0/{layer}/0" for layer in (0, 1)]
    vectors = [f"tokens/planted-step0/resid/value/c/0/{block}/0" for block in (0, 1)]
    for path in (old_2, upgraded):
        swap(path, *scores)
        swap(path, *vectors)
    assert verify(old_2).damage == ()
    assert {line.partition(":")[0] for line in verify(upgraded).damage} == {*scores, *vectors}
    store = open_store(upgraded)
    with pytest.raises(DamagedStore, match="is not the one that was committed"):
        store.scores("planted-step0", "mlp_pre").read("ap")
    with pytest.raises(DamagedStore, match="is not the one that was committed"):
        store.token_cube("planted-step0", "resid").read(0)


def test_lost_scores_and_coordinates_are_refused_then(old: Path) -> None:
    upgrade(old)
    lost = sorted(old.glob("scores/planted-step64/mlp_hidden.max/ap/c/0/0/0/0"))[0]
    lost.unlink()
    with pytest.raises(DamagedStore, match="was committed"):
        open_store(old).scores("planted-step64", "mlp_hidden").read("ap")
    metadata = next(path for path in sorted(old.glob("cubes/planted-step0/mlp_hidden.max/**/zarr.json")))
    metadata.write_bytes(metadata.read_bytes() + b" ")
    with pytest.raises(DamagedStore, match="was|committed"):
        open_store(old).cube("planted-step0", "mlp_hidden").read()
    assert len(verify(old).damage) == 2


def test_a_lost_record_is_missed_then(old: Path) -> None:
    upgrade(old)
    (old / "manifests/planted-step0/checkpoint.json").unlink()
    with pytest.raises(DamagedStore):
        _ = open_store(old).checkpoints


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: next(iter(sorted(path.glob("cubes/*/*/**/c/0/0/0")))).unlink(),
        lambda path: next(iter(sorted(path.glob("scores/*/*/ap/c/0/0/0/0")))).write_bytes(b"other"),
        lambda path: (path / "corpus/labels.parquet").write_bytes(b"other"),
        lambda path: next(iter(sorted(path.glob("manifests/*/blocks/000000.json")))).write_text("{"),
    ],
)
def test_a_damaged_store_is_refused_and_stays_as_it_was(old: Path, harm: Callable[[Path], None]) -> None:
    harm(old)
    before = files_of(old)
    fault = verify(old).damage[0]
    with pytest.raises(DamagedStore, match="stays as it is") as error:
        upgrade(old)
    assert fault in str(error.value)
    assert files_of(old) == before


class Stopped(Exception):
    pass


def test_stopped_at_any_write_it_is_what_it_was_and_can_be_run_again(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from actlas.store import log
    from actlas.store.files import group_writer

    before, is_done, steps = answers(old), False, 0
    while not is_done:
        left = [steps]

        def stopping(write: Callable[..., Any], left: list[int] = left) -> Callable[..., Any]:
            def either(*args: Any, **options: Any) -> Any:
                if left[0] == 0:
                    raise Stopped
                left[0] -= 1
                return write(*args, **options)

            return either

        with monkeypatch.context() as patch:
            for where, name in (
                (module, "write_atomically"),
                (log, "write_atomically"),
                (log, "create_once"),
                (group_writer, "create_once"),
            ):
                patch.setattr(where, name, stopping(getattr(where, name)))
            try:
                upgrade(old)
                is_done = True
            except Stopped:
                steps += 1
        found = verify(old)
        assert (found.damage, found.has_log) == ((), is_done)
        if not is_done:
            assert Store(old).log is None
    assert steps > 5
    assert_same(before, answers(old))


def test_it_waits_for_no_one(old_2: Path) -> None:
    for file in (writers_claim(old_2), old_2 / "manifests/planted-step0/scores/mlp_pre.claim"):
        with Claim.hold(file), pytest.raises(StoreError, match="a run is writing into"):
            upgrade(old_2)
    upgrade(old_2)


def test_whoever_opened_it_before_writes_nothing_into_it(old_2: Path) -> None:
    opened = open_store(old_2, "a")
    upgrade(old_2)
    before = files_of(old_2)
    with pytest.raises(StoreError, match="upgraded since it was opened"):
        opened.publish_table("notes", "planted-step0", pl.DataFrame({"note": ["late"]}), {})
    with pytest.raises(StoreError, match="upgraded since it was opened"):
        opened.score_writer(
            "planted-step0", "mlp_pre", stats=["mean"], languages=["en"], concepts=["water"], settings={}, overwrite=True
        )
    assert files_of(old_2) == before


def test_it_goes_on_with_a_log(old: Path) -> None:
    upgrade(old)
    score_neurons(old, stats=("auroc",), overwrite=True)
    top = open_store(old, "a")
    assert top.scores("planted-step64", "mlp_hidden").stats == ("auroc",)
    assert verify(old).damage == ()
    assert not list(old.glob(f"manifests/*/scores/mlp_hidden.max/{DIGESTS}"))


def test_a_new_checkpoint_of_an_upgraded_store(old: Path) -> None:
    from dataclasses import replace

    from tests.test_can_read_old import PLANTING as FIRST

    upgrade(old)
    planting = FIRST if Store(old).about["format"] == 1 else PLANTING
    planted_store(old, replace(planting, steps=(128,), sharing=(0.5,)))
    score_neurons(old, stats=("ap", "mean"))
    assert open_store(old).checkpoints == ["planted-step0", "planted-step64", "planted-step128"]
    assert verify(old).damage == ()


@pytest.mark.parametrize("store_format", [1, 2])
def test_states_of_either_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_format: int) -> None:
    monkeypatch.setattr(layout, "FORMAT_VERSION", store_format)
    path = planted_store(tmp_path / "old", Planting(steps=(0,), sharing=(0.0,), states=("moments", "histogram")))
    aged(path)
    score_neurons(path, stats=("mean",))
    before = Store(path).states("planted-step0", "mlp_pre").read("total", 1)
    upgrade(path)
    np.testing.assert_array_equal(before, Store(path).states("planted-step0", "mlp_pre").read("total", 1))
    assert verify(path).damage == ()
    score_neurons(path, stats=("mean", "std"), overwrite=True)
    assert verify(path).damage == ()


def test_a_checkpoint_that_was_begun_goes_on_with_its_blocks(planted: Planted, tmp_path: Path) -> None:
    path = tmp_path / "begun"
    with planted.writer(path) as writer:
        begun = planted.begin(writer)
        for _ in range(2):
            block = begun.claim_next()
            assert block is not None
            begun.write_block(block, planted.block(block.start, block.stop))
        begun.release_claims()
    aged(path)
    upgrade(path)
    assert verify(path).damage == ()
    assert Store(path).checkpoints == []
    with planted.writer(path) as writer:
        begun = planted.begin(writer)
        assert len(begun.pending) == len(begun.blocks) - 2
        while (block := begun.claim_next()) is not None:
            begun.write_block(block, planted.block(block.start, block.stop))
        assert begun.finish()
    assert verify(path).damage == ()
    assert Store(path).checkpoints == [Checkpoint("model-step1", "model", 1).id]


def test_scores_that_were_begun_go_on_with_their_layers(old_2: Path) -> None:
    names = {"stats": ["mean"], "languages": ["en"], "concepts": ["water"], "settings": {}}
    layer = {"mean": np.zeros((1, 1, 8), np.float32)}
    shutil.rmtree(old_2 / "manifests/planted-step0/scores/mlp_pre.max")
    shutil.rmtree(old_2 / "scores/planted-step0/mlp_pre.max")
    with Store(old_2, "a").score_writer("planted-step0", "mlp_pre", **names) as writer:
        writer.write_layer(0, layer)
    record = old_2 / "manifests/planted-step0/scores/mlp_pre.max/layer-0000.json"
    said = json.loads(record.read_text())
    for shard in said["shards"]:
        del shard["digest"], shard["chunk_sums"]
        shard["crc32c"] = google_crc32c.value((old_2 / shard["path"]).read_bytes())
    record.write_text(json.dumps(said))
    upgrade(old_2)
    with Store(old_2, "a").score_writer("planted-step0", "mlp_pre", **names) as writer:
        assert writer.pending_layers() == [1]
        writer.write_layer(1, layer)
        writer.finish()
    assert verify(old_2).damage == ()


def test_a_store_that_lost_what_it_says_of_its_log_is_no_old_one(tmp_path: Path) -> None:
    path = planted_store(tmp_path / "new", PLANTING)
    root = json.loads((path / "zarr.json").read_text())
    del root["attributes"]["actlas"]["log"]
    (path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(DamagedStore, match="says nothing of the log beside it"):
        upgrade(path)
