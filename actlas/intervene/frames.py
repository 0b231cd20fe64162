"""Frames of neurons: checked against a model before anything is done with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import polars as pl

from actlas.allowed import Range
from actlas.errors import InterventionError, NeuronNotFound, WeightsDiffer
from actlas.intervene.live import LiveModel
from actlas.words import listed

_PLACE = ("site", "layer", "neuron")
#: Module and side -> columns there, and the value of each.
Placed = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]
#: What `module_columns` gives.
COLUMNS = {"module": pl.String(), "side": pl.String(), "column": pl.Int64(), "value": pl.Float64()}
#: One frame for all rows of a batch, or one for each of them, of which None leaves its row alone.
Frames = Annotated[pl.DataFrame | Sequence[pl.DataFrame | None], Range(0)]


def checked(frame: pl.DataFrame, live: LiveModel) -> pl.DataFrame:
    """A frame of neurons that a model has, each once.

    Args:
        frame: Columns site, layer, neuron and value. Others say nothing, but for weight_hash.
        live: The model.

    Returns:
        Columns site, layer, neuron and value.

    Raises:
        InterventionError: If a column is missing, a cell is empty or no finite number, or a neuron is there twice.
        WeightsDiffer: If column weight_hash names other weights than the model's.
        NeuronNotFound: If the model has no such layer or neuron.
        SiteNotProved: If it has no such site.
    """
    missing = [name for name in (*_PLACE, "value") if name not in frame.columns]
    if missing:
        raise InterventionError(f"the frame has no column {listed(missing)}; it has {listed(frame.columns)}")
    refuse_other_weights(frame, live)
    try:
        place = [pl.col("site").cast(pl.String), pl.col("layer").cast(pl.Int64), pl.col("neuron").cast(pl.Int64)]
        rows = frame.select(*place, pl.col("value").cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        raise InterventionError(f"a frame holds site, layer, neuron and value: {str(error).splitlines()[0]}") from error
    unusable = rows.filter(pl.any_horizontal(pl.all().is_null()) | ~pl.col("value").is_finite())
    if unusable.height:
        raise InterventionError(
            f"{unusable.height:,} rows of the frame hold an empty cell, NaN or infinity, the first one {unusable.row(0)}; "
            "leave them out"
        )
    twice = rows.filter(rows.select(_PLACE).is_duplicated())
    if twice.height:
        site, layer, neuron, _ = twice.row(0)
        raise InterventionError(
            f"{twice.height:,} rows of the frame are about neurons that it holds more than once, the first one site {site}, "
            f"layer {layer}, neuron {neuron}; keep one row of each"
        )
    for (site,), neurons in rows.group_by("site", maintain_order=True):
        _refuse_outside(str(site), neurons, live)
    return rows


def module_columns(live: LiveModel, frame: pl.DataFrame) -> pl.DataFrame:
    """Where the neurons of a frame stand in what the modules of a model take or give, for the hooks of other libraries.

    Args:
        live: The model.
        frame: Columns site, layer, neuron and value.

    Returns:
        Columns module, a path in the transformers model; side, "input" or "output"; column, on the last axis there; and value.
        Modules are in the order in which they run.

    Raises:
        InterventionError: If the frame lacks a column, holds NaN, or a neuron twice.
        NeuronNotFound: If the model lacks a neuron.
        WeightsDiffer: If column weight_hash of the frame names other weights.
        SiteNotProved: If the model has no such proved site.

    Example:
        >>> frame = pl.DataFrame({"site": ["attn_qkv"], "layer": [0], "neuron": [30], "value": [2.5]})
        >>> module_columns(live, frame).rows()
        [('model.layers.0.self_attn.k_proj', 'output', 6, 2.5)]
    """
    found = placed(live, frame)
    rows = [
        (*key, int(column), float(value))
        for key in live.modules_in_order
        if key in found
        for column, value in zip(*found[key], strict=True)
    ]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def placed(live: LiveModel, frame: pl.DataFrame) -> Placed:
    """The same as arrays: module and side -> columns there, and their values."""
    found: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for (site, layer), part in checked(frame, live).group_by("site", "layer", maintain_order=True):
        neurons, values = part["neuron"].to_numpy(), part["value"].to_numpy()
        for one in live.columns(str(site))[int(str(layer))]:
            here = (neurons >= one.first) & (neurons < one.first + one.n_neurons)
            if here.any():
                found.setdefault((one.path, one.side), []).append((neurons[here] - one.first + one.start, values[here]))
    return {key: (np.concatenate([c for c, _ in parts]), np.concatenate([v for _, v in parts])) for key, parts in found.items()}


def refuse_other_weights(frame: pl.DataFrame, live: LiveModel) -> None:
    """Refuse a frame whose column weight_hash, if it has one, does not name the weights of the model throughout.

    Raises:
        WeightsDiffer: Naming both.
    """
    if "weight_hash" not in frame.columns:
        return
    others = [str(each) for each in frame["weight_hash"].unique().to_list() if each != live.weight_hash]
    if others:
        raise WeightsDiffer(
            f"the frame is of weights {listed([each[:12] for each in sorted(others)])}, and {live.checkpoint} has "
            f"{live.weight_hash[:12]}; drop column weight_hash to use it all the same"
        )


def _refuse_outside(site: str, neurons: pl.DataFrame, live: LiveModel) -> None:
    widths = live.widths(site)
    layers = neurons["layer"]
    outside = neurons.filter((layers < 0) | (layers >= len(widths)))
    if outside.height:
        raise NeuronNotFound(
            f"{live.checkpoint} has no layer {outside['layer'][0]} at site {site}; it has 0 to {len(widths) - 1}"
        )
    width = pl.col("layer").replace_strict(list(range(len(widths))), list(widths), return_dtype=pl.Int64)
    outside = neurons.filter((pl.col("neuron") < 0) | (pl.col("neuron") >= width))
    if outside.height:
        _, layer, neuron, _ = outside.row(0)
        raise NeuronNotFound(
            f"{live.checkpoint} has no neuron {neuron} at site {site}, layer {layer}; it has 0 to {widths[layer] - 1:,}"
        )
