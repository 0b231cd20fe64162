from __future__ import annotations

from pathlib import Path

import pytest

from actlas.errors import DamagedStore
from actlas.store.files import digests
from actlas.store.files.digests import check_file, checked_bytes, file_record, record_files


def test_a_file_is_what_its_record_says_or_damage(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"water")
    (record,) = record_files(tmp_path, ["a"])
    assert record == file_record("a", b"water")
    assert checked_bytes(tmp_path, record) == b"water"
    (tmp_path / "a").write_bytes(b"waters")
    with pytest.raises(DamagedStore, match="a holds 6 bytes, and 5 were committed"):
        checked_bytes(tmp_path, record)
    (tmp_path / "a").write_bytes(b"wader")
    with pytest.raises(DamagedStore, match="a does not hold what was committed"):
        check_file(tmp_path, record)
    (tmp_path / "a").unlink()
    with pytest.raises(DamagedStore, match=r"a was committed and cannot be read \(No such file"):
        check_file(tmp_path, record)


def test_a_file_that_did_not_change_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"water")
    record = file_record("a", b"water")
    reads: list[str] = []
    original = digests.checked_bytes
    monkeypatch.setattr(digests, "checked_bytes", lambda root, asked: reads.append(asked.path) or original(root, asked))
    for _ in range(3):
        assert check_file(tmp_path, record) == tmp_path / "a"
    assert reads == ["a"]
    (tmp_path / "b").write_bytes(b"wader")
    (tmp_path / "b").replace(tmp_path / "a")
    with pytest.raises(DamagedStore):
        check_file(tmp_path, record)
