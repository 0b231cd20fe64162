"""Tables of published measures: a column list for each, everything else out of the registry that the command line is made of."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from actlas.query.measures.registry import MEASURES, Measure
from actlas.query.schema.table import NEURON, Basis, Table

_STEP = {"checkpoint": pl.String(), "step": pl.Int64(), "site": pl.String(), "layer": pl.Int32()}
_LANGUAGES = {"language_a": pl.String(), "language_b": pl.String()}
#: Of two languages, on the texts that translate each other.
_PAIR = {**_STEP, **_LANGUAGES, "n_texts": pl.Int32()}
#: Of two representations of the same texts.
_TWO = {
    "checkpoint": pl.String(),
    "checkpoint_b": pl.String(),
    "site": pl.String(),
    "layer_a": pl.Int32(),
    "layer_b": pl.Int32(),
    **_LANGUAGES,
    "n_texts": pl.Int32(),
}
#: Of the best neurons of every language and concept, before and behind what is told of them.
_BEST = {"checkpoint": pl.String(), "language": pl.String(), "concept": pl.String(), "rank": pl.Int32(), **NEURON}
_SIDES = {"n_on": pl.Int64(), "n_off": pl.Int64()}


def _numbers(*names: str) -> dict[str, pl.DataType]:
    return dict.fromkeys(names, pl.Float64())


_COLUMNS: Mapping[str, Mapping[str, pl.DataType]] = {
    "effective_rank": {
        **_STEP,
        "language": pl.String(),
        "n_vectors": pl.Int32(),
        "n_channels": pl.Int32(),
        **_numbers("effective_rank", "low", "high", "participation_ratio"),
        "is_bounded": pl.Boolean(),
    },
    "class_means": {
        **_STEP,
        "language": pl.String(),
        "concept": pl.String(),
        "is_concept": pl.Boolean(),
        "n_texts": pl.Int64(),
        "variance": pl.Float64(),
        "means": pl.List(pl.Float32()),
    },
    "class_distances": {
        **_STEP,
        "concept": pl.String(),
        **_LANGUAGES,
        "n_a": pl.Int64(),
        "n_b": pl.Int64(),
        **_numbers("cosine", "centred", "others", "distance", "expected"),
    },
    "mexa": {**_PAIR, **_numbers("mexa", "chance", "expected", "mean_mexa", "max_mexa")},
    "translation_similarity": {**_PAIR, **_numbers("translations", "others", "difference", "low", "high")},
    "procrustes": {**_PAIR, **_numbers("error", "identity", "shuffled", "fitted", "shift")},
    "cka": {**_TWO, **_numbers("cka", "shuffled")},
    "svcca": {**_TWO, **_numbers("svcca", "shuffled"), "n_directions_a": pl.Int32(), "n_directions_b": pl.Int32()},
    "neuron_correlation": {
        "checkpoint": pl.String(),
        "checkpoint_b": pl.String(),
        **NEURON,
        "n_texts": pl.Int32(),
        "correlation": pl.Float64(),
        "best_neuron": pl.Int32(),
        **_numbers("best_correlation", "best_chance"),
    },
    "discrimination": {**_BEST, **_numbers("point_biserial", "d_prime"), **_SIDES},
    "monolinguality": {
        "checkpoint": pl.String(),
        "language": pl.String(),
        "rank": pl.Int32(),
        **NEURON,
        **_numbers("monolinguality", "mean", "mean_others"),
        "next_language": pl.String(),
        "next_mean": pl.Float64(),
    },
    "neuron_ranges": {
        **_BEST,
        **_numbers("low", "high", "off_low", "off_high", "overlap", "off_inside", "value"),
        **_SIDES,
    },
    "mutual_information": {**_BEST, **_numbers("mutual_information", "expected"), **_SIDES},
    "dimension_overlap": {
        "checkpoint": pl.String(),
        "concept": pl.String(),
        **_LANGUAGES,
        "n": pl.Int64(),
        "n_neurons": pl.Int64(),
        "n_shared": pl.Int64(),
        **_numbers("overlap", "chance", "chance_low", "chance_high", "p_value"),
    },
    "p90_selection": {**_BEST, **_numbers("p_on", "p_off", "share", "bar"), **_SIDES},
}


def _table(measure: Measure) -> Table:
    deciding = {option.name: option.default for option in measure.options if not option.is_limit}
    return Table(
        measure.function,
        _COLUMNS[measure.function],
        measure.about,
        f"actlas measure {measure.name} STORE",
        settings={"sites": None, "compared": None, **deciding},
        limits=tuple(option.name for option in measure.options if option.is_limit),
        basis=Basis.VALUES,
        flags={"sites": "site", "compared": "checkpoint", **{option.name: option.dashed for option in measure.options}},
    )


MEASURED: tuple[Table, ...] = tuple(map(_table, MEASURES))
