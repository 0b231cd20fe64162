from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from actlas.errors import DamagedStore
from actlas.store.files.parquet import frame_of, parquet_bytes, parquet_columns, parquet_metadata, read_parquet, scan_parquet

FRAME = pl.DataFrame({"a": [1, 2], "language": ["en", "es"]})


@pytest.mark.parametrize("folder", ["run[12]", "r*", "r?n1", "~", "language=xx", "a%20b", "it's", "new\nline"])
def test_a_file_is_read_by_its_name_alone(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, frame in ((folder, FRAME), ("run1", FRAME.reverse())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x[1].parquet").write_bytes(parquet_bytes(frame, {"by": name}))
    monkeypatch.chdir(tmp_path)
    path = Path(folder) / "x[1].parquet"
    assert read_parquet(path).equals(FRAME)
    assert scan_parquet(path).collect().equals(FRAME)
    assert parquet_columns(path) == ["a", "language"]
    assert parquet_metadata(path)["by"] == folder


@pytest.mark.parametrize("content", [b"", b"nothing", None, parquet_bytes(FRAME)[:-9]])
@pytest.mark.parametrize("reader", [read_parquet, scan_parquet, parquet_columns, parquet_metadata])
def test_what_is_no_parquet_file_is_damage_that_names_it(tmp_path: Path, content: bytes | None, reader) -> None:
    path = tmp_path / "x.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedStore, match=f"^{path} is "):
        reader(path)


def test_bytes_that_are_no_parquet_file_are_damage() -> None:
    with pytest.raises(DamagedStore, match="x.parquet is not readable as Parquet"):
        frame_of(b"nothing", Path("x.parquet"))


def test_a_file_without_a_column_that_it_has_to_have_is_damage(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(parquet_bytes(FRAME))
    assert scan_parquet(tmp_path / "x.parquet", ["a"]).collect().equals(FRAME)
    with pytest.raises(DamagedStore, match="it has no column b, c$"):
        scan_parquet(tmp_path / "x.parquet", ["a", "b", "c"])
