"""Tables of what a live model did when answers were handed back to it."""

from __future__ import annotations

import polars as pl

from actlas.query.schema.table import NEURON, Basis, Table, table

INTERVENTIONS: tuple[Table, ...] = (
    table(
        "generations",
        "texts that a model wrote while neurons were forced, beside controls; arm: what was forced, experts_of: whose experts",
        "actlas steer STORE --concept CONCEPT --language LANGUAGE",
        {"checkpoint": pl.String(), "step": pl.Int64(), "concept": pl.String(), "language": pl.String()},
        {"arm": pl.String(), "experts_of": pl.String(), "k": pl.Int32(), "on_value": pl.String()},
        {"prompt": pl.String(), "seed": pl.Int64(), "text": pl.String(), "n_tokens": pl.Int32(), "is_finished": pl.Boolean()},
        {"text_language": pl.String(), "language_confidence": pl.Float64(), "has_word": pl.Boolean(), "probe_p": pl.Float64()},
        settings=("k", "sites", "forcing", "arms", "seeds", "prompts", "sampling", "compute_dtype", "neurons"),
    ),
    table(
        "neuron_effects",
        "loss on the texts of a language (language) while a set of neurons of a language (set_language) is acted on; arm random, "
        "draw 1, 2, ...: as many other neurons of the same layers and sites",
        "actlas effects STORE",
        {
            "checkpoint": pl.String(),
            "source": pl.String(),
            "concept": pl.String(),
            "set_language": pl.String(),
            "intervention": pl.String(),
            "strength": pl.Float64(),
            "arm": pl.String(),
            "draw": pl.Int32(),
            "sites": pl.String(),
            "n_neurons": pl.Int32(),
            "language": pl.String(),
            "n_texts": pl.Int32(),
            "n_tokens": pl.Int64(),
            "loss_base": pl.Float64(),
            "loss": pl.Float64(),
            "change": pl.Float64(),
            "change_se": pl.Float64(),
        },
        settings=(
            *("sources", "interventions", "languages", "concepts", "any_weights", "k", "share", "bar_quantile"),
            *("text_languages", "n_texts", "split", "n_random", "seed", "factor", "shift"),
        ),
        basis=Basis.VALUES,
    ),
    table(
        "patches",
        "how probable words of either concept of a pair are after a prompt into which latents were put, in every language",
        "actlas patch STORE",
        {
            "checkpoint": pl.String(),
            "step": pl.Int64(),
            "language_in": pl.String(),
            "language_out": pl.String(),
            "setting": pl.String(),
            "layer": pl.Int32(),
            "pair": pl.Int32(),
            "source_concept": pl.String(),
            "target_concept": pl.String(),
            "language": pl.String(),
            "p_source": pl.Float64(),
            "p_target": pl.Float64(),
            "continuation": pl.String(),
        },
        settings=("settings", "seen", "layers", "n_tokens", "prompts", "compute_dtype"),
        basis=Basis.VALUES,
    ),
    table(
        "token_values",
        "what neurons have at every token of the texts that are strongest for them (by_token), beside what is kept of the text "
        "(value); where the tokens stand in it: token_places",
        "actlas tokens STORE",
        {"checkpoint": pl.String()},
        NEURON,
        {"rank": pl.Int32(), "text_id": pl.Int64(), "value": pl.Float32(), "by_token": pl.List(pl.Float32())},
        settings=("of", "languages", "concepts", "k"),
        limits=("texts",),
        basis=Basis.VALUES,
    ),
    table(
        "token_places",
        "the tokens of the texts of table token_values, and the characters of the text that each stands for",
        "actlas tokens STORE",
        {"checkpoint": pl.String(), "text_id": pl.Int64(), "position": pl.Int32(), "token_id": pl.Int32()},
        {"piece": pl.String(), "char_start": pl.Int32(), "char_end": pl.Int32(), "is_special": pl.Boolean()},
        settings=("of", "languages", "concepts", "k"),
        limits=("texts",),
        basis=Basis.VALUES,
    ),
)
