"""What goes between the run and the ranks of an engine, as files: a block of texts there, its values back. numpy only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.extract.backends.base import Capture
from actlas.extract.inputs.batches import BlockTexts
from actlas.names import tuples
from actlas.store.layout import storage_dtype
from actlas.store.values import BlockValues

_TEXTS = "texts.npz"


def write_texts(folder: Path, block: BlockTexts) -> None:
    """Put a block where ranks find it."""
    arrays = {name: value for name, value in vars(block).items() if value is not None}
    np.savez(folder / _TEXTS, **arrays)


def read_texts(folder: Path) -> BlockTexts:
    """The block that `write_texts` put there."""
    with np.load(folder / _TEXTS, allow_pickle=False) as arrays:
        return BlockTexts(**{"is_special": None, **{name: arrays[name] for name in arrays.files}})


def capture_to_json(capture: Capture) -> str:
    """A capture as text; `capture_from_json` undoes it."""
    return json.dumps(asdict(capture))


def capture_from_json(text: str) -> Capture:
    """The capture that `capture_to_json` wrote."""
    return Capture(**tuples(json.loads(text)))


@dataclass(frozen=True)
class BlockFiles:
    """Arrays of one block in a folder, neurons last, so that every rank can fill in its own.

    Attributes:
        folder: Where they are.
    """

    folder: Path

    def _path(self, kind: str, site: str) -> Path:
        return self.folder / f"{kind}.{site}.npy"

    def create(self, capture: Capture, shapes: Mapping[str, tuple[int, int]], block: BlockTexts) -> None:
        """Make the files, empty, at their full size."""
        stored = np.dtype(storage_dtype(capture.dtype))
        for site in capture.sites:
            layers, width = shapes[site]
            self._create("cube", site, (layers, block.n_texts, width), stored)
        for site in capture.token_sites:
            layers, width = shapes[site]
            self._create("tokens", site, (layers, len(block.sampled_rows), width), stored)
        for site in capture.count_sites:
            self._create("counts", site, (capture.n_count_rows, *shapes[site]), np.dtype(np.int64))

    def _create(self, kind: str, site: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if 0 in shape:
            np.save(self._path(kind, site), np.zeros(shape, dtype), allow_pickle=False)
            return
        made = np.lib.format.open_memmap(self._path(kind, site), mode="w+", dtype=dtype, shape=shape)
        del made

    def fill(self, values: BlockValues, neurons: Mapping[str, NDArray[np.int64]]) -> None:
        """Write the neurons of one rank.

        Args:
            values: Their values, as a stage gives them.
            neurons: Site -> the number of each of them among all neurons of the site.
        """
        for site, array in values.cubes.items():
            self._fill("cube", site, array.transpose(0, 2, 1), neurons[site])
        for site, array in values.tokens.items():
            self._fill("tokens", site, array, neurons[site])
        for site, array in values.counts.items():
            self._fill("counts", site, array, neurons[site])

    def _fill(self, kind: str, site: str, array: NDArray[Any], neurons: NDArray[np.int64]) -> None:
        if not array.size:
            return
        target = np.load(self._path(kind, site), mmap_mode="r+", allow_pickle=False)
        target[..., neurons] = array
        target.flush()

    def read(self, capture: Capture, n_tokens: Sequence[int], loss_sum: float, loss_tokens: int) -> BlockValues:
        """The values of all ranks."""
        return BlockValues(
            cubes={site: self._read("cube", site).transpose(0, 2, 1) for site in capture.sites},
            tokens={site: self._read("tokens", site) for site in capture.token_sites},
            counts={site: self._read("counts", site) for site in capture.count_sites},
            n_tokens=np.array(n_tokens, dtype=np.int64),
            loss_sum=loss_sum,
            loss_tokens=loss_tokens,
        )

    def _read(self, kind: str, site: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(self._path(kind, site), allow_pickle=False)
        return array
