"""Tables of what a live model did when answers were handed back to it."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from actlas.query.schema.table import Table, table

INTERVENTIONS: tuple[Table, ...] = (
    table(
        "generations",
        "texts that a model wrote while neurons were forced, beside controls; arm: what was forced, experts_of: whose experts",
        "actlas steer STORE --concept CONCEPT --language LANGUAGE",
        {"checkpoint": pl.String(), "step": pl.Int64(), "concept": pl.String(), "language": pl.String()},
        {"arm": pl.String(), "experts_of": pl.String(), "k": pl.Int32(), "on_value": pl.String()},
        {"prompt": pl.String(), "seed": pl.Int64(), "text": pl.String(), "n_tokens": pl.Int32(), "is_finished": pl.Boolean()},
        {"text_language": pl.String(), "language_confidence": pl.Float64(), "has_word": pl.Boolean(), "probe_p": pl.Float64()},
        settings=("k", "sites", "forcing", "arms", "seeds", "prompts", "sampling", "compute_dtype", "identifier"),
    ),
)
#: Commands of tables whose columns are whatever was published.
FOREIGN_COMMANDS: Mapping[str, str] = {"patches": "actlas patch STORE"}
