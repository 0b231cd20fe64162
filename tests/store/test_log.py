"""The log: entries follow from each other, none is lost without a word, and two writers never have one number."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from actlas.errors import DamagedStore
from actlas.store.files.digests import FileRecord, digest
from actlas.store.log import Change, Log, LogState

FILES = (FileRecord("a/b", 1, digest(b"a")),)


def filled(root: Path, n_entries: int = 4) -> Path:
    log = Log(root)
    log.begin(FILES)
    for number in range(2, n_entries + 1):
        log.append(lambda _, name=f"checkpoints/{number}": Change({name: FILES}))  # type: ignore[misc]
    return root / "log"


def test_what_was_added_last_is_what_there_is(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    log = Log(tmp_path)
    before = log.read()
    assert (before.number, sorted(before.holds)) == (3, ["checkpoints/2", "checkpoints/3", "store"])
    assert log.read() is before
    other = (FileRecord("c", 2, digest(b"cc")),)
    Log(tmp_path).append(lambda _: Change({"checkpoints/3": other}, ["checkpoints/2"]))
    after = log.read()
    assert after.names("checkpoints") == ["checkpoints/3"]
    assert after.holds["checkpoints/3"] == other
    assert after.n_added == {"store": 1, "checkpoints/2": 1, "checkpoints/3": 2}
    assert before.names("checkpoints") == ["checkpoints/2", "checkpoints/3"], "a state that was read stays as it is"
    log.append(lambda _: Change({"tables/x": other}, ["checkpoints/3"]))
    assert "c" not in log.read().retired, "what has moved is not gone"
    log.append(lambda _: Change({}, ["tables/x"]))
    assert "c" in log.read().retired
    assert Log(tmp_path).read().holds == log.read().holds == {"store": FILES}


def test_nothing_is_written_where_nothing_is_to_change(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    names = sorted(os.listdir(folder))
    assert Log(tmp_path).append(lambda _: None).number == 4
    assert sorted(os.listdir(folder)) == names


def spoil(folder: Path, damage: str) -> None:
    last, middle = folder / "00000004.json", folder / "00000002.json"
    if damage == "the last entry is lost":
        last.unlink()
    elif damage == "the last entry is emptied":
        last.write_bytes(b"")
    elif damage == "the last entry is another one":
        entry = json.loads(last.read_bytes())
        last.write_text(json.dumps({**entry, "adds": {}}))
    elif damage == "an entry is lost":
        middle.unlink()
    elif damage == "an entry is another one":
        middle.write_bytes(middle.read_bytes().replace(b"checkpoints/2", b"checkpoints/7"))
    elif damage == "an entry is no entry":
        middle.write_bytes(b"[1]")
    elif damage == "two entries are swapped":
        third = folder / "00000003.json"
        one, other = middle.read_bytes(), third.read_bytes()
        middle.write_bytes(other)
        third.write_bytes(one)
    elif damage == "all is lost":
        for file in folder.iterdir():
            file.unlink()
    elif damage == "the folder is lost":
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@pytest.mark.parametrize(
    "damage",
    [
        "the last entry is lost",
        "the last entry is emptied",
        "the last entry is another one",
        "an entry is lost",
        "an entry is another one",
        "an entry is no entry",
        "two entries are swapped",
        "all is lost",
        "the folder is lost",
    ],
)
def test_a_log_with_damage_is_refused(tmp_path: Path, damage: str) -> None:
    folder = filled(tmp_path)
    spoil(folder, damage)
    with pytest.raises(DamagedStore, match=str(folder)):
        Log(tmp_path).read()


def test_a_writer_that_died_before_its_mark_did_no_harm(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    (folder / "00000004.mark").unlink()
    (folder / "00000005.json.0123456789ab.tmp").write_bytes(b"{")
    assert Log(tmp_path).read().number == 4
    assert Log(tmp_path).append(lambda _: Change({"checkpoints/5": FILES})).number == 5
    assert Log(tmp_path).read().number == 5


@pytest.mark.parametrize("is_first", [True, False])
def test_the_next_writer_writes_the_mark_of_one_that_died(tmp_path: Path, is_first: bool) -> None:
    mark = filled(tmp_path, 1 if is_first else 4) / ("00000001.mark" if is_first else "00000004.mark")
    written = mark.read_bytes()
    for complete in (Log(tmp_path).complete, lambda: Log(tmp_path).append(lambda _: None)):
        mark.unlink()
        Log(tmp_path).read()
        assert not mark.exists(), "who only reads writes nothing"
        complete()
        assert mark.read_bytes() == written
    mark.unlink()
    Log(tmp_path).append(lambda _: Change({"checkpoints/later": FILES}))
    assert mark.read_bytes() == written, "one that is not the last any more"


def test_an_attempt_to_create_a_store_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    filled(tmp_path)
    Log(tmp_path).begin(())
    assert Log(tmp_path).read().holds == {"store": ()}
    assert sorted(os.listdir(tmp_path / "log")) == ["00000001.json", "00000001.mark"]


def append_many(root: Path, name: str, n_entries: int) -> None:
    log = Log(root)
    for number in range(n_entries):
        log.append(lambda _, number=number: Change({f"tables/{name}-{number}": FILES}), sync=False)  # type: ignore[misc]


def test_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append_many, args=(tmp_path, name, 15)) for name in "abcd"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    state = Log(tmp_path).read()
    assert state.number == 1 + 4 * 15
    assert sorted(state.names("tables")) == sorted(f"tables/{name}-{number}" for name in "abcd" for number in range(15))
    assert not list((tmp_path / "log").glob("*.tmp"))


def test_a_writer_that_was_second_decides_again(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    seen: list[int] = []

    def decide(state: LogState) -> Change | None:
        seen.append(state.number)
        if len(seen) == 1:
            Log(tmp_path).append(lambda _: Change({"tables/first": FILES}))
        return None if "tables/first" in state.holds else Change({"tables/second": FILES})

    state = Log(tmp_path).append(decide)
    assert seen == [1, 2]
    assert state.names("tables") == ["tables/first"]
