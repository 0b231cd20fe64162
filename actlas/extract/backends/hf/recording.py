"""Whole tensors of a few tokens, as the sites of a model give them, and runs in which some of them are replaced."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from actlas.extract.backends.hf.hooks import part_of
from actlas.extract.backends.taps import TapKey, Taps, module_at, tensor_of
from actlas.extract.sites.streams import Embedding
from actlas.names import CapturePoint


@dataclass(frozen=True)
class Texts:
    """Token ids of a few texts, ready to run.

    Attributes:
        token_ids: int64 ``"texts tokens"``, filled up.
        mask: int64, the same; 1 where there is a token.
    """

    token_ids: torch.Tensor
    mask: torch.Tensor

    @classmethod
    def of(cls, lists: list[list[int]], pad_id: int, device: torch.device, *, side: str = "right") -> Texts:
        """Texts filled up on one side.

        Example:
            >>> Texts.of([[5, 6], [7]], 0, torch.device("cpu"), side="left").token_ids.tolist()
            [[5, 6], [0, 7]]
        """
        longest = max(map(len, lists))
        rows, marks = [], []
        for ids in lists:
            filled, ones, zeros = [pad_id] * (longest - len(ids)), [1] * len(ids), [0] * (longest - len(ids))
            rows.append([*ids, *filled] if side == "right" else [*filled, *ids])
            marks.append([*ones, *zeros] if side == "right" else [*zeros, *ones])
        return cls(torch.tensor(rows, device=device), torch.tensor(marks, device=device))

    @property
    def shape(self) -> tuple[int, int]:
        """Texts and tokens."""
        texts, tokens = self.token_ids.shape
        return texts, tokens

    def run(self, base: torch.nn.Module, embedding: Embedding) -> Any:
        """The base model on these texts, told where padding is, and positions where it does not find them itself."""
        inputs: dict[str, Any] = {"input_ids": self.token_ids, "use_cache": False}
        if not bool(self.mask.all()):
            inputs["attention_mask"] = self.mask
        takes_positions = "position_ids" in inspect.signature(base.forward).parameters and not embedding.finds_padding
        # a text that does not begin at the first column has its first position all the same
        if not bool(self.mask[:, 0].all()) and takes_positions:
            inputs["position_ids"] = (self.mask.cumsum(1) - 1).clamp(min=0)
        return base(**inputs)


@dataclass
class Recorded:
    """What one pass gave.

    Attributes:
        texts: What was run.
        values: Module and side -> ``"texts tokens neurons"``, as a copy.
        n_reached: How often each of them ran.
    """

    texts: Texts
    values: dict[TapKey, torch.Tensor] = field(default_factory=dict)
    n_reached: dict[TapKey, int] = field(default_factory=dict)

    def at(self, path: str, side: str = "output") -> torch.Tensor:
        """``"tokens neurons"`` of one side of a module; of tokens alone, one text after the other."""
        return self.values[path, side][self.texts.mask.bool()]

    def point(self, point: CapturePoint) -> torch.Tensor:
        """The same at a capture point."""
        return self.whole(point)[self.texts.mask.bool()]

    def whole(self, point: CapturePoint) -> torch.Tensor:
        """``"texts tokens neurons"`` at a capture point."""
        return torch.cat([part_of(self.values[path, point.side], point.part) for path in point.modules], dim=-1)

    def has(self, point: CapturePoint) -> bool:
        """Whether every module of a point was reached."""
        return all((path, point.side) in self.values for path in point.modules)


def record(
    model: torch.nn.Module, keys: Iterable[TapKey], takes_first: Iterable[str], texts: Texts, run: Callable[[Texts], object]
) -> Recorded:
    """Run a model once and keep what some of its modules take or give.

    Args:
        model: The model.
        keys: Paths and sides.
        takes_first: Paths whose output is a tuple of which the first entry is meant.
        texts: Run.
        run: Runs them.
    """
    recorded, firsts = Recorded(texts), frozenset(takes_first)

    def read(key: TapKey, value: Any) -> None:
        path, side = key
        tensor = tensor_of(value, key, "first" if path in firsts and side == "output" else "only")
        # a copy, because what comes next may be computed in its place
        recorded.values[key] = _by_text(tensor, texts.shape).detach().clone()

    taps = Taps(model, keys, read)
    try:
        taps.begin_pass()
        run(texts)
        recorded.n_reached = taps.n_reached
    finally:
        taps.remove()
    return recorded


def _by_text(tensor: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """``"texts tokens neurons"``, where a module may do without texts, or give the same to each."""
    texts, tokens = shape
    rows = tensor.reshape(-1, tensor.shape[-1])
    if len(rows) == texts * tokens:
        return rows.view(texts, tokens, -1)
    if len(rows) == tokens:
        return rows.expand(texts, tokens, -1)
    return tensor


@contextmanager
def replaced(model: torch.nn.Module, values: Mapping[TapKey, torch.Tensor]) -> Iterator[None]:
    """Within it, modules take or give these values whatever they would have."""
    handles = [_replace(module_at(model, path, ""), side, tensor) for (path, side), tensor in values.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _replace(module: torch.nn.Module, side: str, tensor: torch.Tensor) -> Any:
    if side == "input":
        return module.register_forward_pre_hook(lambda _, args: (tensor.view_as(args[0]), *args[1:]))
    return module.register_forward_hook(lambda _, __, output: tensor.view_as(output).clone())
