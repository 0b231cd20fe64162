"""Tables of words in every form that is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from actlas.errors import WordsError
from actlas.intervene.concepts.words import read_words


def written(folder: Path, text: str) -> Path:
    path = folder / "words.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_bundled_table_has_every_concept_in_every_language() -> None:
    table = read_words()
    assert len(table.words) >= 30
    assert table.concepts_in(table.languages) == list(table.words)
    assert all(word.strip() == word and '"' not in word for own in table.words.values() for by in own.values() for word in by)


def test_a_row_per_word(tmp_path: Path) -> None:
    path = written(tmp_path, "concept,language,word\nship,en,ship\nship,fr,navire\nship,fr,bateau\nship,fr,navire\nsun,en,sun\n")
    table = read_words(path)
    assert table.words == {"ship": {"en": ("ship",), "fr": ("navire", "bateau")}, "sun": {"en": ("sun",)}}
    assert table.languages == ("en", "fr")
    assert table.concepts_in(["en", "fr"]) == ["ship"]
    with pytest.raises(WordsError, match="no language 'de' in the table of words; it has en, fr"):
        table.concepts_in(["de"])


def test_a_column_per_language_with_lists_of_synonyms(tmp_path: Path) -> None:
    text = "fr,de,word_original,senses\n\"['livre', 'papier']\",\"['Buch']\",book,2\n['nuage'],[],cloud,1\neau,Wasser,water,1\n"
    assert read_words(written(tmp_path, text)).words == {
        "book": {"fr": ("livre", "papier"), "de": ("Buch",)},
        "cloud": {"fr": ("nuage",)},
        "water": {"fr": ("eau",), "de": ("Wasser",)},
    }


SIMLEX = """ID,ENG 1,ENG 2,PoS,FRA 1,FRA 2,SPA 1,SPA 2,scores 1,scores 2,translation 1,translation 2
1,plant,horse,N,plante,cheval,planta,caballo,plant,horse,x,y
2,plant,pretty,V,planter,joli,plantar,bonito,plant,pretty,x,y
3,horse,sun,N,jument,soleil,caballo,,horse,sun,x,y
"""


def test_multi_simlex_as_it_is_published(tmp_path: Path) -> None:
    """A word with two parts of speech is left out, one in several rows has all translations, an empty cell is none."""
    table = read_words(written(tmp_path, SIMLEX))
    assert table.words == {
        "horse": {"en": ("horse",), "fr": ("jument", "cheval"), "es": ("caballo",)},
        "pretty": {"en": ("pretty",), "fr": ("joli",), "es": ("bonito",)},
        "sun": {"en": ("sun",), "fr": ("soleil",)},
    }
    nouns = read_words(tmp_path / "words.csv", part_of_speech="N")
    assert set(nouns.words) == {"plant", "horse", "sun"}
    with pytest.raises(WordsError, match=r"no part of speech 'noun' in .*; it has N, V"):
        read_words(tmp_path / "words.csv", part_of_speech="noun")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "is no table of words: it has columns a, b; what can be read has concept, language and word"),
        ("concept,language,word\n", "holds no word"),
        ("concept,fr\nsun,\"['soleil'\"\n", r"\"\['soleil'\" is no list of words as Python writes it"),
        ('concept,fr\nsun,"[1, 2]"\n', r"'\[1, 2\]' is no list of words as Python writes it"),
    ],
)
def test_what_is_no_table_of_words(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(WordsError, match=message):
        read_words(written(tmp_path, text))
    with pytest.raises(WordsError, match="has no column PoS"):
        read_words(written(tmp_path, "concept,language,word\nsun,en,sun\n"), part_of_speech="N")
    with pytest.raises(WordsError, match="cannot be read as a CSV file"):
        read_words(tmp_path / "none.csv")


def test_the_digest_is_of_every_word(tmp_path: Path) -> None:
    one = read_words(written(tmp_path, "concept,language,word\nsun,en,sun\n"))
    other = read_words(written(tmp_path, "concept,language,word\nsun,en,sunny\n"))
    assert one.digest != other.digest
