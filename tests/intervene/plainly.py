"""The same interventions written out, one neuron at a time: what the real ones are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import polars as pl
import torch

from actlas.intervene import LiveModel

Batch = dict[str, torch.Tensor]


def padded(live: LiveModel, texts: list[str], side: str = "left") -> Batch:
    encoded = live.tokenizer(texts, return_tensors="pt", padding=True, padding_side=side)
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def logits_of(live: LiveModel, batch: Batch) -> torch.Tensor:
    with torch.inference_mode():
        return live.model(**batch).logits


def continued(live: LiveModel, batch: Batch, n_new: int = 6, **how: Any) -> list[list[int]]:
    """New tokens of every row."""
    how = {"do_sample": False, "eos_token_id": None, **how}
    tokens = live.model.generate(**batch, max_new_tokens=n_new, **how)
    return tokens[:, batch["input_ids"].shape[1] :].tolist()


def hooks_of(live: LiveModel) -> list[str]:
    """Modules that have hooks, once for each hook."""
    return [
        name
        for name, module in live.model.named_modules()
        for _ in (*module._forward_hooks, *module._forward_pre_hooks, *module._backward_hooks)
    ]


def columns_of(live: LiveModel, site: str, layer: int, neuron: int) -> tuple[str, str, int]:
    """Module, side and column of a neuron, by the widths that modules show when they run."""
    point, seen = live.points(site)[layer], {}
    with ExitStack() as stack:
        for path in point.modules:
            module = live.model.get_submodule(path)

            def note(_: Any, args: Any, output: Any, path: str = path) -> None:
                values = args[0] if point.side == "input" else output
                seen[path] = (values[0] if isinstance(values, tuple) else values).shape[-1]

            stack.callback(module.register_forward_hook(note).remove)
        live.model(torch.tensor([[5, 6]], device=live.device))
    index, n_parts = point.part
    for path in point.modules:
        width = seen[path] // n_parts
        if neuron < width:
            return path, point.side, index * width + neuron
        neuron -= width
    raise AssertionError(f"no neuron at {site} that far")


@contextmanager
def plain(live: LiveModel, frame: pl.DataFrame, how: str, strength: float = 1.0, *, first: int = 0) -> Iterator[None]:
    """Every row of the frame as a hook of its own, at the positions from `first` on."""

    def new(old: torch.Tensor, value: float) -> torch.Tensor:
        if how == "add":
            return old + strength * value
        if how == "scale":
            return old * (1 + strength * (value - 1))
        return torch.full_like(old, value) if strength == 1 else old + strength * (value - old)

    with ExitStack() as stack:
        for site, layer, neuron, value in frame.select("site", "layer", "neuron", "value").iter_rows():
            path, side, column = columns_of(live, site, layer, neuron)

            def change(values: Any, column: int = column, value: float = value) -> Any:
                whole = values[0] if isinstance(values, tuple) else values
                whole = whole.clone()
                # of a module that takes the tokens of all texts one after the other, all are changed
                part = whole[:, first:, column] if whole.ndim == 3 else whole[:, column]
                part.copy_(new(part, value))
                return (whole, *values[1:]) if isinstance(values, tuple) else whole

            module = live.model.get_submodule(path)
            if side == "input":
                handle = module.register_forward_pre_hook(lambda _, args, change=change: (change(args[0]), *args[1:]))
            else:
                handle = module.register_forward_hook(lambda _, __, output, change=change: change(output))
            stack.callback(handle.remove)
        yield
