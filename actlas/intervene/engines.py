"""Where vLLM, which fuses projections, has the neurons of a frame."""

from __future__ import annotations

import numpy as np
import polars as pl

from actlas.errors import InterventionError
from actlas.extract.backends.vllm.rank_slices import EnginePoint, Heads, engine_family, engine_points, rank_neurons
from actlas.intervene.frames import COLUMNS, checked
from actlas.intervene.live import LiveModel
from actlas.names import LINEAR_SITES
from actlas.words import listed

#: Sites that are a tensor of their own there: blocks give no stream, but what it is the sum of.
_SITES = (*LINEAR_SITES, "mlp_hidden")


def vllm_columns(live: LiveModel, frame: pl.DataFrame) -> pl.DataFrame:
    """Where the neurons of a frame stand in what the modules of vLLM's model take or give, on one rank.

    Args:
        live: The checkpoint as transformers runs it, by which neurons and sites are known.
        frame: Columns site, layer, neuron and value.

    Returns:
        Columns module, a path in vLLM's model; side, "input" or "output"; column, on the last axis there; and value.

    Raises:
        InterventionError: If a site is no tensor of its own in vLLM, or vLLM computes the model in another way than transformers;
            and if the frame lacks a column, holds NaN, or a neuron twice.
        NeuronNotFound: If the model lacks a neuron.
        WeightsDiffer: If column weight_hash of the frame names other weights.
        ModelNotSupported: If the modules of the architecture in vLLM are not known.

    Example:
        >>> frame = pl.DataFrame({"site": ["mlp_up"], "layer": [0], "neuron": [3], "value": [2.5]})
        >>> vllm_columns(live, frame).rows()
        [('model.layers.0.mlp.gate_up_proj', 'output', 43, 2.5)]
    """
    architecture = type(live.model).__name__
    _, engine = engine_family(architecture)
    if engine.tanh_gelu:
        raise InterventionError(f"vLLM computes another GELU than {architecture} was trained with; steer it in transformers")
    rows = checked(frame, live)
    sites = rows["site"].unique(maintain_order=True).to_list()
    if others := [site for site in sites if site not in _SITES]:
        raise InterventionError(f"{listed(others)} is no tensor of its own in vLLM; there are {listed(_SITES)}")
    parts = [pl.DataFrame(schema=COLUMNS)]
    for point in engine_points(architecture, live.n_layers, sites):
        here = rows.filter((pl.col("site") == point.site) & (pl.col("layer") == point.layer))
        columns = _columns(live, point)[here["neuron"].to_numpy()]
        parts.append(
            here.select(
                pl.lit(point.module).alias("module"),
                pl.lit(point.side).alias("side"),
                pl.Series("column", columns, pl.Int64),
                "value",
            )
        )
    return pl.concat(parts)


def _columns(live: LiveModel, point: EnginePoint) -> np.ndarray:
    """Of every neuron of a site in a layer, its column."""
    width = live.widths(point.site)[point.layer]
    heads = None
    if point.split.startswith("heads"):
        family, _ = engine_family(type(live.model).__name__)
        config = live.model.config.get_text_config()
        n_query, n_key = int(config.num_attention_heads), family.rules.n_key_heads(config)
        heads = Heads(n_query, n_key, width // (n_query + 2 * n_key))
    share = rank_neurons(point.split, width, 0, 1, heads)
    columns = np.empty(width, dtype=np.int64)
    columns[share.neurons] = np.arange(share.first, share.last)
    return columns
