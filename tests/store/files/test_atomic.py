from __future__ import annotations

from pathlib import Path

import pytest

from actlas.store.files.atomic import write_atomically


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomically(path, [b"old"])

    def parts() -> object:
        yield b"new"
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError):
        write_atomically(path, parts())
    assert path.read_bytes() == b"old"
    write_atomically(path, [b"ne", b"w"])
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
