"""What can befall the files of a store: damages that are done to it in place, and undone."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

#: path inside the store -> content; None for a file that is to go.
Files = dict[str, bytes | None]


@dataclass(frozen=True)
class Damage:
    """One damage.

    Attributes:
        kind: What is done.
        places: Paths that a report may name, one of which it has to.
        files: What the store's files then are.
    """

    kind: str
    places: tuple[str, ...]
    files: Files

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.places[0]}"


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store."""
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


@contextmanager
def damaged(store: Path, damage: Damage, whole: dict[str, bytes]) -> Iterator[None]:
    """The store with the damage done to it."""
    for path, data in damage.files.items():
        _put(store / path, data)
    try:
        yield
    finally:
        for path in damage.files:
            _put(store / path, whole.get(path))


def _put(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)
        # a folder that nothing is left in was made by the damage, or goes with it
        while not any(path.parent.iterdir()):
            path = path.parent
            path.rmdir()
            if not path.parent.exists():
                break
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def damages(whole: dict[str, bytes], seed: int = 0) -> list[Damage]:
    """All damages of a store, in an order that does not depend on the seed of what is drawn inside them."""
    rng = random.Random(seed)
    found = [damage for path, data in whole.items() for damage in _of_file(path, data, whole, rng)]
    found += _of_folders(whole)
    found += [Damage(kind, (path,), {path: data}) for kind, path, data in _by_hand(whole)]
    return [damage for damage in found if any(data != whole.get(path) for path, data in damage.files.items())]


