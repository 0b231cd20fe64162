"""Records are read once, and again when they changed."""

from __future__ import annotations

import builtins
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actlas.errors import DamagedStore
from actlas.query import open_store, score_neurons
from actlas.store import Store
from actlas.store.contents import records
from actlas.testing.planted import Planting, planted_store

PLANTING = Planting(
    languages=("en", "es"),
    concepts=("salt", "water"),
    n_groups=12,
    sites={"attn_out": (2, 5), "mlp_hidden": (1, 7)},
    steps=(0, 64),
    sharing=(0.0, 1.0),
    n_planted=2,
    texts_per_block=16,
)
QUESTION = "SELECT checkpoint, site, layer, neuron, ap FROM scores WHERE checkpoint = 'planted-step64' AND neuron = 3"


@contextmanager
def counted_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every record of a store that is read inside, as often as it is read."""
    reads: list[str] = []
    opened = io.open

    def counting(file: object, *args: Any, **options: Any) -> Any:
        if isinstance(file, str | Path) and Path(file).suffix == ".json" and path / "manifests" in Path(file).parents:
            reads.append(str(Path(file).relative_to(path)))
        return opened(file, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(io, "open", counting)
        patched.setattr(builtins, "open", counting)
        yield reads


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "run.actlas"
    planted_store(path, PLANTING)
    score_neurons(path, stats=("ap", "mean"))
    return path


def test_a_question_reads_each_record_once_and_the_next_question_none(scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(scored)
    with counted_reads(scored, monkeypatch) as reads:
        first = store.sql(QUESTION)
    assert first.height == 3 * 4  # three neurons, two languages, two concepts
    assert reads
    # two checkpoints with two scored sites each, and of the sites that were asked for what completes them, and their layers
    assert len(reads) == len(set(reads)) <= 2 + 4 + 2 + 3
    store.sql("SELECT value FROM activations WHERE neuron = 1 LIMIT 1")
    for question in (QUESTION, "SELECT count(*) FROM checkpoints", "SELECT value FROM activations WHERE neuron = 1 LIMIT 1"):
        with counted_reads(scored, monkeypatch) as reads:
            store.sql(question)
            assert store.checkpoints == ["planted-step0", "planted-step64"]
            store.cube("planted-step64", "attn_out")
            store.scores("planted-step64", "attn_out")
            store.scored_sites("planted-step0")
        assert reads == []
    store.close()


def test_records_of_shards_stay_while_there_is_room(scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cubes = [(name, site) for name in ("planted-step0", "planted-step64") for site in ("attn_out", "mlp_hidden")]

    def reads_again(n_kept: int) -> int:
        monkeypatch.setattr(records, "_SHARDS_KEPT", n_kept)
        store = Store(scored)
        values = [store.scores(*cube).read("ap") for cube in cubes]
        with counted_reads(scored, monkeypatch) as reads:
            again = [store.scores(*cube).read("ap") for cube in cubes]
            layers = [name for name in reads if "layer-" in name]
        assert all(np.array_equal(one, two, equal_nan=True) for one, two in zip(values, again, strict=True))
        return len(layers)

    assert reads_again(50_000) == 0
    # of one alone, that of the last
    assert reads_again(1) > 0


def test_a_snapshot_stays_while_nothing_is_committed_and_says_what_there_is(scored: Path) -> None:
    store = Store(scored)
    snapshot = store.snapshot()
    assert store.snapshot() is snapshot
    assert list(snapshot.checkpoints) == store.checkpoints
    sites = ("attn_out", "mlp_hidden")
    assert list(snapshot.scores) == [(name, site) for name in ("planted-step0", "planted-step64") for site in sites]
    assert snapshot.scores["planted-step0", "attn_out"].stats == ("ap", "mean")
    assert snapshot.checkpoints["planted-step64"].step == 64
    assert snapshot.checkpoints["planted-step64"].shapes["attn_out"] == (2, 5, 24)


def test_what_another_process_commits_is_noticed(scored: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(scored, tmp_path / "copy"))
    store = Store(path)
    before = store.snapshot()

    def elsewhere(code: str) -> None:
        subprocess.run([sys.executable, "-c", f"path = {str(path)!r}\n{code}"], check=True, timeout=120)

    elsewhere("from actlas.query import score_neurons; score_neurons(path, stats=('auroc',), overwrite=True)")
    rescored = store.snapshot()
    assert rescored is not before
    assert store.scores("planted-step0", "attn_out").stats == ("auroc",)
    assert rescored.checkpoints["planted-step0"] is before.checkpoints["planted-step0"], "only what changed is read again"

    elsewhere(
        "from pathlib import Path; from dataclasses import replace; from tests.store.contents.test_records import PLANTING\n"
        "from actlas.testing.planted import planted_store\n"
        "planted_store(Path(path), replace(PLANTING, steps=(128,), sharing=(0.5,)))"
    )
    assert store.checkpoints == ["planted-step0", "planted-step64", "planted-step128"]


@pytest.mark.parametrize("lost", ["scores/attn_out.max/done.json", "scores/attn_out.max", "checkpoint.json", "."])
def test_records_that_were_committed_and_are_gone_are_damage(scored: Path, tmp_path: Path, lost: str) -> None:
    path = Path(shutil.copytree(scored, tmp_path / "copy"))
    file = path / "manifests/planted-step64" / lost
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()
    store = Store(path)
    with pytest.raises(DamagedStore, match="was committed and cannot be read"):
        _ = store.snapshot(), store.scores("planted-step64", "attn_out")


def test_records_that_no_entry_names_are_not_there(scored: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(scored, tmp_path / "copy"))
    shutil.copytree(path / "manifests/planted-step64", path / "manifests/planted-step9")
    shutil.copytree(path / "cubes/planted-step64", path / "cubes/planted-step9")
    assert Store(path).checkpoints == ["planted-step0", "planted-step64"]


@pytest.mark.parametrize("name", ["zarr.json", "corpus/texts.parquet", "corpus/labels.parquet"])
def test_other_contents_of_what_the_store_was_created_with_are_damage(scored: Path, tmp_path: Path, name: str) -> None:
    path = Path(shutil.copytree(scored, tmp_path / "copy"))
    data = (path / name).read_bytes()
    (path / name).write_bytes(data + b"\n")
    with pytest.raises(DamagedStore, match=name):
        _ = Store(path).corpus


@pytest.mark.parametrize("array", ["cubes/planted-step64/attn_out.max", "scores/planted-step64/attn_out.max"])
def test_a_group_with_other_metadata_or_coordinates_is_damage(scored: Path, tmp_path: Path, array: str) -> None:
    def read(path: Path) -> None:
        store = Store(path)
        _ = store.cube("planted-step64", "attn_out") if array.startswith("cubes") else store.scores("planted-step64", "attn_out")

    path = Path(shutil.copytree(scored, tmp_path / "copy"))
    read(path)
    small = [file for file in (path / array).rglob("*") if file.is_file() and not re.search(r"/(value|ap|mean)/c/", str(file))]
    assert len(small) > 5
    for file in small:
        data = file.read_bytes()
        file.write_bytes(data[:-1] + b" ")
        with pytest.raises(DamagedStore, match="does not hold what was committed"):
            read(path)
        file.write_bytes(data)
    read(path)


def test_a_provenance_that_is_changed_by_its_reader_stays_as_it_is_in_the_store(scored: Path) -> None:
    store = Store(scored)
    store.checkpoint("planted-step0")["step"] = 5
    assert store.checkpoint("planted-step0")["step"] == 0
