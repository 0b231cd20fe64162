"""A block in memory that the run shares with the ranks of an engine: they read its texts and write its values. numpy only.

Only a line of JSON travels between the processes, which says where the memory is. Ranks write their neurons into it and the
store encodes from it, so that no value is copied on the way and nothing is left of it when its processes are gone.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.extract.backends.base import Capture
from actlas.extract.inputs.batches import BlockTexts
from actlas.names import tuples
from actlas.store.layout import storage_dtype
from actlas.store.notes.health import HEALTH_ROWS
from actlas.store.values import BlockValues

#: Arrays begin at a multiple of this many bytes.
_ALIGNMENT = 64
_TEXT_FIELDS = tuple(BlockTexts.__dataclass_fields__)


def capture_to_json(capture: Capture) -> str:
    """A capture as text; `capture_from_json` undoes it."""
    return json.dumps(asdict(capture))


def capture_from_json(text: str) -> Capture:
    """The capture that `capture_to_json` wrote."""
    return Capture(**tuples(json.loads(text)))


@dataclass(frozen=True)
class ArrayPlace:
    """Where in the memory one array is."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


class SharedBlock:
    """One block: arrays of its texts, and arrays for its values, neurons last, so that every rank can fill in its own.

    Args:
        path: File that stands for the memory.
        places: Name -> where in it each array is.
        file: Descriptor of the file, for the process that made it.
    """

    def __init__(self, path: str, places: Mapping[str, ArrayPlace], file: int | None = None) -> None:
        self._path, self._places, self._file = path, dict(places), file
        opened = os.open(path, os.O_RDWR) if file is None else file
        try:
            # arrays keep the memory alive; neither the file nor this object has to
            self._memory = mmap.mmap(opened, 0)
        finally:
            if file is None:
                os.close(opened)

    @classmethod
    def create(cls, capture: Capture, shapes: Mapping[str, tuple[int, int]], block: BlockTexts) -> SharedBlock:
        """Memory that holds the texts and has room for their values.

        Args:
            capture: What is kept of them.
            shapes: Site -> (layers, neurons) over all ranks.
            block: The texts.
        """
        texts = {f"texts.{name}": value for name, value in vars(block).items() if value is not None}
        arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {name: (v.shape, v.dtype) for name, v in texts.items()}
        for site in capture.sites:
            layers, width = shapes[site]
            arrays[f"cube.{site}"] = (layers, block.n_texts, width), np.dtype(storage_dtype(capture.dtype_of(site)))
        for site in capture.token_sites:
            layers, width = shapes[site]
            arrays[f"tokens.{site}"] = (layers, len(block.sampled_rows), width), np.dtype(storage_dtype(capture.dtype_of(site)))
        for site in capture.sites:
            arrays[f"health.{site}"] = (len(HEALTH_ROWS), *shapes[site]), np.dtype(np.float64)
        for site in capture.count_sites:
            arrays[f"counts.{site}"] = (capture.n_count_rows, *shapes[site]), np.dtype(np.int64)
        places: dict[str, ArrayPlace] = {}
        size = 0
        for name, (shape, dtype) in arrays.items():
            places[name] = ArrayPlace(size, shape, dtype.str)
            size += -(-prod(shape) * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT
        file, path = _nameless_memory(max(size, _ALIGNMENT))
        made = cls(path, places, file)
        for name, value in texts.items():
            made.array(name)[...] = value
        return made

    @classmethod
    def open(cls, text: str) -> SharedBlock:
        """The block of which another process wrote `text` by `to_json`."""
        data = json.loads(text)
        return cls(data["path"], {name: ArrayPlace(**tuples(place)) for name, place in data["places"].items()})

    def to_json(self) -> str:
        """Where the block is; for `open`, in another process of this machine, until `close`."""
        return json.dumps({"path": self._path, "places": {name: asdict(place) for name, place in self._places.items()}})

    def array(self, name: str) -> NDArray[Any]:
        """One array of the memory itself, not a copy."""
        place = self._places[name]
        flat = np.frombuffer(self._memory, place.dtype, count=prod(place.shape), offset=place.offset)
        return flat.reshape(place.shape)

    def texts(self) -> BlockTexts:
        """The texts."""
        names = {name: f"texts.{name}" for name in _TEXT_FIELDS}
        return BlockTexts(**{name: self.array(full) if full in self._places else None for name, full in names.items()})  # type: ignore[arg-type]

    def fill(self, values: BlockValues, neurons: Mapping[str, NDArray[np.int64]]) -> None:
        """Write the neurons of one rank.

        Args:
            values: Their values, as a stage gives them.
            neurons: Site -> the number of each of them among all neurons of the site.
        """
        for site, array in values.cubes.items():
            self.array(f"cube.{site}")[..., _as_slice(neurons[site])] = array.transpose(0, 2, 1)
        for kind, arrays in (("tokens", values.tokens), ("counts", values.counts), ("health", values.health)):
            for site, array in arrays.items():
                self.array(f"{kind}.{site}")[..., _as_slice(neurons[site])] = array

    def values(self, capture: Capture, n_tokens: Sequence[int], loss_sum: float, loss_tokens: int) -> BlockValues:
        """The values of all ranks; arrays of the memory itself, which goes with the last of them."""
        return BlockValues(
            cubes={site: self.array(f"cube.{site}").transpose(0, 2, 1) for site in capture.sites},
            tokens={site: self.array(f"tokens.{site}") for site in capture.token_sites},
            counts={site: self.array(f"counts.{site}") for site in capture.count_sites},
            health={site: self.array(f"health.{site}") for site in capture.sites},
            n_tokens=np.array(n_tokens, dtype=np.int64),
            loss_sum=loss_sum,
            loss_tokens=loss_tokens,
        )

    def close(self) -> None:
        """Let no further process open the block; arrays that are in use stay."""
        if self._file is None:
            return
        os.close(self._file)
        self._file = None
        if not self._path.startswith("/proc/"):
            Path(self._path).unlink()


def _nameless_memory(size: int) -> tuple[int, str]:
    """A file of `size` bytes in memory, and a path under which processes of this machine open it.

    It has no name in any folder where the system allows that, and a name among temporary files elsewhere.
    """
    if sys.platform == "linux":
        file = os.memfd_create("actlas-block")
        path = f"/proc/{os.getpid()}/fd/{file}"
    else:
        file, path = tempfile.mkstemp(prefix="actlas-block-")
    os.ftruncate(file, size)
    return file, path


def _as_slice(numbers: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """The same index as a slice where the numbers are a range: assignment by a slice takes whole rows at a time."""
    first = int(numbers[0]) if len(numbers) else 0
    is_range = np.array_equal(numbers, np.arange(first, first + len(numbers)))
    return slice(first, first + len(numbers)) if is_range else numbers
