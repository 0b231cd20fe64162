"""Forward hooks that pool on the spot: what leaves a hook is one value per text, on the device, in the stored dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from actlas.errors import CapturePointNotFound
from actlas.extract.backends.base import Capture
from actlas.extract.backends.taps import TapKey, Taps, has_module, tensor_of
from actlas.extract.inputs.batches import BlockTexts, TokenBatch
from actlas.extract.pooling.batch import BatchPlaces, BatchPooler
from actlas.extract.pooling.stage import BlockStage, Column
from actlas.extract.sites.resolve import SiteMap, site_shape


class Hooks:
    """The hooks of one model: attached once, filling the stage of whatever block runs.

    Args:
        model: The loaded model.
        places: Where the sites are.
        capture: What is read of them.
        device: Where the model is.
    """

    def __init__(self, model: torch.nn.Module, places: SiteMap, capture: Capture, device: torch.device) -> None:
        self.pooler = BatchPooler(capture, device)
        self.shapes: dict[str, tuple[int, int]] = {}
        self._places = places
        self._widths: dict[TapKey, int] = {}
        self._shape = (0, 0)
        self._is_paused = False
        #: What the values of the running batch are stored by, and where; None in a pass that only measures.
        self._target: tuple[BatchPlaces, BlockStage] | None = None
        #: Which columns a module gives, each with the part of its values that they are.
        self._columns: dict[TapKey, list[tuple[Column, tuple[int, int]]]] = {
            (path, point.side): [] for points in places.points.values() for point in points for path in point.modules
        }
        self._taps = Taps(model, self._columns, self._read)

    def remove(self) -> None:
        """Take the hooks off the model."""
        self._taps.remove()

    def measure(self, forward: Callable[[], object], shape: tuple[int, int]) -> None:
        """Learn the width of every capture point from one forward pass over a batch of `shape`.

        Raises:
            CapturePointNotFound: If a module is not used, or is used more than once, or gives no tokens.
        """
        self._widths = {}
        self._run_pass(forward, shape)
        for site, points in self._places.points.items():
            widths = []
            for point in points:
                first = 0
                for path in point.modules:
                    width = self._widths[path, point.side] // point.part[1]
                    self._columns[path, point.side].append((Column(site, point.layer, first, first + width), point.part))
                    first += width
                widths.append(first)
            self.shapes[site] = site_shape(site, widths)

    def begin_block(self, block: BlockTexts, dtype: str | None) -> BlockStage:
        """A stage for a block, for its batches to fill."""
        return self.pooler.begin_block(block, dtype, self.shapes)

    def run_batch(self, batch: TokenBatch, stage: BlockStage, forward: Callable[[], Any]) -> Any:
        """Run one batch of the block that `stage` belongs to.

        Args:
            batch: Its texts.
            stage: Gets their values.
            forward: Runs the model on them.

        Returns:
            What `forward` gives.

        Raises:
            ExtractionError: If a capture point was not reached exactly once.
        """
        places = self.pooler.begin_batch(batch, stage)
        self._target = places, stage
        try:
            return self._run_pass(forward, places.shape)
        finally:
            self._target = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within it the model can be run on anything, of which nothing is read here."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def _run_pass(self, forward: Callable[[], Any], shape: tuple[int, int]) -> Any:
        self._shape = shape
        self._taps.begin_pass()
        answer = forward()
        self._taps.check_pass()
        return answer

    def _read(self, key: TapKey, value: Any) -> None:
        if self._is_paused:
            return
        path, side = key
        tensor = tensor_of(value, key, "first" if path in self._places.takes_first else "only")
        texts, tokens = self._shape
        if tensor.shape[:-1] == (texts * tokens,):
            tensor = tensor.view(texts, tokens, -1)
        if tensor.ndim != 3 or tensor.shape[:2] != (texts, tokens):
            raise CapturePointNotFound(
                f"the {side} of {path} has shape {tuple(tensor.shape)} for a batch of {texts} texts and {tokens} tokens; "
                "a site needs one vector per token"
            )
        self._widths[key] = tensor.shape[2]
        if self._target is not None:
            for column, part in self._columns[key]:
                self.pooler.store(column, part_of(tensor, part), *self._target)


def part_of(tensor: torch.Tensor, part: tuple[int, int]) -> torch.Tensor:
    """The i-th of n equal ranges of the last axis.

    Example:
        >>> part_of(torch.arange(6), (1, 2)).tolist()
        [3, 4, 5]
    """
    index, n_parts = part
    width = tensor.shape[-1] // n_parts
    return tensor if n_parts == 1 else tensor[..., index * width : (index + 1) * width]


def present(places: SiteMap, model: torch.nn.Module) -> SiteMap:
    """Places in which every module that has two names (``q_proj|q_b_proj``) has the one that the model has."""
    points = {
        site: tuple(replace(point, modules=tuple(_named(model, path) for path in point.modules)) for point in each)
        for site, each in places.points.items()
    }
    return replace(places, points=points)


def _named(model: torch.nn.Module, path: str) -> str:
    parent, dot, names = path.rpartition(".")
    choices = [f"{parent}{dot}{name}" for name in names.split("|")]
    return next((choice for choice in choices[:-1] if has_module(model, choice)), choices[-1])


def describe_places(places: SiteMap) -> Mapping[str, list[str]]:
    """Site -> modules of its first layer, the side, and which part of what is there, for the provenance record."""
    described = {}
    for site, points in places.points.items():
        index, n_parts = points[0].part
        part = f":{index + 1} of {n_parts}" if n_parts > 1 else ""
        described[site] = [f"{path}:{points[0].side}{part}" for path in points[0].modules]
    return described
