"""Forward hooks that pool on the spot: what leaves a hook is one value per text, on the device, in the stored dtype."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from actlas.errors import CapturePointNotFound, ExtractionError
from actlas.extract.backends.base import Capture
from actlas.extract.inputs.batches import BlockTexts, TokenBatch
from actlas.extract.pooling.batch import BatchPlaces, BatchPooler
from actlas.extract.pooling.stage import BlockStage, Column
from actlas.extract.sites.resolve import SiteMap, site_shape


class Tap:
    """One side of one module."""

    def __init__(self, path: str, side: str, takes_first: bool) -> None:
        self.path = path
        self.side = side
        self.takes_first = takes_first
        self.columns: list[Column] = []

    def attach(self, model: torch.nn.Module, read: Callable[[Tap, torch.Tensor], None]) -> Any:
        """Register the hook; `read` gets the tensor that stands there."""
        try:
            module = model.get_submodule(self.path)
        except AttributeError as error:
            raise CapturePointNotFound(
                f"{type(model).__name__} has no module {self.path!r}; print the model to see its names"
            ) from error
        if self.side == "input":

            def before(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                read(self, self._tensor(args[0] if args else next(iter(kwargs.values()), None)))

            return module.register_forward_pre_hook(before, with_kwargs=True)

        def after(_: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
            read(self, self._tensor(output))

        return module.register_forward_hook(after)

    def _tensor(self, value: Any) -> torch.Tensor:
        # never value[0] of a tensor: that is the first text of the batch
        if isinstance(value, tuple) and (self.takes_first or len(value) == 1):
            value = value[0]
        if not isinstance(value, torch.Tensor):
            raise CapturePointNotFound(
                f"the {self.side} of {self.path} is a {type(value).__name__}, not a tensor; name a module that gives one"
            )
        return value


class Hooks:
    """The hooks of one model: attached once, filling the stage of whatever block runs.

    Args:
        model: The loaded model.
        places: Where the sites are.
        capture: What is wanted of them.
        device: Where the model is.
    """

    def __init__(self, model: torch.nn.Module, places: SiteMap, capture: Capture, device: torch.device) -> None:
        self.pooler = BatchPooler(capture, device)
        self.shapes: dict[str, tuple[int, int]] = {}
        self._places = places
        self._fired: dict[tuple[str, str], int] = {}
        self._widths: dict[tuple[str, str], int] = {}
        self._shape = (0, 0)
        self._batch: BatchPlaces | None = None
        self._stage: BlockStage | None = None
        keys = {(path, point.side): None for points in places.points.values() for point in points for path in point.modules}
        self._taps = {key: Tap(*key, takes_first=key[0] in places.takes_first) for key in keys}
        self._handles = [tap.attach(model, self._read) for tap in self._taps.values()]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def measure(self, forward: Callable[[], object], shape: tuple[int, int]) -> None:
        """Learn the width of every capture point from one forward pass over a batch of `shape`.

        Raises:
            CapturePointNotFound: If a module is not used, or is used more than once, or gives no tokens.
        """
        self._batch = self._stage = None
        self._fired, self._widths, self._shape = {}, {}, shape
        forward()
        self._check_fired()
        for site, points in self._places.points.items():
            widths = []
            for point in points:
                first = 0
                for path in point.modules:
                    width = self._widths[path, point.side]
                    self._taps[path, point.side].columns.append(Column(site, point.layer, first, first + width))
                    first += width
                widths.append(first)
            self.shapes[site] = site_shape(site, widths)

    def begin_block(self, block: BlockTexts, dtype: str) -> BlockStage:
        """A stage for a block; the batches that follow fill it."""
        self._stage = self.pooler.begin_block(block, dtype, self.shapes)
        return self._stage

    def run_batch(self, batch: TokenBatch, forward: Callable[[], Any]) -> Any:
        """Run one batch of the current block; every capture point must be reached exactly once."""
        stage = self._stage
        assert stage is not None, "a batch belongs to a block"
        self._batch = self.pooler.begin_batch(batch, stage)
        self._shape = self._batch.shape
        self._fired = {}
        answer = forward()
        self._check_fired()
        self._batch = None
        return answer

    def _check_fired(self) -> None:
        for (path, side), tap in self._taps.items():
            times = self._fired.get((tap.path, tap.side), 0)
            if times != 1:
                raise ExtractionError(
                    f"the {side} of {path} was reached {times} times in one forward pass, not once; "
                    "its values would not be those of the texts"
                )

    def _read(self, tap: Tap, value: torch.Tensor) -> None:
        texts, tokens = self._shape
        key = (tap.path, tap.side)
        self._fired[key] = self._fired.get(key, 0) + 1
        if value.shape[:-1] == (texts * tokens,):
            value = value.view(texts, tokens, -1)
        if value.ndim != 3 or value.shape[:2] != (texts, tokens):
            raise CapturePointNotFound(
                f"the {tap.side} of {tap.path} has shape {tuple(value.shape)} for a batch of {texts} texts and {tokens} "
                "tokens; a site needs one vector per token"
            )
        self._widths[key] = value.shape[2]
        if self._batch is not None and self._stage is not None:
            for column in tap.columns:
                self.pooler.store(column, value, self._batch, self._stage)


def describe_places(places: SiteMap) -> Mapping[str, list[str]]:
    """Site -> modules of its first layer, and the side, for the provenance record."""
    return {site: [f"{path}:{points[0].side}" for path in points[0].modules] for site, points in places.points.items()}
