"""Tables of interventions, written by hand into planted stores: what was put in is what figures have to find."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from actlas.query import Atlas
from actlas.query.schema import TABLES

#: Arm -> of every ten texts, those in the experts' language, those with the concept's word, and those with it elsewhere.
RATES: Mapping[str, tuple[int, int, int]] = {"none": (3, 1, 1), "experts": (5, 6, 4), "random": (3, 1, 1)}


def with_generations(store: Atlas, rates: Mapping[str, tuple[int, int, int]] = RATES) -> None:
    """Texts of every checkpoint, concept and arm; experts of English, ten texts each."""
    for step, checkpoint in enumerate(store.checkpoints):
        rows = []
        for concept in store.corpus.concepts:
            for arm, (own, words, elsewhere) in rates.items():
                # at the first checkpoint, words do not come yet
                n_words, n_elsewhere = (words, elsewhere) if step else (0, 0)
                for seed in range(10):
                    is_own = seed < own
                    number = seed - own
                    has_word = seed < n_words - n_elsewhere if is_own else number < n_elsewhere
                    about = {"checkpoint": checkpoint, "step": step, "concept": concept, "language": "en", "arm": arm}
                    text = {"seed": seed, "text": "a", "n_tokens": 1, "text_language": "en" if is_own else "fr"}
                    rows.append({**about, **text, "has_word": has_word})
        columns = TABLES["generations"].columns
        frame = pl.DataFrame(rows, schema_overrides={}).select(
            pl.col(name).cast(dtype) if name in rows[0] else pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in columns.items()
        )
        store.publish_table("generations", checkpoint, frame, {})


def with_patches(store: Atlas, rise: float) -> None:
    """Patches of every checkpoint; at the last, latents from layer 0 on raise the source concept by `rise`."""
    names = store.corpus.concepts
    for step, checkpoint in enumerate(store.checkpoints):
        rows = []
        for setting in ("seen", "tgt", "en_en", "self", "tgt_tgt", "unpatched"):
            for layer in (None,) if setting == "unpatched" else (0, 1):
                for number, source in enumerate(names):
                    is_raised = setting not in ("tgt_tgt", "unpatched") and layer == 0 and step == len(store.checkpoints) - 1
                    p_source = 0.1 + 0.01 * number + (rise if is_raised else 0.0)
                    rows.append(
                        (step, setting, layer, number, source, names[number - 1], p_source, 0.3 - (rise if is_raised else 0))
                    )
        columns = ("step", "setting", "layer", "pair", "source_concept", "target_concept", "p_source", "p_target")
        known = pl.DataFrame(rows, schema=list(columns), orient="row", infer_schema_length=None)
        known = known.with_columns(
            pl.lit(checkpoint).alias("checkpoint"),
            pl.lit("en").alias("language_in"),
            pl.lit("fr").alias("language_out"),
            pl.lit("fr").alias("language"),
        )
        frame = known.select(
            pl.col(name).cast(dtype) if name in known.columns else pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in TABLES["patches"].columns.items()
        )
        store.publish_table("patches", checkpoint, frame, {})
