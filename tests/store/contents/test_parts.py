"""Parts of tables: one entry of the log makes them there, moves others and drops others; nothing is lost in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from actlas.store.contents.parts import Part, Tables
from actlas.store.log import Log

SHOWN: Part = ("t", "c", None)
BESIDE: Part = ("t", "c", "0a1b2c3d")


def begun(root: Path) -> Tables:
    log = Log(root)
    log.begin(())
    return Tables(root, log)


def put(tables: Tables, part: Part, data: bytes, only_if: Callable[[], bool] = lambda: True, **more: object) -> bool:
    return tables.publish(part, data, more.get("moves", {}), more.get("drops", ()), only_if)  # type: ignore[arg-type]


def contents(tables: Tables) -> dict[Part, bytes]:
    return {part: file.read_bytes() for part, file in tables.parts().items()}


@pytest.mark.parametrize("has_log", [True, False])
def test_parts_take_each_others_place_in_one_step(tmp_path: Path, has_log: bool) -> None:
    tables = begun(tmp_path) if has_log else Tables(tmp_path, None)
    assert put(tables, SHOWN, b"one")
    assert put(tables, SHOWN, b"two")
    assert put(tables, BESIDE, b"three")
    assert contents(tables) == {SHOWN: b"two", BESIDE: b"three"}
    other: Part = ("t", "c", "99999999")
    assert put(tables, SHOWN, b"four", moves={SHOWN: other}, drops=[BESIDE])
    assert contents(tables) == {SHOWN: b"four", other: b"two"}
    assert not put(tables, SHOWN, b"five", only_if=lambda: False)
    assert contents(tables) == {SHOWN: b"four", other: b"two"}
    assert len([file for file in (tmp_path / "tables").rglob("*") if file.is_file()]) == 2, "what is gone left no file"


def test_a_part_stays_until_the_entry_that_replaces_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = begun(tmp_path)
    put(tables, SHOWN, b"one")

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Log, "append", killed)
        with pytest.raises(Killed):
            put(tables, SHOWN, b"two")
    assert contents(tables) == {SHOWN: b"one"}
    with monkeypatch.context() as patch:
        patch.setattr(Tables, "_remove_retired", killed)
        with pytest.raises(Killed):
            put(tables, SHOWN, b"two")
    assert contents(tables) == {SHOWN: b"two"}
    put(tables, BESIDE, b"three")
    assert not any(file.read_bytes() == b"one" for file in (tmp_path / "tables").rglob("*.parquet"))


def test_of_two_that_want_a_place_at_once_the_second_is_asked_again(tmp_path: Path) -> None:
    tables, others = begun(tmp_path), Tables(tmp_path, Log(tmp_path))
    asked: list[bool] = []

    def is_free() -> bool:
        asked.append(SHOWN not in tables.parts())
        if len(asked) == 1:
            put(others, SHOWN, b"theirs")
        return asked[-1]

    assert not put(tables, SHOWN, b"ours", only_if=is_free)
    assert asked == [True, False]
    assert contents(tables) == {SHOWN: b"theirs"}
