"""Shares of each arm are those of a plain count."""

from __future__ import annotations

import polars as pl

from actlas.intervene.generation import steering_summary


def test_shares_are_those_of_a_plain_count() -> None:
    languages = {"experts": ["es", "es", None, "en"], "none": ["en", "en", "en", "fr"]}
    rows = [
        {
            "checkpoint": "c",
            "concept": "salt",
            "language": "es",
            "arm": arm,
            "experts_of": "salt" if arm == "experts" else None,
            "text_language": language,
            "has_word": None if language is None else language == "es",
            "probe_p": None if arm == "none" else 0.25,
            "n_tokens": 10,
        }
        for arm, own in languages.items()
        for language in own
    ]
    found = steering_summary(pl.DataFrame(rows, infer_schema_length=None))
    assert found.drop("checkpoint", "concept", "language").rows() == [
        ("experts", "salt", 4, 0.5, 2 / 3, 0.25, 10.0, "es 50%, en 25%, ? 25%"),
        ("none", None, 4, 0.0, 0.0, None, 10.0, "en 75%, fr 25%"),
    ]
