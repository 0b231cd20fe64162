"""The identity of a set of weights, from its safetensors files alone: no torch, nothing loaded."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from actlas.errors import ModelNotLoaded


def weight_files(folder: Path) -> list[Path]:
    """Safetensors files that make up the checkpoint in a folder.

    Raises:
        ModelNotLoaded: If there are none, or one that the index names is missing.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ModelNotLoaded(f"{folder} lacks {len(missing)} of {len(names)} weight files: {', '.join(missing[:3])}")
        return [folder / name for name in names]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    others = sorted(path.name for suffix in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(suffix))
    instead = f" (it has {', '.join(others[:3])}, which can run code when loaded)" if others else ""
    raise ModelNotLoaded(f"no safetensors weights in {folder}{instead}; convert the checkpoint to safetensors first")


def weight_hash(folder: Path) -> str:
    """Hash of every tensor's name, dtype, shape and bytes.

    Two checkpoints with the same tensors have the same hash, however they were divided into files.

    Raises:
        ModelNotLoaded: If there are no safetensors files, or one is damaged.
    """
    tensors: list[tuple[str, str]] = []
    for path in weight_files(folder):
        tensors.extend(_hash_file(path))
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors):
        digest.update(f"{name}\0{tensor}\n".encode())
    return digest.hexdigest()[:32]


def _hash_file(path: Path) -> list[tuple[str, str]]:
    with path.open("rb") as file:
        size = path.stat().st_size
        n_header = _header_size(file.read(8), path, size)
        try:
            entries: dict[str, Any] = json.loads(file.read(n_header))
        except ValueError as error:
            raise ModelNotLoaded(f"{path} is damaged: its header is not JSON") from error
        entries.pop("__metadata__", None)
        start = 8 + n_header
        if any(start + entry["data_offsets"][1] > size for entry in entries.values()):
            raise ModelNotLoaded(f"{path} is cut short: its header promises more than its {size:,} bytes")
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


def _header_size(first: bytes, path: Path, size: int) -> int:
    if len(first) < 8 or struct.unpack("<Q", first)[0] + 8 > size:
        raise ModelNotLoaded(f"{path} is damaged: it is no safetensors file")
    return int(struct.unpack("<Q", first)[0])
