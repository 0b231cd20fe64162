from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actlas.store import Store
from actlas.store.integrity.manifests import read_manifests

FOLDER = "manifests/planted-step64"
SCORES = f"{FOLDER}/scores/mlp_pre.max"


@pytest.fixture
def store(one_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(one_checkpoint, tmp_path / "s"))


def faults(store: Path) -> list[str]:
    found: list[str] = []
    read_manifests(store, Store(store).corpus.languages, found)
    return found


def test_records_of_a_whole_store_agree(store: Path) -> None:
    found: list[str] = []
    (manifest,) = read_manifests(store, ("fr", "en", "es"), found)
    assert found == []
    assert (manifest.checkpoint, manifest.is_complete, sorted(manifest.blocks)) == ("planted-step64", True, [0, 1, 2])
    assert all(scores.is_done and sorted(scores.layers) == [0, 1] for scores in manifest.scores.values())
    records = {record for record, _ in manifest.shards()}
    assert all((store / record).is_file() for record in records)


@pytest.mark.parametrize(
    ("record", "edit", "fault"),
    [
        ("checkpoint.json", lambda data: data.update(step=7), "step differs from what begun.json says"),
        ("checkpoint.json", lambda data: data.update(checkpoint="x"), "it is the record of 'x', in the folder of"),
        ("checkpoint.json", lambda data: data.update(step="two"), "not a record"),
        ("checkpoint.json", lambda data: data["n_tokens"].update(en=1), "its n_tokens are not those of its blocks"),
        ("checkpoint.json", lambda data: data.update(sanity_loss=2.5), "its sanity_loss is 2.5, that of its blocks 1.0"),
        ("scores/mlp_pre.max/layer-0000.json", lambda data: data.update(layer=1), "it is the record of layer 1"),
        ("scores/mlp_pre.max/layer-0000.json", lambda data: data.update(shards=[]), "the records of layers beside it"),
    ],
)
def test_what_contradicts_another_record_is_a_fault(store: Path, record: str, edit: Callable[[Any], None], fault: str) -> None:
    path = store / FOLDER / record
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    assert any(fault in line and FOLDER in line for line in faults(store))


@pytest.mark.parametrize("content", ["", "[]", "3", '{"a": ', '{"crc39c": 1}'])
@pytest.mark.parametrize("record", ["begun.json", "checkpoint.json", "blocks/000000.json", "scores/mlp_pre.max/layer-0000.json"])
def test_what_is_no_record_is_a_fault_that_names_it(store: Path, record: str, content: str) -> None:
    (store / FOLDER / record).write_text(content)
    assert any(line.startswith(f"{FOLDER}/{record}: ") for line in faults(store))


def test_what_is_missing_is_a_fault(store: Path) -> None:
    (store / FOLDER / "begun.json").unlink()
    (store / SCORES / "settings.json").unlink()
    (store / SCORES / "layer-0001.json").unlink()
    assert sorted(faults(store)) == [
        f"{FOLDER}/begun.json: missing",
        f"{SCORES}/layer-0001.json: missing",
        f"{SCORES}/settings.json: missing",
    ]
