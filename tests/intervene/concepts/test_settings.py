"""Which source prompts a setting takes its latents from."""

from __future__ import annotations

import pytest

from actlas.errors import QueryError
from actlas.intervene.concepts.settings import language_pair, source_pairs
from actlas.names import PATCH_SETTINGS


def test_the_published_number_of_pairs_of_seen_languages() -> None:
    """Seven languages are left of nine without English and French, the input: 42 ordered pairs."""
    seen = ["en", "fr", "de", "es", "fi", "pl", "ru", "et", "zh"]
    pairs = source_pairs("seen", ("fr", "en"), seen)
    assert len(pairs) == len(set(pairs)) == 42
    assert not {"en", "fr"} & {language for pair in pairs for language in pair}
    assert len(source_pairs("seen", ("fr", "de"), seen)) == 30


def test_the_other_settings() -> None:
    found = {setting: source_pairs(setting, ("fr", "de"), ["en", "fr", "de"]) for setting in PATCH_SETTINGS}
    assert found == {
        "seen": [],
        "tgt": [("fr", "de")],
        "en_en": [("en", "en")],
        "self": [("de", "de")],
        "tgt_tgt": [],
        "unpatched": [],
        "unpatched_source": [("fr", "de")],
    }


@pytest.mark.parametrize("name", ["fr", "fr-", "-en", "fr-en-de", ""])
def test_what_names_no_translation(name: str) -> None:
    with pytest.raises(QueryError, match="a translation is named by its two languages, such as fr-en"):
        language_pair(name)