def _of_file(path: str, data: bytes, whole: dict[str, bytes], rng: random.Random) -> Iterator[Damage]:
    for kind, at in (("first byte", 0), ("middle byte", len(data) // 2), ("last byte", len(data) - 1)):
        if data:
            yield Damage(kind, (path,), {path: data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]})
    yield Damage("cut to half", (path,), {path: data[: len(data) // 2]})
    yield Damage("emptied", (path,), {path: b""})
    yield Damage("deleted", (path,), {path: None})
    siblings = [other for other in whole if other != path and _class(other) == _class(path) and whole[other] != data]
    if siblings:
        other = rng.choice(siblings)
        yield Damage("swapped", (path, other), {path: whole[other], other: data})
    if path.endswith(".json"):
        digits = [match.start() for match in re.finditer(rb"\d", data)]
        if digits:
            at = rng.choice(digits)
            yield Damage("digit", (path,), {path: data[:at] + str((data[at] - 48 + 1) % 10).encode() + data[at + 1 :]})
    if path.endswith(".parquet"):
        frame, metadata = pl.read_parquet(io.BytesIO(data)), pl.read_parquet_metadata(io.BytesIO(data))
        metadata.pop("ARROW:schema", None)
        buffer = io.BytesIO()
        frame.reverse().write_parquet(buffer, compression="zstd", metadata=metadata)
        yield Damage("rows reversed", (path,), {path: buffer.getvalue()})


def _class(path: str) -> str:
    """What files of the same kind have in common: all of a path but names and numbers."""
    top, _, rest = path.partition("/")
    return f"{top}/{re.sub(r'[0-9]+', '#', rest.rpartition('/')[2])}/{rest.count('/')}"


def _of_folders(whole: dict[str, bytes]) -> Iterator[Damage]:
    for checkpoint in sorted({path.split("/")[1] for path in whole if path.startswith("manifests/") and path.count("/") > 1}):
        folder = f"manifests/{checkpoint}"
        own = {path: data for path, data in whole.items() if path.startswith(f"{folder}/")}
        yield Damage("manifest deleted", (folder,), dict.fromkeys(own))
        copies: Files = {path.replace(folder, f"{folder}0", 1): data for path, data in own.items()}
        yield Damage("manifest copied", (f"{folder}0",), copies)
        for path in own:
            if path.endswith("done.json"):
                scores = path.rpartition("/")[0]
                yield Damage("records of scores deleted", (scores,), dict.fromkeys(one for one in own if one.startswith(scores)))


def _by_hand(whole: dict[str, bytes]) -> Iterator[tuple[str, str, bytes]]:
    """Edits of JSON that leave it JSON."""

    def edited(path: str, edit: Callable[[Any], Any]) -> bytes:
        data = json.loads(whole[path])
        replaced = edit(data)
        return (json.dumps(data if replaced is None else replaced, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    def about(**changes: Any) -> Callable[[Any], None]:
        return lambda data: data["attributes"]["actlas"].update(changes)

    root = json.loads(whole["zarr.json"])["attributes"]["actlas"]
    other_recipe = {**root["recipe"], "max_tokens": 7}
    for kind, changes in (
        ("recipe changed", {"recipe": other_recipe}),
        ("unknown key of the recipe", {"recipe": {**root["recipe"], "surprise": 1}}),
        ("fingerprint of the recipe", {"recipe_fingerprint": "0" * 16}),
        ("fingerprint of the corpus", {"corpus_fingerprint": "0" * 16}),
        ("unknown codec", {"codec": "lzma"}),
        ("other codec", {"codec": "zstd"}),
        ("format is text", {"format": "1"}),
        ("other format", {"format": 1}),
        ("texts per block", {"texts_per_block": 8}),
    ):
        yield kind, "zarr.json", edited("zarr.json", about(**changes))
    for path in _one_of_each_class(whole):
        name = path.rpartition("/")[2]
        if name == "zarr.json" or (path.startswith("manifests/") and name.endswith(".json")):
            yield "a list", path, b"[]\n"
            yield "a number", path, b"3\n"
            yield "an empty object", path, b"{}\n"
        if name == "zarr.json":
            yield "no attributes", path, edited(path, lambda data: data.update(attributes=None))
            if json.loads(whole[path]).get("node_type") == "array":
                yield "smaller shape", path, edited(path, lambda data: data.update(shape=[max(1, n - 1) for n in data["shape"]]))
                yield "other dtype", path, edited(path, lambda data: data.update(data_type="int16"))
                yield "no chunks", path, edited(path, _with_no_chunks)
                yield "logical dtype", path, edited(path, lambda data: data["attributes"].update(logical_dtype="bfloat16"))
        elif name == "settings.json":
            yield "languages reversed", path, edited(path, lambda data: data["languages"].reverse())
            yield "concepts reversed", path, edited(path, lambda data: data["concepts"].reverse())
            yield "statistic left out", path, edited(path, lambda data: data["stats"].pop())
        elif name == "checkpoint.json":
            yield "step is text", path, edited(path, lambda data: data.update(step="two"))
            yield "other step", path, edited(path, lambda data: data.update(step=7))
            yield "smaller shapes", path, edited(path, _with_smaller_shapes)
            yield "site left out", path, edited(path, lambda data: data.update(cubes=data["cubes"][1:], states={}))
            yield "other id", path, edited(path, lambda data: data.update(checkpoint="other"))
        if path.startswith("manifests/") and b'"shards"' in whole[path]:
            yield "no shards", path, edited(path, lambda data: data.update(shards=[]))
            yield "one letter of a key", path, whole[path].replace(b"crc32c", b"crc39c", 1)
            yield "path outside", path, edited(path, lambda data: [one.update(path="../../x") for one in data["shards"]] and None)


def _one_of_each_class(whole: dict[str, bytes]) -> list[str]:
    """Of files that are alike but for the names and numbers in their paths, the last one."""
    return sorted({(_class(path), path.split("/")[-2:][0]): path for path in sorted(whole)}.values())


def _with_no_chunks(data: Any) -> None:
    shape = data["chunk_grid"]["configuration"]["chunk_shape"]
    data["chunk_grid"]["configuration"]["chunk_shape"] = [0] * len(shape)


def _with_smaller_shapes(data: Any) -> None:
    for name in ("shapes", "states"):
        for site, shape in (data.get(name) or {}).items():
            data[name][site] = [shape[0], shape[1] - 1, *shape[2:]]


def working_copy(store: Path, folder: Path) -> Path:
    """A copy to be damaged, so that a run that is stopped in the middle leaves the store whole."""
    return Path(shutil.copytree(store, folder / store.name))
