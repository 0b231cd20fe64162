"""What concept patching showed: which concept a model says, by the layer from which latents were put in, and by step."""

from __future__ import annotations

import polars as pl

#: Standard errors to either side of a mean that make a 95 % interval of it.
_ERRORS = 1.959964
_BY = ("checkpoint", "step", "language_in", "language_out", "setting")


def patching_by_layer(patches: pl.DataFrame) -> pl.DataFrame:
    """How probable both concepts are, by step, setting and the first layer that was patched.

    Args:
        patches: What `patch_concepts` gave.

    Returns:
        As macro `patching_by_layer`: checkpoint, step, language_in, language_out, setting, layer, language, n_pairs; then
        p_source, p_target and difference (p_source - p_target), means over pairs of concepts, each with the ends of its 95 %
        interval (_low, _high: 1.96 standard errors over pairs; null for one pair).

    Example:
        >>> cell = {"checkpoint": "a", "step": 1, "language_in": "fr", "language_out": "en", "setting": "tgt", "layer": 0}
        >>> rows = [{**cell, "language": "en", "pair": i, "p_source": p, "p_target": 0.1} for i, p in enumerate((0.5, 0.7))]
        >>> patching_by_layer(pl.DataFrame(rows)).select(pl.col("p_source", "p_source_low", "difference").round(3)).row(0)
        (0.6, 0.404, 0.5)
    """
    values = patches.with_columns((pl.col("p_source") - pl.col("p_target")).alias("difference"))
    columns: list[pl.Expr] = []
    for name in ("p_source", "p_target", "difference"):
        half = _ERRORS * pl.col(name).std() / pl.len().sqrt()
        mean = pl.col(name).mean()
        columns += [mean, (mean - half).alias(f"{name}_low"), (mean + half).alias(f"{name}_high")]
    found = values.group_by(*_BY, "layer", "language", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("n_pairs"), *columns
    )
    return _sorted(found, "layer", "language")


def patching_onset(patches: pl.DataFrame) -> pl.DataFrame:
    """The layers and the step from which on latents of a concept make the model say it.

    The source concept beats the target concept where the 95 % interval of p_source - p_target, over pairs, lies above 0.

    Args:
        patches: What `patch_concepts` gave.

    Returns:
        As macro `patching_onset`, of the output language: checkpoint, step, language_in, language_out, setting, n_pairs, n_layers
        (that were tried), n_won (at which the source concept beats the target), first_layer and last_layer of these (null if
        there are none), most (the largest difference), layer_of_most (the first that has it), and first_step (the first at which
        any layer wins).

    Example:
        >>> cell = {"checkpoint": "a", "step": 1, "language_in": "fr", "language_out": "en", "setting": "tgt", "language": "en"}
        >>> answers = [(layer, pair, 0.5 + pair / 10 - layer) for layer in (0, 1) for pair in (0, 1)]
        >>> rows = [{**cell, "layer": layer, "pair": pair, "p_source": p, "p_target": 0.1} for layer, pair, p in answers]
        >>> patching_onset(pl.DataFrame(rows)).select("n_layers", "n_won", "last_layer", "first_step").row(0)
        (2, 1, 0, 1)
    """
    own = patches.filter((pl.col("language") == pl.col("language_out")) & pl.col("layer").is_not_null())
    is_won = pl.col("difference_low") > 0
    found = (
        patching_by_layer(own)
        .group_by(*_BY, maintain_order=True)
        .agg(
            pl.col("n_pairs").min(),
            pl.len().cast(pl.Int64).alias("n_layers"),
            is_won.sum().cast(pl.Int64).alias("n_won"),
            pl.col("layer").filter(is_won).min().alias("first_layer"),
            pl.col("layer").filter(is_won).max().alias("last_layer"),
            pl.col("difference").max().alias("most"),
            pl.col("layer").get(pl.col("difference").arg_max()).alias("layer_of_most"),
        )
    )
    first = pl.col("step").filter(pl.col("n_won") > 0).min().over("language_in", "language_out", "setting")
    return _sorted(found.with_columns(first.alias("first_step")))


def _sorted(frame: pl.DataFrame, *then: str) -> pl.DataFrame:
    """By checkpoint, in the order in which they came, then by the rest."""
    parts = frame.partition_by("checkpoint", maintain_order=True)
    return pl.concat([frame.clear(), *(part.sort(*_BY[2:], *then) for part in parts)])
