"""Words of many concepts in many languages: what translation prompts are made of, and what an answer is read from."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from actlas.errors import WordsError
from actlas.words import listed, no_such

#: Words of our own, for examples and tests: everyday nouns in eight languages.
BUNDLED = Path(__file__).parent / "words.csv"
_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]+)?")
#: Columns that say which concept a row of a table with a column per language is about.
_CONCEPT_COLUMNS = ("concept", "word_original")
#: Languages of Multi-SimLex by the names of its columns.
_SIMLEX = {
    "ENG": "en",
    "ARA": "ar",
    "CMN": "zh",
    "CYM": "cy",
    "EST": "et",
    "FIN": "fi",
    "FRA": "fr",
    "HEB": "he",
    "POL": "pl",
    "RUS": "ru",
    "SPA": "es",
    "SWA": "sw",
    "YUE": "yue",
}
_SIMLEX_COLUMN = re.compile(rf"({'|'.join(_SIMLEX)}|scores) ([12])")


@dataclass(frozen=True)
class WordTable:
    """Words by concept and language.

    Attributes:
        words: concept -> language -> its words there, the first one first; what prompts show is the first.
    """

    words: Mapping[str, Mapping[str, tuple[str, ...]]]

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Languages in the order in which they first appear."""
        return tuple(dict.fromkeys(language for own in self.words.values() for language in own))

    @cached_property
    def digest(self) -> str:
        """Hash of the whole table."""
        plain = [[concept, [[name, list(own)] for name, own in by.items()]] for concept, by in self.words.items()]
        return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]

    def concepts_in(self, languages: Sequence[str]) -> list[str]:
        """Concepts that have a word in each of some languages.

        Args:
            languages: Which.

        Returns:
            Their names, in the order of the table.

        Raises:
            WordsError: If the table has no such language.

        Example:
            >>> WordTable({"sun": {"en": ("sun",), "fr": ("soleil",)}, "sea": {"en": ("sea",)}}).concepts_in(["en", "fr"])
            ['sun']
        """
        unknown = [name for name in languages if name not in self.languages]
        if unknown:
            raise WordsError(no_such("language", unknown, self.languages, "the table of words"))
        return [concept for concept, own in self.words.items() if all(language in own for language in languages)]


def read_words(path: Path | str | None = None, *, part_of_speech: str | None = None) -> WordTable:
    """Read a table of words from a CSV file of any of three kinds.

    - columns concept, language, word; further rows of the same concept and language are synonyms;
    - a column per language (`en`, `fr`, ...) and one that names the concept (`concept` or `word_original`). A cell is a word, or
      a list of synonyms as Python writes it: ``['book', 'paper']``;
    - ``multi_simlex.csv`` as it is published: two words per row (`ENG 1`, `ENG 2`, ...), named by their English ones (`scores 1`,
      `scores 2`). A word with several parts of speech is left out; one that stands in several rows has all their translations.

    Args:
        path: The file; None for the words that come with actlas: everyday nouns in eight languages.
        part_of_speech: Only rows with this in column `PoS`.

    Returns:
        The table.

    Raises:
        WordsError: If the file is of none of these kinds, or has no word.

    Example:
        >>> table = read_words()
        >>> table.languages
        ('en', 'es', 'pt', 'fr', 'it', 'de', 'id', 'sw')
        >>> table.words["ship"]["fr"]
        ('navire', 'bateau')
    """
    path = BUNDLED if path is None else Path(path)
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise WordsError(f"{path} cannot be read as a CSV file: {error}") from error
    if part_of_speech is not None:
        frame = _of_part_of_speech(frame, part_of_speech, path)
    if {"concept", "language", "word"} <= set(frame.columns):
        cells: Iterable[tuple[str | None, str | None, str | None]] = frame.select("concept", "language", "word").iter_rows()
    elif {"ENG 1", "ENG 2"} <= set(frame.columns):
        cells = _simlex_cells(frame)
    else:
        cells = _wide_cells(frame, path)
    words: dict[str, dict[str, dict[str, None]]] = {}
    for concept, language, cell in cells:
        for word in _words_of(cell or "", path):
            if concept and language:
                words.setdefault(concept, {}).setdefault(language, {})[word] = None
    if not words:
        raise WordsError(f"{path} holds no word")
    return WordTable({concept: {name: tuple(one) for name, one in own.items()} for concept, own in words.items()})


def _of_part_of_speech(frame: pl.DataFrame, part_of_speech: str, path: Path) -> pl.DataFrame:
    if "PoS" not in frame.columns:
        raise WordsError(f"{path} has no column PoS, by which {part_of_speech!r} could be chosen")
    existing = sorted(frame["PoS"].drop_nulls().unique())
    if part_of_speech not in existing:
        raise WordsError(no_such("part of speech", [part_of_speech], existing, path))
    return frame.filter(pl.col("PoS") == part_of_speech)


def _simlex_cells(frame: pl.DataFrame) -> Iterator[tuple[str | None, str | None, str | None]]:
    """Cells of multi_simlex.csv: the first word of every row, then the second of every row."""
    numbered = {column: found.groups() for column in frame.columns if (found := _SIMLEX_COLUMN.fullmatch(column))}
    parts = []
    for half in ("1", "2"):
        columns = {column: name for column, (name, number) in numbered.items() if number == half}
        own = frame.select(*columns, *(["PoS"] if "PoS" in frame.columns else [])).rename(columns)
        parts.append(own.with_columns(pl.col("scores" if "scores" in own.columns else "ENG").alias("concept")))
    rows = pl.concat(parts)
    if "PoS" in rows.columns:
        rows = rows.filter(pl.col("PoS").n_unique().over("concept") == 1)
    for row in rows.iter_rows(named=True):
        for column, language in _SIMLEX.items():
            yield row["concept"], language, row.get(column)


def _wide_cells(frame: pl.DataFrame, path: Path) -> Iterator[tuple[str | None, str | None, str | None]]:
    """Cells of a table with a column per language."""
    named = next((column for column in _CONCEPT_COLUMNS if column in frame.columns), None)
    languages = [column for column in frame.columns if _LANGUAGE.fullmatch(column)]
    if named is None or not languages:
        raise WordsError(
            f"{path} is no table of words: it has columns {listed(frame.columns)}; what can be read has concept, language and "
            "word, or concept (word_original) and a column per language such as en and fr, or is multi_simlex.csv"
        )
    for row in frame.iter_rows(named=True):
        for language in languages:
            yield row[named], language, row[language]


def _words_of(cell: str, path: Path) -> list[str]:
    """The words of a cell: one, or a list as Python writes it."""
    if not cell.startswith("["):
        return [cell.strip()] if cell.strip() else []
    try:
        words = ast.literal_eval(cell)
    except (ValueError, SyntaxError) as error:
        raise WordsError(f"{path}: {cell[:60]!r} is no list of words as Python writes it") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise WordsError(f"{path}: {cell[:60]!r} is no list of words as Python writes it")
    return [word.strip() for word in words if word.strip()]
