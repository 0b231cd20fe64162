"""NeuronLens: ranges of a neuron's values where a concept is expressed, and how far they overlap those of the rest."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import polars as pl

from actlas.allowed import Names, Positive, PositiveNumber, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress
from actlas.query.measures.asked import Asked
from actlas.query.measures.neurons.best import Contrast, Values, best_answer, contrasts, each
from actlas.query.measures.registry import Bounds, Tail


@checks_arguments(QueryError)
def neuron_ranges(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    concepts: Names | None = None,
    n: Positive = 50,
    bounds: Bounds = "normal",
    width: PositiveNumber = 2.5,
    tail: Tail = 0.01,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """The neurons whose range of values where a concept is expressed is most apart from their range where it is not.

    With mean m and standard deviation s of the texts of one side, their range is m - width * s to m + width * s, as published; or
    it goes from quantile `tail` to quantile 1 - `tail`, which supposes no normal distribution. Both sides have one:
    overlap = (min(high, off_high) - max(low, off_low)) / (max(high, off_high) - min(low, off_low)),
    1 where the ranges are the same, and below 0 where there is a gap between them.

    Args:
        store: With pooled values, or the path of such a store.
        checkpoints: None for all.
        sites: Ranked together; None for all with values.
        languages: None for all.
        concepts: None for all.
        n: Neurons of every language and concept, those with the least overlap.
        bounds: "normal" or "quantile".
        width: Standard deviations on either side, of "normal".
        tail: Share of the values left out on either side, of "quantile".
        progress: Called after every block of neurons.
        keep: Whether the answer is kept as table `neuron_ranges`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, language, concept (null: the language against the others), rank, site, layer, neuron, low and high (where the
        concept is expressed), off_low and off_high (where not), overlap, off_inside (share of the texts without the concept
        whose value is in low to high), value (mean where it is expressed), n_on, n_off. The rows of one language and concept are
        a frame of neurons as steering takes it, which forces `value`. Neurons with a constant value have no row.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no values.
        QueryError: If a language or concept is not in the corpus, or there are no values.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Haider et al. 2025, Neurons Speak in Ranges.

    Example:
        >>> ranges = neuron_ranges(store, checkpoints=["planted-step64"], languages=["en"], concepts=["water"], n=1)
        >>> ranges.filter(concept="water").select("site", "neuron", pl.col("low", "high", "off_low", "off_high").round(1)).rows()
        [('mlp_pre', 1, 2.0, 4.8, -2.5, 2.9)]
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)
    measure = each(functools.partial(_measure, bounds=bounds, width=width, tail=tail))
    options = {"languages": languages, "concepts": concepts, "n": n, "bounds": bounds, "width": width, "tail": tail}
    return best_answer("neuron_ranges", asked, contrasts(asked.atlas, languages, concepts), options, "separation", measure)


def _measure(values: Values, of: Contrast, *, bounds: Bounds, width: float, tail: float) -> dict[str, Values]:
    on, off = values[:, of.on], values[:, of.off]
    low, high = range_of(on, bounds, width, tail)
    off_low, off_high = range_of(off, bounds, width, tail)
    whole = np.maximum(high, off_high) - np.minimum(low, off_low)
    is_constant = values.max(axis=1) == values.min(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        overlap = (np.minimum(high, off_high) - np.maximum(low, off_low)) / whole
    overlap[is_constant | (whole == 0)] = np.nan
    return {
        "low": low,
        "high": high,
        "off_low": off_low,
        "off_high": off_high,
        "overlap": overlap,
        "off_inside": ((off >= low[:, None]) & (off <= high[:, None])).mean(axis=1),
        "value": on.mean(axis=1),
        "separation": -overlap,
    }


def range_of(values: Values, bounds: Bounds, width: float = 2.5, tail: float = 0.01) -> tuple[Values, Values]:
    """Lower and upper end of the range of every neuron.

    Args:
        values: ``"neurons texts"``.
        bounds: "normal" or "quantile".
        width: Standard deviations on either side.
        tail: Share left out on either side.

    Example:
        >>> values = np.array([[0.0, 2.0, 4.0]])
        >>> [float(end.round(2)[0]) for end in range_of(values, "normal", width=1)]
        [0.37, 3.63]
        >>> [float(end[0]) for end in range_of(values, "quantile", tail=0.25)]
        [1.0, 3.0]
    """
    if bounds == "quantile":
        low, high = np.quantile(values, [tail, 1 - tail], axis=1)
        return low, high
    mean, spread = values.mean(axis=1), values.std(axis=1)
    return mean - width * spread, mean + width * spread
