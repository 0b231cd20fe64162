"""Each set beside the random sets in its place."""

from __future__ import annotations

import polars as pl

_KEY = ["checkpoint", "source", "concept", "set_language", "intervention", "language"]
_MEASURED = [
    *("n_neurons", "n_texts", "loss_base", "change", "low", "high", "random_mean", "random_sd", "excess", "p_more", "p_less"),
    "n_random",
]
#: Half of a 95 % interval, in standard errors.
_WIDTH = 1.96


def effect_summary(effects: pl.DataFrame) -> pl.DataFrame:
    """Effects of sets beside those of random sets: a language x language matrix per set and intervention, row by row.

    Args:
        effects: Columns of table `neuron_effects`.

    Returns:
        Per checkpoint, source, concept, set_language, intervention and language: n_neurons, n_texts, loss_base; change of the
        loss, with its 95 % interval over texts (low, high); random_mean and random_sd of the change under random sets; excess,
        what the change is more than theirs; p_more and p_less, the share of all sets, the set itself included, that change the
        loss at least, or at most, as much; and n_random. What random sets say is null where there are none.

    Example:
        >>> frame = pl.DataFrame({"draw": [0, 1, 2, 3], "change": [0.9, 0.1, 0.2, 0.3], "change_se": [0.1] * 4}).with_columns(
        ...     checkpoint=pl.lit("c"), source=pl.lit("lape"), concept=None, set_language=pl.lit("fr"), language=pl.lit("fr"),
        ...     intervention=pl.lit("zero"), n_neurons=5, n_texts=9, loss_base=2.0
        ... )
        >>> summary = effect_summary(frame).select("change", "random_mean", "excess", "p_more", "n_random")
        >>> [round(value, 3) for value in summary.row(0)]
        [0.9, 0.2, 0.7, 0.25, 3]
    """
    drawn = effects.filter(pl.col("draw") > 0).select(*_KEY, pl.col("change").alias("other"))
    half = _WIDTH * pl.col("change_se")
    n_random = pl.col("other").count()
    own = effects.filter(pl.col("draw") == 0).join(drawn, on=_KEY, how="left", nulls_equal=True, maintain_order="left")
    return (
        own.with_columns(low=pl.col("change") - half, high=pl.col("change") + half)
        .group_by(*_KEY, "n_neurons", "n_texts", "loss_base", "change", "low", "high", maintain_order=True)
        .agg(
            pl.col("other").mean().alias("random_mean"),
            pl.col("other").std().alias("random_sd"),
            *(
                pl.when(n_random > 0).then((1 + is_further.sum()) / (1 + n_random)).alias(name)
                for name, is_further in (
                    ("p_more", pl.col("other") >= pl.col("change")),
                    ("p_less", pl.col("other") <= pl.col("change")),
                )
            ),
            n_random.alias("n_random"),
        )
        .with_columns(excess=pl.col("change") - pl.col("random_mean"))
        .select(*_KEY, *_MEASURED)
    )
