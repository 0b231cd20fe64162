from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actlas.errors import DamagedStore
from actlas.store import verify


def test_every_file_is_named_when_a_bit_of_it_changes(store: Path) -> None:
    assert verify(store).damage == ()
    one_of_each = {
        (path.relative_to(store).parts[0], path.name, len(path.parts)): path for path in store.rglob("*") if path.is_file()
    }
    for path in one_of_each.values():
        whole, name = path.read_bytes(), str(path.relative_to(store))
        path.write_bytes(bytes([whole[0] ^ 4]) + whole[1:])
        try:
            lines = verify(store).damage
        except DamagedStore as error:
            lines = (str(error),)
        assert any(name in line for line in lines), name
        path.write_bytes(whole)
    assert verify(store).damage == ()


def test_a_copied_manifest_and_other_strays_are_named_by_their_folders(store: Path) -> None:
    shutil.copytree(store / "manifests/planted-step64", store / "manifests/planted-step640")
    shutil.copytree(store / "cubes/planted-step64", store / "cubes/other")
    (store / "corpus/more.parquet").write_bytes(b"")
    (store / "notes.txt").write_text("mine")
    assert sorted(line for line in verify(store).damage if "no record names" in line) == [
        "corpus/more.parquet: no record names it",
        f"cubes/other: no record names any of its {sum(path.is_file() for path in (store / 'cubes/other').rglob('*'))} files",
        f"manifests/planted-step640: no record names any of its "
        f"{sum(path.is_file() for path in (store / 'manifests/planted-step640').rglob('*'))} files",
    ]


def test_a_lost_record_does_not_make_strays_of_what_it_named(store: Path) -> None:
    shutil.rmtree(store / "manifests/planted-step64/blocks")
    lines = verify(store).damage
    assert lines
    assert all(line.startswith("manifests/planted-step64/blocks/") and line.endswith(": missing") for line in lines)


def test_the_log_has_no_gap_and_every_mark_is_that_of_its_entry(store: Path) -> None:
    (store / "log/00000002.mark").write_text("0\n")
    assert verify(store).damage == ("log/00000002.mark: not the mark of the entry beside it",)
    (store / "log/00000002.mark").unlink()
    assert verify(store).damage == ("log/00000002.mark: missing",)


def test_the_mark_of_the_last_entry_is_missed_though_nothing_is_lost_by_it(store: Path) -> None:
    last = max((store / "log").glob("*.mark"))
    last.unlink()
    (line,) = verify(store).damage
    assert line.startswith(f"log/{last.name}: missing, or the last to write was stopped before it")
    (store / "log/00000002.json").unlink()
    with pytest.raises(DamagedStore, match="log/00000002.json is missing"):
        verify(store)
