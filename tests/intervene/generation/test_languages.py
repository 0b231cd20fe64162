"""Texts of known languages are named in the store's codes; what cannot be told is null or refused."""

from __future__ import annotations

import builtins
from typing import Any

import polars as pl
import pytest

from actlas.demo.corpus import DEMO_LANGUAGES, demo_corpus
from actlas.errors import BackendUnavailable, OptionError
from actlas.intervene.generation import IDENTIFIER, identifiable, identify_languages, languages

SENTENCES = {
    "en": "The government said on Monday that the river would be cleaned.",
    "de": "Die Regierung sagte am Montag, dass der Fluss gereinigt werde.",
    "fr": "Le gouvernement a déclaré lundi que le fleuve serait nettoyé.",
    "es": "El gobierno dijo el lunes que el río sería limpiado.",
    "sw": "Serikali ilisema Jumatatu kwamba mto huo utasafishwa.",
    "zh": "政府周一表示,这条河将被清理。",
    "ar": "قالت الحكومة يوم الاثنين إن النهر سيتم تنظيفه.",
}


@pytest.mark.parametrize(
    "codes",
    [
        ("en", "de", "fr", "es", "sw", "zh", "ar"),
        ("eng", "deu", "fra", "spa", "swa", "zho-CN", "arb"),
        ("eng_Latn", "deu_Latn", "fra_Latn", "spa_Latn", "swh_Latn", "zho_Hans", "arb_Arab"),
        ("en-GB", "DE", "fr_CA", "es", "swh", "cmn", "ara"),
    ],
)
def test_texts_are_named_in_the_codes_of_the_store(codes: tuple[str, ...]) -> None:
    found = identify_languages(list(SENTENCES.values()), codes)
    assert found["language"].to_list() == list(codes)
    assert found["confidence"].is_between(0.5, 1).all()


def test_without_languages_the_codes_are_the_identifiers() -> None:
    assert identify_languages(list(SENTENCES.values()))["language"].to_list() == list(SENTENCES)


def test_other_languages_are_not_in_the_way_of_those_allowed() -> None:
    # alone it is taken for Irish
    assert identify_languages(["el agua"])["language"].item() != "es"
    assert identify_languages(["el agua"], ["es", "en", "fr"])["language"].item() == "es"


@pytest.mark.parametrize("among", [None, ("en", "de", "fr")])
@pytest.mark.parametrize("text", ["", "   \n", "12 345", "!?...", "😀", "a"])
def test_what_says_nothing_has_no_language(text: str, among: tuple[str, ...] | None) -> None:
    # without it, the first language of the model's list would win all ties
    assert identify_languages([text], among).row(0) in [(None, None)]


def test_no_texts_give_no_rows() -> None:
    found = identify_languages([], ["en", "de"])
    assert found.schema == {"language": pl.String, "confidence": pl.Float64}
    assert found.is_empty()


def test_languages_that_cannot_be_told_apart_are_left_out_and_refused() -> None:
    asked = ("en", "tlh", "zho-CN", "zho-TW", "x-made-up", "swa")
    assert identifiable(asked) == ("en", "swa")
    with pytest.raises(OptionError, match="tlh, zho-CN, zho-TW, x-made-up; it can tell en, swa"):
        identify_languages(["text"], asked)
    for few in ((), ("en",)):
        with pytest.raises(OptionError, match="two languages or more"):
            identify_languages(["text"], few)


def test_a_restricted_call_leaves_the_next_one_open() -> None:
    identify_languages(["text"], ["en", "de"])
    assert identify_languages([SENTENCES["sw"]])["language"].item() == "sw"


def test_every_code_of_the_table_is_one_the_identifier_has() -> None:
    assert all(languages._code(name) == code for name, code in languages._OTHER_CODES.items())


def test_the_texts_of_the_demo_are_told_apart() -> None:
    texts = demo_corpus(DEMO_LANGUAGES).texts.filter(pl.int_range(pl.len()) % 10 == 0)
    found = identify_languages(texts["text"].to_list(), DEMO_LANGUAGES)["language"]
    assert (found == texts["language"]).mean() > 0.95


def test_the_identifier_is_named_with_its_version() -> None:
    assert IDENTIFIER.name == "py3langid"
    assert IDENTIFIER.version.count(".") == 2


def test_without_the_identifier_the_line_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("py3langid"):
            raise ImportError(name)
        return imported(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    languages._whole.cache_clear()
    with pytest.raises(BackendUnavailable, match=r"pip install 'actlas\[steer\]'"):
        identify_languages(["text"])
