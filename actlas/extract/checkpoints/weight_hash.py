"""The identity of a set of weights, from its safetensors files alone: no torch, nothing loaded."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from actlas.errors import ModelNotLoaded

#: What transformers loads where it is there, and what it looks for next.
SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """Safetensors files that a checkpoint is loaded from: `model.safetensors`, or what its index names.

    Raises:
        ModelNotLoaded: If there are none, one that the index names is missing or lies outside of the folder, or the folder holds
            two sets of weights, of which transformers would load the one and other programs the other.
    """
    if (folder / "adapter_config.json").is_file():
        raise ModelNotLoaded(
            f"{folder} holds an adapter (adapter_config.json), whose weights are added to those of another model; merge the two "
            "and save the whole model, or take the file away if the weights beside it are whole"
        )
    single, index = folder / SINGLE_FILE, folder / INDEX_FILE
    if index.is_file():
        names = _indexed(index)
        if single.is_file() and names != [SINGLE_FILE]:
            raise ModelNotLoaded(
                f"{folder} holds two sets of weights: {SINGLE_FILE}, and {', '.join(names[:3])} of {INDEX_FILE}; transformers "
                "loads the first and other programs the second. Remove the one that is out of date, with its index"
            )
        return [folder / name for name in names]
    if single.is_file():
        return [single]
    others = sorted(path.name for suffix in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(suffix))
    instead = f" (it has {', '.join(others[:3])}, which can run code when loaded)" if others else ""
    raise ModelNotLoaded(f"no safetensors weights in {folder}{instead}; convert the checkpoint to safetensors first")


def _indexed(index: Path) -> list[str]:
    """Names of the files that an index is about, sorted."""
    folder = index.parent
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        outside = [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelNotLoaded(f"{index} is no index of weights: it needs a weight_map from tensors to files") from error
    if not names:
        raise ModelNotLoaded(f"{index} names no file")
    if outside:
        raise ModelNotLoaded(f"{index} names {outside[0]}, outside of its folder; weights are read from the folder alone")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelNotLoaded(f"{folder} lacks {len(missing)} of {len(names)} weight files: {', '.join(missing[:3])}")
    return names


def weight_hash(folder: Path) -> str:
    """Hash of every tensor's name, dtype, shape and bytes.

    Two checkpoints with the same tensors have the same hash, however they were divided into files.

    Raises:
        ModelNotLoaded: If there are no safetensors files, one is damaged or quantised, or a tensor is there twice.
    """
    tensors: list[tuple[str, str]] = []
    file_of: dict[str, Path] = {}
    for path in weight_files(folder):
        hashed = _hash_file(path)
        for name, _ in hashed:
            if (other := file_of.setdefault(name, path)) != path:
                raise ModelNotLoaded(f"{folder} holds tensor {name} twice, in {other.name} and {path.name}; one is out of date")
        tensors.extend(hashed)
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors):
        digest.update(f"{name}\0{tensor}\n".encode())
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class HashedWeights:
    """Weights as they were when they were hashed.

    Attributes:
        hash: See `weight_hash`.
        stamps: Size, times and inode of every file that decides what is loaded.
    """

    hash: str
    stamps: Mapping[Path, tuple[int, ...]]

    @classmethod
    def of(cls, folder: Path) -> HashedWeights:
        """Hash the weights in a folder.

        Raises:
            ModelNotLoaded: See `weight_hash`; also if they change meanwhile.
        """
        stamps = _stamps(folder)
        hashed = cls(weight_hash(folder), stamps)
        hashed.check(folder)
        return hashed

    def check(self, folder: Path) -> None:
        """Refuse weights that are not those that were hashed.

        Raises:
            ModelNotLoaded: Naming the files that were changed, added or removed since.
        """
        now = _stamps(folder)
        changed = sorted(path.name for path in {*now, *self.stamps} if now.get(path) != self.stamps.get(path))
        if changed:
            raise ModelNotLoaded(
                f"{', '.join(changed[:3])} in {folder} changed while the checkpoint was read, so its values would not be those "
                "of the weights that were hashed; run the same command again once nothing writes there"
            )


def _stamps(folder: Path) -> dict[Path, tuple[int, ...]]:
    index = folder / INDEX_FILE
    paths = [*weight_files(folder), folder / "config.json", *([index] if index.is_file() else [])]
    statuses = {path: path.stat() for path in paths if path.is_file()}
    return {path: (of.st_size, of.st_mtime_ns, of.st_ctime_ns, of.st_ino) for path, of in statuses.items()}


def tensor_entries(file: BinaryIO, path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Where the numbers of a safetensors file begin, and what its header says of each tensor.

    Raises:
        ModelNotLoaded: If it is damaged or quantised.
    """
    size = path.stat().st_size
    n_header = _header_size(file.read(8), path, size)
    try:
        entries: dict[str, Any] = json.loads(file.read(n_header))
    except ValueError as error:
        raise ModelNotLoaded(f"{path} is damaged: its header is not JSON") from error
    entries.pop("__metadata__", None)
    _refuse_eight_bits(path, entries)
    start = 8 + n_header
    if any(start + entry["data_offsets"][1] > size for entry in entries.values()):
        raise ModelNotLoaded(f"{path} is cut short: its header promises more than its {size:,} bytes")
    return start, entries


def _hash_file(path: Path) -> list[tuple[str, str]]:
    with path.open("rb") as file:
        start, entries = tensor_entries(file, path)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:

            def hash_tensor(item: tuple[str, dict[str, Any]]) -> tuple[str, str]:
                name, entry = item
                first, last = entry["data_offsets"]
                # hashlib lets other threads run while it hashes more than a few kilobytes
                with view[start + first : start + last] as tensor:
                    content = hashlib.blake2b(tensor, digest_size=16).hexdigest()
                return name, f"{entry['dtype']} {entry['shape']} {content}"

            with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
                return list(pool.map(hash_tensor, entries.items()))


def _refuse_eight_bits(path: Path, entries: Mapping[str, Any]) -> None:
    """Floats of 8 bits and less mean nothing without the scales that a quantisation keeps elsewhere."""
    found = next(
        ((name, entry["dtype"]) for name, entry in entries.items() if entry["dtype"].startswith(("F8_", "F6_", "F4"))), None
    )
    if found is not None:
        raise ModelNotLoaded(f"{path} is quantised: tensor {found[0]} is {found[1]}; extract the checkpoint that it was made of")


def _header_size(first: bytes, path: Path, size: int) -> int:
    if len(first) < 8 or struct.unpack("<Q", first)[0] + 8 > size:
        raise ModelNotLoaded(f"{path} is damaged: it is no safetensors file")
    return int(struct.unpack("<Q", first)[0])
