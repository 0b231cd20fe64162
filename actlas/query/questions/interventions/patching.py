"""What concept patching showed: which concept a model says, by the layer from which latents were put in, and by step.

The macros of the same names hold the definitions; the functions give their rows for patches that need not be kept.
"""

from __future__ import annotations

import polars as pl

from actlas.query.sql.macro import asked_over


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
    return _asked("patching_by_layer", patches)


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
    return _asked("patching_onset", patches)


def _asked(question: str, patches: pl.DataFrame) -> pl.DataFrame:
    """The answer of a macro; checkpoints are in the order in which they come."""
    checkpoints = patches.select("checkpoint", "step").unique("checkpoint", maintain_order=True, keep="first")
    return asked_over(question, {}, {"patches": patches, "checkpoints": checkpoints.with_row_index("position")})
