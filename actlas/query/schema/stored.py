"""Tables that every store has: they are read from its records, cubes and scores, and nothing is kept for them."""

from __future__ import annotations

import polars as pl

from actlas.kernels.stats import DEFAULT_STATS
from actlas.query.schema.table import NEURON, score_type, table
from actlas.store.notes.weights import WEIGHT_COLUMNS


def _distances(other: str) -> dict[str, pl.DataType]:
    """From the checkpoint that stands in the first of these columns."""
    numbers = {f"{name}_{other}": pl.Float64() for name in ("distance", "change", "cosine")}
    return {other: pl.String(), **numbers}


STORED = (
    table(
        "checkpoints",
        "one row per checkpoint, with where its weights came from; control says what a control is, null for any other",
        None,
        {
            "checkpoint": pl.String(),
            "model": pl.String(),
            "step": pl.Int64(),
            "revision": pl.String(),
            "weight_hash": pl.String(),
            "sanity_loss": pl.Float64(),
            "backend": pl.String(),
            "dtype": pl.String(),
            "position": pl.Int32(),
            "control": pl.String(),
        },
        stored=False,
    ),
    table(
        "languages",
        "languages in the order of the text axis; bit and word place a language in expert_mask.mask",
        None,
        {"language": pl.String(), "position": pl.Int32(), "word": pl.Int32(), "bit": pl.Int32(), "n_texts": pl.Int64()},
        stored=False,
    ),
    table(
        "cubes",
        "one row per cube",
        None,
        {
            "checkpoint": pl.String(),
            "site": pl.String(),
            "pooling": pl.String(),
            "n_layers": pl.Int32(),
            "n_neurons": pl.Int32(),
            "n_texts": pl.Int64(),
            "dtype": pl.String(),
        },
        stored=False,
    ),
    table(
        "sites",
        "one row per checkpoint and site that has values or scores",
        None,
        {
            "checkpoint": pl.String(),
            "site": pl.String(),
            "n_layers": pl.Int32(),
            "n_neurons": pl.Int32(),
            "has_values": pl.Boolean(),
            "has_scores": pl.Boolean(),
            "has_counts": pl.Boolean(),
        },
        stored=False,
    ),
    table(
        "site_dtypes",
        "the stored dtype of every site, why it is this one, and what rounding to it does, measured on a few texts",
        None,
        {
            "checkpoint": pl.String(),
            "site": pl.String(),
            "dtype": pl.String(),
            "reason": pl.String(),
            "n_texts": pl.Int64(),
            "largest": pl.Float64(),
            "rounding": pl.Float64(),
            "share_coarse": pl.Float64(),
            "ap_change": pl.Float64(),
            "ap_change_most": pl.Float64(),
            "same_best": pl.Float64(),
        },
        stored=False,
    ),
    table(
        "texts",
        "the corpus",
        None,
        {
            "text_id": pl.Int64(),
            "text": pl.String(),
            "language": pl.String(),
            "parallel_id": pl.String(),
            "split": pl.String(),
            "n_tokens": pl.Int32(),
        },
        stored=False,
    ),
    table(
        "labels",
        "which texts express which concept; no row: the text takes no part",
        None,
        {"text_id": pl.Int64(), "concept": pl.String(), "is_concept": pl.Boolean()},
        stored=False,
    ),
    table(
        "label_counts",
        "how many texts of a language take part in a concept, and how many express it",
        None,
        {"language": pl.String(), "concept": pl.String(), "n_positive": pl.Int64(), "n_member": pl.Int64()},
        stored=False,
    ),
    table(
        "tokens",
        "the tokens, words or ends of spans whose vectors were kept",
        "actlas extract MODEL --corpus CORPUS --store STORE",
        {"text_id": pl.Int64(), "position": pl.Int32(), "token_id": pl.Int32(), "surface": pl.String(), "word": pl.Int32()},
        {"span": pl.String(), "n_subtokens": pl.Int32(), "token": pl.Int64(), "language": pl.String(), "split": pl.String()},
        stored=False,
    ),
    table(
        "activations",
        "every value of every cube, read when asked for",
        "actlas extract MODEL --corpus CORPUS --store STORE",
        {"checkpoint": pl.String()},
        NEURON,
        {"text_id": pl.Int64(), "value": pl.Float32(), "language": pl.String()},
        stored=False,
    ),
    table(
        "scores",
        "every statistic of every neuron, read when asked for",
        "actlas score STORE",
        {"checkpoint": pl.String(), "language": pl.String(), "concept": pl.String()},
        NEURON,
        {stat: score_type(stat) for stat in DEFAULT_STATS},
        stored=False,
    ),
    table(
        "neuron_health",
        "what became of every neuron's values when they were written; shares are of texts",
        "actlas extract MODEL --corpus CORPUS --store STORE",
        {"checkpoint": pl.String()},
        NEURON,
        {
            "is_constant": pl.Boolean(),
            "low": pl.Float32(),
            "high": pl.Float32(),
            "share_zero": pl.Float32(),
            "share_lost": pl.Float32(),
            "share_special": pl.Float32(),
            "n_codes": pl.Int32(),
            "ap_slack": pl.Float32(),
        },
        stored=False,
    ),
    table(
        "weights",
        "every weight tensor: its norm and, of matrices, how many directions it uses; written while its checkpoint was extracted",
        "actlas extract MODEL --corpus CORPUS --store STORE",
        WEIGHT_COLUMNS,
        stored=False,
    ),
    table(
        "parameter_space",
        "every weight tensor beside itself one checkpoint earlier and at the last one: distance, the same relative to the norm "
        "there, cosine; relative_error is the standard deviation of the distances",
        "actlas extract MODEL --corpus CORPUS --store STORE",
        {"checkpoint": pl.String(), "step": pl.Int64(), "layer": pl.Int32(), "kind": pl.String(), "module": pl.String()},
        {"n_weights": pl.Int64(), "norm": pl.Float64(), "stable_rank": pl.Float64()},
        {"spectral_entropy": pl.Float64(), "effective_rank": pl.Float64()},
        _distances("previous"),
        _distances("last"),
        {"relative_error": pl.Float64()},
        stored=False,
    ),
    table(
        "site_proofs",
        "what proved, before extraction, that sites are what their names say; in the layer where it held least",
        "actlas extract MODEL --corpus CORPUS --store STORE",
        {"checkpoint": pl.String(), "architecture": pl.String(), "compute_dtype": pl.String(), "site": pl.String()},
        {"proof": pl.String(), "layer": pl.Int32(), "figure": pl.Float64(), "allowed": pl.Float64(), "is_proved": pl.Boolean()},
        stored=False,
    ),
    table(
        "score_sources",
        "where every statistic comes from, and how exact it is",
        "actlas score STORE",
        {
            "checkpoint": pl.String(),
            "site": pl.String(),
            "statistic": pl.String(),
            "source": pl.String(),
            "exactness": pl.String(),
        },
        {"threshold": pl.Float64()},
        stored=False,
    ),
    table(
        "settings",
        "the settings of every kept table, the parts that stand beside included",
        None,
        {"table_name": pl.String(), "checkpoint": pl.String(), "settings": pl.String(), "is_shown": pl.Boolean()},
        {"is_current": pl.Boolean(), "details": pl.String()},
        stored=False,
    ),
)
