from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr

from actlas.store import layout
from actlas.store.files import group_writer
from actlas.store.files.codecs import CODECS
from actlas.store.files.group_writer import coordinate_files, create_groups
from actlas.store.groups import ArrayGroup, Coordinate, cube_group, score_group

CODEC = CODECS["lz4"]


def a_cube(n_texts: int = 10) -> ArrayGroup:
    return cube_group("cubes/c/s.max", layout.cube_plan(2, 3, n_texts, 4, "float16"), 3 * np.arange(n_texts))


def create(root: Path, *groups: ArrayGroup, store_format: int = layout.FORMAT_VERSION) -> None:
    create_groups(root, groups, CODEC, store_format=store_format, sync=False)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_group_is_its_arrays_and_its_coordinates(tmp_path: Path) -> None:
    create(tmp_path, a_cube())
    assert set(contents(tmp_path)) == {
        "cubes/zarr.json",
        "cubes/c/zarr.json",
        "cubes/c/s.max/zarr.json",
        "cubes/c/s.max/value/zarr.json",
        *(f"cubes/c/s.max/{name}/{file}" for name in ("layer", "neuron", "text_id") for file in ("zarr.json", "c/0")),
    }
    group = zarr.open_group(tmp_path / "cubes/c/s.max", mode="r")
    assert group["text_id"][:].tolist() == list(range(0, 30, 3))
    assert group["value"].shape == (2, 3, 10)


@pytest.mark.parametrize("values", [np.arange(9), np.linspace(0, 1, 9), np.array(["", "ü", "日本語"] * 3, dtype=object)])
@pytest.mark.parametrize("chunk", [4, 9])
def test_every_kind_of_coordinate_comes_back(tmp_path: Path, values: np.ndarray, chunk: int) -> None:
    coordinate = Coordinate("name", "dim", values, 9 if values.dtype.kind == "O" else chunk)
    for name, data in coordinate_files(coordinate, CODEC).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    array = zarr.open_array(tmp_path, mode="r")
    assert list(array[:]) == list(values)
    assert array.metadata.dimension_names == ("dim",)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["0"]


@pytest.mark.parametrize("n_files", range(8))
def test_a_killed_creation_leaves_no_group_and_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_files: int
) -> None:
    written = []

    def one_at_a_time(path: Path, parts: list[bytes], *, sync: bool) -> bool:
        if len(written) > n_files:
            raise KeyboardInterrupt
        written.append(path)
        return create_once(path, parts, sync=sync)

    create_once = group_writer.create_once
    monkeypatch.setattr(group_writer, "create_once", one_at_a_time)
    monkeypatch.setattr(group_writer, "_FLUSHES", 1)
    with pytest.raises(KeyboardInterrupt):
        create(tmp_path / "killed", a_cube())
    assert not (tmp_path / "killed" / "cubes/c/s.max/zarr.json").exists()
    monkeypatch.undo()
    create(tmp_path / "killed", a_cube())
    create(tmp_path / "whole", a_cube())
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_many_create_the_same_group_at_once(tmp_path: Path) -> None:
    create(tmp_path / "alone", a_cube())
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda _: create(tmp_path / "together", a_cube()), range(8)):
            pass
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")


def test_what_is_there_stays(tmp_path: Path) -> None:
    create(tmp_path, a_cube())
    before = contents(tmp_path)
    create(tmp_path, cube_group("cubes/c/s.max", layout.cube_plan(9, 9, 9, 9, "float32"), np.arange(9)))
    assert contents(tmp_path) == before


def test_format_1_has_arrays_alone(tmp_path: Path) -> None:
    scores = score_group("scores/c/s.max", {"ap": layout.score_plan(1, 1, 2, 3, "ap")}, ["en"], ["salt"])
    create(tmp_path, a_cube(), scores, store_format=1)
    assert set(contents(tmp_path)) == {
        "cubes/zarr.json",
        "cubes/c/zarr.json",
        "cubes/c/s.max/zarr.json",
        "scores/zarr.json",
        "scores/c/zarr.json",
        "scores/c/s.max/zarr.json",
        "scores/c/s.max/ap/zarr.json",
    }
    assert dict(zarr.open_array(tmp_path / "cubes/c/s.max", mode="r").attrs) == {"logical_dtype": "float16"}
