"""Neurons set, shifted, multiplied or taken away while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from actlas.allowed import Number, checks_arguments
from actlas.errors import InterventionError
from actlas.intervene.frames import Frames, Placed, placed
from actlas.intervene.live import LiveModel
from actlas.names import How, Position

if TYPE_CHECKING:
    from actlas.intervene.edits import Edit


@checks_arguments(InterventionError)
def steer(
    live: LiveModel,
    frame: Frames,
    how: How = "set",
    position: Position = "all",
    strength: Number = 1.0,
) -> AbstractContextManager[None]:
    """A context in which neurons of a model have other values, wherever it runs: in a forward pass or in `generate`.

    Without a frame, or with an empty one, the model is not touched. Rows of a batch without a frame give bit for bit what they
    give in the same batch without steering.

    Args:
        live: The model.
        frame: Columns site, layer, neuron and value: one frame for all rows of a batch, or a list with one for every row, where
            None or an empty one leaves its row alone. Beams and several answers to a prompt lie beside each other, and all have
            the frame of their prompt.
        how: "set" to the value; "add" it; "scale": multiply by it.
        position: "all" positions of every pass; or the "last" of each: of the prompt, and then of every new token. Batches are
            padded on the left then. (Without a cache every pass runs on the whole text, and only its end is steered.)
        strength: How much of it is done: 0 nothing, 1 as the frame says. A value that is added is multiplied by it; what is set
            or scaled goes that part of the way.

    Returns:
        The context. Contexts can be nested, where the inner one acts on what the outer one gives.

    Raises:
        InterventionError: If a frame lacks a column, holds NaN, or a neuron twice.
        NeuronNotFound: If the model lacks a neuron.
        WeightsDiffer: If column weight_hash of a frame names other weights.
        SiteNotProved: If the model has no such proved site.

    Source: Suau et al. 2022, section 4.2, for values that are set at every position.

    Example:
        >>> import torch
        >>> frame = pl.DataFrame({"site": ["mlp_pre"], "layer": [1], "neuron": [3], "value": [2.5]})
        >>> ids = torch.tensor([[5, 6, 7]])
        >>> with torch.inference_mode(), steer(live, frame):
        ...     steered = live.model(ids).logits
        >>> with torch.inference_mode():
        ...     torch.equal(steered, live.model(ids).logits)
        False
    """
    return _context(live, frame, how, position, strength)


@checks_arguments(InterventionError)
def ablate(live: LiveModel, frame: Frames, how: Literal["zero", "mean", "damp"] = "zero") -> AbstractContextManager[None]:
    """A context in which neurons of a model say nothing, or less.

    Args:
        live: The model.
        frame: Columns site, layer, neuron, and what `how` asks for; or a list, as in `steer`.
        how: "zero"; "mean": their mean, in column value; "damp": multiplied by 2(1 - AUROC) of column auroc, where that is above
            0.5, so that the better a neuron detects what it should not say, the less is left of it.

    Returns:
        The context, as that of `steer`.

    Raises:
        InterventionError: If a frame lacks a column, holds NaN, a neuron twice, or an auroc outside of 0 to 1.
        NeuronNotFound: If the model lacks a neuron.
        WeightsDiffer: If column weight_hash of a frame names other weights.
        SiteNotProved: If the model has no such proved site.

    Source: Suau et al. 2024 (AurA) for damping; Tang et al. 2024 for zero.

    Example:
        >>> frame = pl.DataFrame({"site": ["mlp_hidden"], "layer": [0], "neuron": [3], "auroc": [0.9]})
        >>> with ablate(live, frame, how="damp"):
        ...     logits = live.model(**live.tokenizer("abc", return_tensors="pt")).logits
    """
    if how == "damp":
        return _context(live, _each(frame, _damping), "scale", "all", 1.0)
    if how == "zero":
        frame = _each(frame, lambda one: one.with_columns(pl.lit(0.0).alias("value")))
    return _context(live, frame, "set", "all", 1.0)


def _each(frame: Frames, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Frames:
    if isinstance(frame, pl.DataFrame):
        return change(frame)
    # rows that share a frame share what becomes of it
    changed = {id(one): change(one) for one in frame if one is not None}
    return [None if one is None else changed[id(one)] for one in frame]


def _damping(frame: pl.DataFrame) -> pl.DataFrame:
    if "auroc" not in frame.columns:
        raise InterventionError("damping goes by how well a neuron detects a concept: the frame needs column auroc")
    auroc = pl.col("auroc").cast(pl.Float64)
    outside = frame.filter(~auroc.is_between(0, 1))
    if outside.height:
        raise InterventionError(f"auroc lies between 0 and 1, and the frame holds {outside['auroc'][0]}")
    return frame.filter((auroc > 0.5) | auroc.is_null()).with_columns((2 * (1 - auroc)).alias("value"))


def _context(live: LiveModel, frame: Frames, how: How, position: Position, strength: float) -> AbstractContextManager[None]:
    from actlas.intervene.edits import Edited

    frames = [frame] if isinstance(frame, pl.DataFrame) else list(frame)
    # arms of many seeds are few frames: each is checked and kept once
    distinct = {id(one): one for one in frames if one is not None and one.height}
    tables = [placed(live, one) for one in distinct.values()]
    if not tables or strength == 0:
        return Edited(live, {})
    row_of = {key: row for row, key in enumerate(distinct)}
    rows = None if isinstance(frame, pl.DataFrame) else [row_of.get(id(one), len(tables)) for one in frames]
    return Edited(live, _edits(live, tables, rows, how, position, float(strength)))


def _edits(
    live: LiveModel, tables: list[Placed], rows: list[int] | None, how: How, position: Position, strength: float
) -> Mapping[tuple[str, str], Edit]:
    """One edit per side of a module that any of the frames is about."""
    from actlas.intervene.edits import ColumnEdit

    widths = {(one.path, one.side): one.width for site in live.sites for layer in live.columns(site) for one in layer}
    edits: dict[tuple[str, str], Edit] = {}
    for key in dict.fromkeys(key for table in tables for key in table):
        # with frames per row, one row more for those that are left alone
        n_frames = 1 if rows is None else len(tables) + 1
        is_there, numbers = np.zeros((n_frames, widths[key]), dtype=bool), np.zeros((n_frames, widths[key]))
        for row, table in enumerate(tables):
            if key in table:
                columns, values = table[key]
                is_there[row, columns], numbers[row, columns] = True, values
        edits[key] = ColumnEdit(is_there, numbers, how, strength, rows, live.device, is_last=position == "last")
    return edits
