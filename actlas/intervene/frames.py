"""Frames of neurons: checked against a model before anything is done with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import polars as pl

from actlas.allowed import Range
from actlas.errors import InterventionError, NeuronNotFound, WeightsDiffer
from actlas.intervene.live import LiveModel
from actlas.words import listed

_PLACE = ("site", "layer", "neuron")
#: One frame for all rows of a batch, or one for each of them, of which None leaves its row alone.
Frames = Annotated[pl.DataFrame | Sequence[pl.DataFrame | None], Range(0)]


def checked(frame: pl.DataFrame, live: LiveModel, number: str = "value") -> pl.DataFrame:
    """A frame of neurons that a model has, each once.

    Args:
        frame: Columns site, layer, neuron, and the one called `number`. Others say nothing, but for weight_hash.
        live: The model.
        number: Column of the number that belongs to each neuron.

    Returns:
        Columns site, layer, neuron and value.

    Raises:
        InterventionError: If a column is missing, a cell is empty or no finite number, or a neuron is there twice.
        WeightsDiffer: If column weight_hash names other weights than the model's.
        NeuronNotFound: If the model has no such layer or neuron.
        SiteNotProved: If it has no such site.
    """
    missing = [name for name in (*_PLACE, number) if name not in frame.columns]
    if missing:
        raise InterventionError(f"the frame has no column {listed(missing)}; it has {listed(frame.columns)}")
    refuse_other_weights(frame, live)
    try:
        place = [pl.col("site").cast(pl.String), pl.col("layer").cast(pl.Int64), pl.col("neuron").cast(pl.Int64)]
        rows = frame.select(*place, pl.col(number).cast(pl.Float64).alias("value"))
    except pl.exceptions.PolarsError as error:
        raise InterventionError(f"a frame holds site, layer, neuron and {number}: {str(error).splitlines()[0]}") from error
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
