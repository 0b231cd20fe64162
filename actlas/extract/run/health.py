"""What a user is told of values that were kept otherwise than they were, or that say nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from actlas.names import Recipe
from actlas.store.notes.health import site_health
from actlas.store.records import CheckpointRecord

#: Shares of neurons from which they are told: with one value for all texts; with most texts in one code.
_TOLD_CONSTANT = _TOLD_CROWDED = 0.01
#: A few texts say little about small shares.
_TOLD_BEFOREHAND = 0.1
#: What stands between what a line about lost values is about and how many they are.
_ABOUT = " are so small"


def range_warnings(
    checkpoint: str,
    health: Mapping[str, NDArray[np.float64]],
    n_texts: int,
    recipe: Recipe,
    dtypes: Mapping[str, str],
    lost_share: float,
) -> list[str]:
    """What a few texts say before time is spent on the others: values that are too small for the stored dtype.

    Args:
        checkpoint: Its id.
        health: site -> what was noted of them.
        n_texts: How many there were.
        recipe: Of the store.
        dtypes: Stored dtype of each site.
        lost_share: Share of a layer's values from which it is told.
    """
    shares = {site: site_health(noted, n_texts).lost_by_layer for site, noted in health.items()}
    named = {site: ("values", by_layer) for site, by_layer in shares.items()}
    return list(_lost(checkpoint, named, recipe, dtypes, max(lost_share, _TOLD_BEFOREHAND)))


def is_same_trouble(one: str, other: str) -> bool:
    """Whether two lines tell the same, perhaps with other numbers: one of a few texts, one of all."""
    return one == other or (_ABOUT in one and one.partition(_ABOUT)[0] == other.partition(_ABOUT)[0])


def health_warnings(record: CheckpointRecord, recipe: Recipe, dtypes: Mapping[str, str], lost_share: float) -> list[str]:
    """What all texts say once a checkpoint is complete."""
    values = {site: ("values", health.lost_by_layer) for site, health in record.health.items()}
    vectors = {site: ("token vectors", health.lost_vectors_by_layer) for site, health in record.health.items()}
    both = (_lost(record.checkpoint, shares, recipe, dtypes, lost_share) for shares in (values, vectors))
    lines = [line for lines in both for line in lines]
    if record.n_texts > 1:
        lines += _constant(record, recipe)
    for site, health in record.health.items():
        if health.share_crowded is not None and health.share_crowded >= _TOLD_CROWDED and health.ap_slack is not None:
            lines.append(
                f"{record.checkpoint}: {health.share_crowded:.0%} of the neurons of {site} have more than half of their texts in "
                "one of 256 codes, for a few values far away from the others use up the rest; texts in one code are tied, so "
                f"that their ap may be off by up to {health.ap_slack[0]:.2f} (median of all neurons: {health.ap_slack[1]:.3f}). "
                "Keep a cube of this site, or find the range on other texts (range_texts, range_seed)"
            )
    return lines


def _lost(
    checkpoint: str,
    shares: Mapping[str, tuple[str, tuple[float, ...]]],
    recipe: Recipe,
    dtypes: Mapping[str, str],
    lost_share: float,
) -> Iterator[str]:
    has_sums = recipe.states is not None and "moments" in recipe.states.kinds
    for site, (what, by_layer) in shares.items():
        dtype = dtypes[site]
        is_summed = has_sums and dtype != "float16"
        worst = max(by_layer, default=0.0)
        if worst > lost_share:
            kept = "sums in steps of 2^-24 keep" if is_summed else f"{dtype} keeps"
            instead = "keep a cube in float32" if is_summed else "dtype float32 or bfloat16 keeps them, in a new store"
            if not is_summed and dtype != "float16":
                instead = "no dtype keeps them"
            yield (
                f"{checkpoint}: {what} of {site}{_ABOUT} that {kept} many as 0 or with fewer bits (more than {lost_share:.0%} in "
                f"{_layers(by_layer, lost_share)}); {instead}"
            )


def _layers(by_layer: tuple[float, ...], lost_share: float) -> str:
    layers = [str(layer) for layer, share in enumerate(by_layer) if share > lost_share]
    if len(layers) == len(by_layer):
        return "every layer"
    named = ", ".join(layers[:5]) + (f" and {len(layers) - 5} more" if len(layers) > 5 else "")
    return f"layer{'s' if len(layers) > 1 else ''} {named}"


def _constant(record: CheckpointRecord, recipe: Recipe) -> Iterable[str]:
    shares = {site: health for site, health in record.health.items() if (health.share_constant or 0.0) >= _TOLD_CONSTANT}
    if not shares:
        return
    named = ", ".join(f"{health.share_constant:.0%} of {site}" for site, health in shares.items())
    special = [health.share_special for health in shares.values() if health.share_special]
    why = ""
    if recipe.special_tokens == "pool":
        if special:
            why = f"; a token that the tokenizer adds gives {max(special):.0%} of the values there"
        elif recipe.pooling == "last":
            why = "; the last token of a text may be one that the tokenizer adds"
    if why:
        why += ". special_tokens run leaves such tokens out, in a new store"
    yield f"{record.checkpoint}: neurons with one value for all texts, which rank nothing: {named} (see table neuron_health){why}"
