"""What the texts of a steering run say together, arm by arm."""

from __future__ import annotations

import polars as pl

_GROUP = ("checkpoint", "concept", "language", "arm", "experts_of")
#: Languages that are listed of an arm's texts.
_MOST_LANGUAGES = 4


def steering_summary(texts: pl.DataFrame) -> pl.DataFrame:
    """Shares of the texts of each arm; macros `steering_languages`, `language_shift` and `concept_rate` have their intervals.

    Args:
        texts: What `generate_steered` gave.

    Returns:
        checkpoint, concept, language, arm, experts_of, n_texts, in_language (share of texts in the language of the experts),
        has_word (share with a word of the concept, of those that can tell), probe (mean probability of the concept), n_tokens
        (mean), languages (the most frequent ones with their shares); one row per arm, in the order of `texts`.

    Example:
        >>> row = {"checkpoint": "c", "concept": "salt", "language": "es", "arm": "experts", "experts_of": "salt", "n_tokens": 8}
        >>> row |= {"has_word": True, "probe_p": None}
        >>> texts = pl.DataFrame([{**row, "text_language": language} for language in ("es", "en")])
        >>> steering_summary(texts).select("arm", "n_texts", "in_language", "languages").rows()
        [('experts', 2, 0.5, 'en 50%, es 50%')]
    """
    counted = (
        texts.group_by(*_GROUP, "text_language", maintain_order=True)
        .len()
        .with_columns(share=pl.col("len") / pl.col("len").sum().over(_GROUP))
        .sort("share", "text_language", descending=[True, False], nulls_last=True)
        .group_by(_GROUP, maintain_order=True)
        .head(_MOST_LANGUAGES)
    )
    name = pl.concat_str(
        pl.col("text_language").fill_null("?"), pl.lit(" "), (100 * pl.col("share")).round(0).cast(pl.Int64), pl.lit("%")
    )
    languages = counted.group_by(_GROUP, maintain_order=True).agg(name.str.join(", ").alias("languages"))
    shares = texts.group_by(_GROUP, maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("n_texts"),
        (pl.col("text_language") == pl.col("language")).fill_null(False).mean().alias("in_language"),
        pl.col("has_word").mean(),
        pl.col("probe_p").cast(pl.Float64).mean().alias("probe"),
        pl.col("n_tokens").mean(),
    )
    return shares.join(languages, on=list(_GROUP), how="left", nulls_equal=True, maintain_order="left")
