"""Columns of every table that SQL can name, and the command that computes it. Pure data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import polars as pl

from actlas.errors import QueryError
from actlas.kernels.stats import DEFAULT_STATS
from actlas.store.layout import score_dtype

#: Rows that one query may read out of the cubes, unless told otherwise.
MAX_ROWS = 20_000_000
#: A set of languages is kept as bits of words of this many languages.
LANGUAGES_PER_WORD = 64


def score_type(stat: str) -> pl.DataType:
    """Type of the column that holds a statistic."""
    return pl.Float64() if score_dtype(stat) == "float64" else pl.Float32()


_NEURON = {"site": pl.String(), "layer": pl.Int32(), "neuron": pl.Int32()}
_PAIR = {"checkpoint": pl.String(), "concept": pl.String(), "language_a": pl.String(), "language_b": pl.String()}


class Basis(Enum):
    """What a stored table is computed from, and has to be computed again for when it changed."""

    VALUES = "the cubes, counts and vectors of the checkpoint"
    SCORES = "the scores of the checkpoint"
    ALL_SCORES = "the scores of all checkpoints"


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: What SQL calls it.
        columns: Names and types, in order.
        command: The command line that computes it, or None for what every store has.
        about: One line.
        stored: True for tables kept as Parquet under ``tables/``.
        settings: Settings that decide its rows: answers that differ in one of them stand beside each other. For each the value
            that a table has which does not say it.
        limits: Settings that only say how much of it is kept (the k of experts): the largest answers all smaller ones.
        basis: What it is computed from.
    """

    name: str
    columns: Mapping[str, pl.DataType]
    about: str
    command: str | None = None
    stored: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    basis: Basis = Basis.SCORES

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with exactly these columns and types, in this order.

        Args:
            frame: At least the columns of the table; others are dropped.

        Returns:
            The frame.

        Raises:
            QueryError: If a column is missing.

        Example:
            >>> frame = pl.DataFrame({"n_texts": [5], "language": ["en"], "more": [0]})
            >>> Table("sizes", {"language": pl.String(), "n_texts": pl.Int64()}, "Texts per language.").conform(frame).row(0)
            ('en', 5)
        """
        missing = [name for name in self.columns if name not in frame.columns]
        if missing:
            raise QueryError(f"table {self.name} needs column {', '.join(missing)}; the frame has {', '.join(frame.columns)}")
        return frame.select(pl.col(name).cast(dtype) for name, dtype in self.columns.items())

    def empty(self) -> pl.DataFrame:
        """The table without rows.

        Returns:
            A frame of its columns.

        Example:
            >>> TABLES["experts"].empty().columns[:4]
            ['checkpoint', 'language', 'concept', 'rank']
        """
        return pl.DataFrame(schema=dict(self.columns))


def _table(
    name: str,
    about: str,
    command: str | None,
    *columns: Mapping[str, pl.DataType],
    stored: bool = True,
    settings: Sequence[str] | Mapping[str, Any] = (),
    limits: tuple[str, ...] = (),
    basis: Basis = Basis.SCORES,
) -> Table:
    merged = {key: dtype for part in columns for key, dtype in part.items()}
    deciding = settings if isinstance(settings, Mapping) else dict.fromkeys(settings)
    return Table(name, merged, about, command, stored, deciding, limits, basis)


_ALL = (
    _table(
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
    _table(
        "languages",
        "languages in the order of the text axis; bit and word place a language in expert_mask.mask",
        None,
        {"language": pl.String(), "position": pl.Int32(), "word": pl.Int32(), "bit": pl.Int32(), "n_texts": pl.Int64()},
        stored=False,
    ),
    _table(
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
    _table(
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
    _table(
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
    _table(
        "labels",
        "which texts express which concept; no row: the text takes no part",
        None,
        {"text_id": pl.Int64(), "concept": pl.String(), "is_concept": pl.Boolean()},
        stored=False,
    ),
    _table(
        "tokens",
        "the tokens, words or ends of spans whose vectors were kept",
        "actlas extract MODEL --corpus CORPUS --store STORE",
        {"text_id": pl.Int64(), "position": pl.Int32(), "token_id": pl.Int32(), "surface": pl.String(), "word": pl.Int32()},
        {"span": pl.String(), "n_subtokens": pl.Int32(), "token": pl.Int64(), "language": pl.String(), "split": pl.String()},
        stored=False,
    ),
    _table(
        "activations",
        "every value of every cube, read when asked for",
        "actlas extract MODEL --corpus CORPUS --store STORE",
        {"checkpoint": pl.String()},
        _NEURON,
        {"text_id": pl.Int64(), "value": pl.Float32(), "language": pl.String()},
        stored=False,
    ),
    _table(
        "scores",
        "every statistic of every neuron, read when asked for",
        "actlas score STORE",
        {"checkpoint": pl.String(), "language": pl.String(), "concept": pl.String()},
        _NEURON,
        {stat: score_type(stat) for stat in DEFAULT_STATS},
        stored=False,
    ),
    _table(
        "neuron_health",
        "what became of every neuron's values when they were written; shares are of texts",
        "actlas extract MODEL --corpus CORPUS --store STORE",
        {"checkpoint": pl.String()},
        _NEURON,
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
    _table(
        "site_proofs",
        "what proved, before extraction, that sites are what their names say; in the layer where it held least",
        "actlas extract MODEL --corpus CORPUS --store STORE",
        {"checkpoint": pl.String(), "architecture": pl.String(), "compute_dtype": pl.String(), "site": pl.String()},
        {"proof": pl.String(), "layer": pl.Int32(), "figure": pl.Float64(), "allowed": pl.Float64(), "is_proved": pl.Boolean()},
        stored=False,
    ),
    _table(
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
    _table(
        "settings",
        "the settings of every kept table, the parts that stand beside included",
        None,
        {"table_name": pl.String(), "checkpoint": pl.String(), "settings": pl.String(), "is_shown": pl.Boolean()},
        {"is_current": pl.Boolean(), "details": pl.String()},
        stored=False,
    ),
    _table(
        "experts",
        "the k best neurons by ap, all layers and linear sites together",
        "actlas experts STORE",
        {"checkpoint": pl.String(), "language": pl.String(), "concept": pl.String(), "rank": pl.Int32()},
        _NEURON,
        {"ap": pl.Float64(), "median": pl.Float32(), "p90": pl.Float32()},
        settings=("sites",),
        limits=("k",),
    ),
    _table(
        "expert_mask",
        "languages in which a neuron is an expert, as bits; one row per neuron that is an expert anywhere",
        "actlas experts STORE",
        {"checkpoint": pl.String(), "concept": pl.String()},
        _NEURON,
        {"word": pl.Int32(), "mask": pl.UInt64(), "n_languages": pl.Int32()},
        settings=("sites",),
        limits=("k",),
    ),
    _table(
        "layer_histogram",
        "how many experts sit in each layer of each site, zeros included",
        "actlas experts STORE",
        {"checkpoint": pl.String(), "concept": pl.String(), "language": pl.String(), "site": pl.String(), "layer": pl.Int32()},
        {"n_experts": pl.Int32(), "n_neurons": pl.Int32(), "k": pl.Int32()},
        settings=("sites",),
        limits=("k",),
    ),
    _table(
        "rankable",
        "how many neurons of each layer of each site can be experts in both of two languages; language_a = language_b: in one",
        "actlas experts STORE",
        _PAIR,
        {"site": pl.String(), "layer": pl.Int32(), "n_rankable": pl.Int64()},
        settings=("sites",),
    ),
    _table(
        "control_experts",
        "the k best neurons on either half of the texts",
        "actlas overlap STORE",
        {"checkpoint": pl.String(), "variant": pl.String(), "language": pl.String(), "concept": pl.String(), "rank": pl.Int32()},
        _NEURON,
        {"ap": pl.Float64()},
        settings=("sites", "seed"),
        limits=("k",),
        basis=Basis.VALUES,
    ),
    _table(
        "overlap",
        "experts shared by each pair of languages, zeros included, with chance and the split-half ceiling",
        "actlas overlap STORE",
        _PAIR,
        {
            "k": pl.Int32(),
            "shared": pl.Int32(),
            "overlap": pl.Float64(),
            "jaccard": pl.Float64(),
            "chance": pl.Float64(),
            "ceiling": pl.Float64(),
            "cross_half": pl.Float64(),
            "n_neurons": pl.Int64(),
            "n_rankable": pl.Int64(),
        },
        settings=("k", "sites", "seed"),
        limits=("halves",),
    ),
    _table(
        "overlap_by_layer",
        "the same layer by layer; shared and overlap add up to those of table overlap",
        "actlas overlap STORE",
        _PAIR,
        {
            "layer": pl.Int32(),
            "k": pl.Int32(),
            "shared": pl.Int32(),
            "overlap": pl.Float64(),
            "jaccard": pl.Float64(),
            "chance": pl.Float64(),
            "ceiling": pl.Float64(),
            "cross_half": pl.Float64(),
            "n_a": pl.Int32(),
            "n_b": pl.Int32(),
            "n_neurons": pl.Int64(),
            "n_rankable": pl.Int64(),
        },
        settings=("k", "sites", "seed"),
        limits=("halves",),
    ),
    _table(
        "overlap_controls",
        "mean overlap of a checkpoint beside its controls",
        "actlas overlap STORE --controls",
        {
            "checkpoint": pl.String(),
            "step": pl.Int64(),
            "k": pl.Int32(),
            "overlap": pl.Float64(),
            "low": pl.Float64(),
            "high": pl.Float64(),
            "null": pl.Float64(),
            "null_sd": pl.Float64(),
            "excess": pl.Float64(),
            "p_value": pl.Float64(),
            "null_independent": pl.Float64(),
            "other_concept": pl.Float64(),
            "chance": pl.Float64(),
            "ceiling": pl.Float64(),
            "cross_half": pl.Float64(),
            "null_ceiling": pl.Float64(),
            "null_cross_half": pl.Float64(),
            "corrected_ratio": pl.Float64(),
            "n_pairs": pl.Int32(),
            "n_concepts": pl.Int32(),
            "n_repeats": pl.Int32(),
            "permuted": pl.String(),
        },
        settings={**dict.fromkeys(("k", "sites", "seed")), "n_repeats": 99},
    ),
    _table(
        "overlap_controls_by_layer",
        "the same layer by layer; overlap and null add up to those of table overlap_controls",
        "actlas overlap STORE --controls",
        {
            "checkpoint": pl.String(),
            "step": pl.Int64(),
            "layer": pl.Int32(),
            "k": pl.Int32(),
            "overlap": pl.Float64(),
            "low": pl.Float64(),
            "high": pl.Float64(),
            "null": pl.Float64(),
            "null_sd": pl.Float64(),
            "excess": pl.Float64(),
            "p_value": pl.Float64(),
            "q_value": pl.Float64(),
            "chance": pl.Float64(),
            "ceiling": pl.Float64(),
            "cross_half": pl.Float64(),
            "n_pairs": pl.Int32(),
            "n_concepts": pl.Int32(),
            "n_repeats": pl.Int32(),
        },
        settings=("k", "sites", "seed", "n_repeats"),
    ),
    *(
        _table(
            name,
            about,
            "actlas overlap STORE --tests",
            columns,
            {
                "k": pl.Int32(),
                "overlap": pl.Float64(),
                "null": pl.Float64(),
                "null_sd": pl.Float64(),
                "excess": pl.Float64(),
                "p_value": pl.Float64(),
                "q_value": pl.Float64(),
                "n_repeats": pl.Int32(),
                "n_tests": pl.Int64(),
            },
            settings=("k", "sites", "seed", "n_repeats"),
        )
        for name, about, columns in (
            ("overlap_tests", "is the overlap of a pair of languages more than labels without meaning give", _PAIR),
            ("overlap_tests_by_layer", "the same layer by layer", {**_PAIR, "layer": pl.Int32()}),
            (
                "overlap_tests_by_concept",
                "the same of the mean over all pairs of languages",
                {"checkpoint": pl.String(), "concept": pl.String(), "n_pairs": pl.Int32()},
            ),
        )
    ),
    _table(
        "lape",
        "language-specific neurons by entropy of activation probability, one row per neuron and language; site: where tokens "
        "were counted, the gate (mlp_pre) in gated MLPs",
        "actlas lape STORE",
        {"checkpoint": pl.String()},
        _NEURON,
        {"language": pl.String(), "p_active": pl.Float64(), "entropy": pl.Float64()},
        settings=("site", "share", "bar_quantile", "threshold"),
        basis=Basis.VALUES,
    ),
    _table(
        "token_activity",
        "activation probability of every counted neuron, one number per language in the order of table languages",
        "actlas lape STORE",
        {"checkpoint": pl.String()},
        _NEURON,
        {"entropy": pl.Float64(), "p_max": pl.Float64(), "p_active": pl.List(pl.Float64)},
        settings=("site", "threshold"),
        basis=Basis.VALUES,
    ),
    _table(
        "neuron_sets",
        "language-specific neurons that others published, one row per neuron and language; digest: of the file",
        "actlas neuron-sets import STORE FILE --name NAME --languages LANGUAGE,...",
        {"checkpoint": pl.String(), "name": pl.String(), "language": pl.String()},
        _NEURON,
        {"digest": pl.String()},
        basis=Basis.VALUES,
    ),
    _table(
        "trajectory",
        "neurons that are experts in two or more languages at some step, followed over all steps",
        "actlas trajectory STORE",
        {"checkpoint": pl.String(), "step": pl.Int64(), "concept": pl.String()},
        _NEURON,
        {"n_languages": pl.Int32(), "ap_mean": pl.Float64(), "ap_min": pl.Float64()},
        settings=("k", "sites"),
        basis=Basis.ALL_SCORES,
    ),
    _table(
        "rank_stability",
        "how far the experts of a checkpoint are those of the one before and of the last",
        "actlas trajectory STORE --stability",
        {"checkpoint": pl.String(), "step": pl.Int64(), "language": pl.String(), "concept": pl.String(), "k": pl.Int32()},
        {"previous": pl.String(), "overlap_previous": pl.Float64(), "overlap_last": pl.Float64()},
        settings=("k", "sites"),
        basis=Basis.ALL_SCORES,
    ),
    _table(
        "probe",
        "accuracy of a linear classifier on token vectors",
        "actlas probe STORE",
        {"checkpoint": pl.String(), "site": pl.String(), "layer": pl.Int32(), "label": pl.String(), "seed": pl.Int32()},
        {"accuracy": pl.Float64(), "n_train": pl.Int32(), "n_test": pl.Int32(), "c": pl.Float64()},
        {"chance": pl.Float64(), "n_iterations": pl.Int32()},
        settings={
            **dict.fromkeys(("label", "seeds", "sites", "c", "c_grid", "test_share", "max_train")),
            "max_iterations": 1000,
        },
        basis=Basis.VALUES,
    ),
    _table(
        "top_texts",
        "the texts with the highest values of each neuron",
        "actlas top-texts STORE --site SITE",
        {"checkpoint": pl.String()},
        _NEURON,
        {"rank": pl.Int32(), "text_id": pl.Int64(), "value": pl.Float32()},
        basis=Basis.VALUES,
    ),
)

#: Every table by name.
TABLES: Mapping[str, Table] = {table.name: table for table in _ALL}
#: Commands of tables that other parts publish; their columns are whatever was published.
FOREIGN_COMMANDS: Mapping[str, str] = {"generations": "actlas steer STORE", "patches": "actlas patch STORE"}
