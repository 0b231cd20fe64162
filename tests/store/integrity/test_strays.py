from __future__ import annotations

from pathlib import Path

from actlas.store.integrity.strays import stray_faults


def test_files_that_nothing_names_are_told_by_the_highest_folder_that_holds_no_other(tmp_path: Path) -> None:
    names = ("cubes/a/x/c/0", "cubes/a/y/c/0", "cubes/a/y/zarr.json", "cubes/b/x/c/0", "cubes/a/x/c/0.tmp", "notes/mine.txt")
    for name in (
        *names,
        "manifests/a/blocks/0.claim",
        "manifests/a/blocks/000000.mlp_pre.npy",
        "cubes/begun/x/c/0",
        "scores/zarr.json",
        "scores/begun/zarr.json",
        "tables/stray.txt",
        "README",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(stray_faults(tmp_path, ["cubes/a/x/c/0"], ["cubes/begun", "scores/begun/x"])) == [
        "cubes/a/y: no record names any of its 2 files",
        "cubes/b: no record names any of its 1 files",
        "tables/stray.txt: no record names it",
    ]
