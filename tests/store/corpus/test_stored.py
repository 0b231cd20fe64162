from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actlas.errors import DamagedStore
from actlas.store.corpus import stored
from actlas.store.corpus.stored import publish, read_published

FILES = ("a.bin", "b.bin")
OLD, NEW = ({name: f"{age} {name}".encode() * 50 for name in FILES} for age in ("old", "new"))


def publish_as(folder: Path, age: str) -> None:
    publish(folder, "about.json", {"age": age}, OLD if age == "old" else NEW)


def read(folder: Path) -> tuple[str, dict[str, bytes]]:
    about, contents = read_published(folder, "about.json", FILES)
    return about["age"], contents


def test_what_is_published_is_read(tmp_path: Path) -> None:
    publish_as(tmp_path / "c", "old")
    assert read(tmp_path / "c") == ("old", OLD)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["a.bin", "about.json", "b.bin"]
    publish_as(tmp_path / "c", "new")
    assert read(tmp_path / "c") == ("new", NEW)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["a.bin", "about.json", "b.bin"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from actlas.store.corpus import stored
n_left = int(sys.argv[2])
def counted(real):
    def step(*args, **rest):
        global n_left
        if n_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        n_left -= 1
        return real(*args, **rest)
    return step
os.replace, os.fsync = counted(os.replace), counted(os.fsync)
files = {name: f"new {name}".encode() * 50 for name in ("a.bin", "b.bin")}
stored.publish(Path(sys.argv[1]), "about.json", {"age": "new"}, files)
"""


def test_a_writer_killed_at_any_step_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parents[3])
    ages = []
    for n_steps in range(40):
        folder = tmp_path / str(n_steps)
        publish_as(folder, "old")
        ended = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(n_steps), root], capture_output=True, check=False)
        age, contents = read(folder)
        assert contents == (NEW if age == "new" else OLD)
        ages.append(age)
        # the next writer clears what the killed one left
        publish_as(folder, "new")
        assert sorted(path.name for path in folder.iterdir()) == ["a.bin", "about.json", "b.bin"]
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert ages == sorted(ages, reverse=True)  # old at first, new from one step on
    assert set(ages) == {"old", "new"}


@pytest.mark.parametrize("n_written", range(4))
def test_a_disk_that_is_full_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_written: int) -> None:
    publish_as(tmp_path, "old")
    whole, calls = stored.write_atomically, []

    def write(path: Path, parts: list[bytes]) -> None:
        calls.append(path)
        if len(calls) > n_written:
            raise OSError(28, "No space left on device")
        whole(path, parts)

    monkeypatch.setattr(stored, "write_atomically", write)
    if n_written < 3:
        with pytest.raises(OSError, match="No space"):
            publish_as(tmp_path, "new")
    else:
        publish_as(tmp_path, "new")
    assert read(tmp_path) == (("old", OLD) if n_written < 3 else ("new", NEW))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "about.json", "b.bin"]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:9] + b"x" + data[10:], lambda data: b""])
@pytest.mark.parametrize("name", ["a.bin", "b.bin", "about.json"])
def test_damage_is_named(tmp_path: Path, name: str, damage) -> None:
    publish_as(tmp_path, "old")
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes().rstrip()))
    with pytest.raises(DamagedStore, match=f"{tmp_path / name} "):
        read(tmp_path)


def test_files_of_another_corpus_and_edited_records_are_damage(tmp_path: Path) -> None:
    publish_as(tmp_path / "one", "old")
    publish_as(tmp_path / "two", "new")
    os.replace(tmp_path / "two" / "b.bin", tmp_path / "one" / "b.bin")
    with pytest.raises(DamagedStore, match="b.bin does not hold what was written"):
        read(tmp_path / "one")
    with pytest.raises(DamagedStore, match="b.bin is missing"):
        read(tmp_path / "two")
    publish_as(tmp_path / "one", "old")
    record = tmp_path / "one" / "about.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "age": "ancient"}))
    with pytest.raises(DamagedStore, match="about.json does not hold what was written"):
        read(tmp_path / "one")
    record.write_text("[]")
    with pytest.raises(DamagedStore, match="about.json holds no object"):
        read(tmp_path / "one")


def test_a_reader_looks_again_while_a_writer_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_as(tmp_path, "old")
    whole, has_begun = Path.read_bytes, []

    def read_bytes(path: Path) -> bytes:
        data = whole(path)
        if path.name == "about.json" and not has_begun:
            has_begun.append(True)
            publish_as(tmp_path, "new")
        return data

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert read(tmp_path) == ("new", NEW)
