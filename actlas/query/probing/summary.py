"""Many probes in a few numbers."""

from __future__ import annotations

import polars as pl


def probe_summary(probes: pl.DataFrame) -> pl.DataFrame:
    """Accuracy of every checkpoint and site over its layers.

    Args:
        probes: What `train_probes` gave.

    Returns:
        Columns checkpoint, site, label, accuracy (mean over layers of the mean over seeds), std_layers (spread of
        the layers' means), std_seeds (mean spread of a layer's seeds), n_layers, chance. Spreads divide by the
        number of values, not by one less.

    Example:
        >>> from actlas.query import train_probes
        >>> probe_summary(train_probes(store, checkpoints=["planted-step64"], seeds=(0,))).select("site", "n_layers").rows()
        [('embed', 1), ('resid', 2)]
    """
    by = pl.col
    layers = probes.group_by("checkpoint", "site", "label", "layer", maintain_order=True).agg(
        by("accuracy").mean(), by("accuracy").std(ddof=0).alias("std_seeds"), by("chance").mean()
    )
    return layers.group_by("checkpoint", "site", "label", maintain_order=True).agg(
        by("accuracy").mean(),
        by("accuracy").std(ddof=0).alias("std_layers"),
        by("std_seeds").mean(),
        pl.len().cast(pl.Int64).alias("n_layers"),
        by("chance").mean(),
    )
