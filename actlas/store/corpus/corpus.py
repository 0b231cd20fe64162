"""A corpus: texts with a language each, and labels that say which texts express which concept."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import CorpusError
from actlas.store.corpus.text_sets import LanguageSets, language_sets
from actlas.store.files.atomic import clear_temporaries, read_json, to_json, write_atomically

TEXT_SCHEMA = {
    "text_id": pl.Int64,
    "text": pl.String,
    "language": pl.String,
    "parallel_id": pl.String,
    "split": pl.String,
}
_SHOWN = 5


@dataclass(frozen=True)
class Corpus:
    """Texts and labels of a run. Make one with `corpus_from_frames`, the importers, or `Corpus.read`.

    Attributes:
        texts: text_id (unique, ascending), text, language, parallel_id, split; the texts of a language are consecutive. Further
            columns (source_id, n_tokens, span columns) may follow.
        labels: text_id, concept, is_concept. A text without a row for a concept takes no part in it: neither positive nor
            negative.
        fingerprint: Hash of both frames' content.
    """

    texts: pl.DataFrame
    labels: pl.DataFrame
    fingerprint: str

    @property
    def n_texts(self) -> int:
        """Number of texts."""
        return self.texts.height

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Languages in the order of the text axis."""
        return tuple(self.texts["language"].unique(maintain_order=True))

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        """Concepts, sorted."""
        return tuple(sorted(self.labels["concept"].unique()))

    @cached_property
    def _slices(self) -> dict[str, slice]:
        sizes = self.texts.group_by("language", maintain_order=True).len()
        stops = np.cumsum(sizes["len"].to_numpy())
        return {
            language: slice(int(stop) - size, int(stop))
            for language, size, stop in zip(sizes["language"], sizes["len"], stops, strict=True)
        }

    def language_slice(self, language: str) -> slice:
        """Rows of the text axis that hold a language.

        Args:
            language: One of `languages`.

        Returns:
            The slice; the texts of a language are consecutive.

        Raises:
            KeyError: If the corpus has no text in that language.

        Example:
            >>> store.corpus.languages, store.corpus.language_slice("en")
            (('fr', 'en', 'es'), slice(48, 96, None))
        """
        if language not in self._slices:
            raise KeyError(f"no texts in language {language!r}; the corpus has {', '.join(self.languages)}")
        return self._slices[language]

    @cached_property
    def _matrices(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        shape = (self.n_texts, len(self.concepts))
        is_concept, is_member = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        if self.labels.is_empty():
            return is_concept, is_member
        rows = np.searchsorted(self.texts["text_id"].to_numpy(), self.labels["text_id"].to_numpy())
        position = {concept: i for i, concept in enumerate(self.concepts)}
        columns = self.labels["concept"].replace_strict(position, return_dtype=pl.Int64).to_numpy()
        is_member[rows, columns] = True
        is_concept[rows, columns] = self.labels["is_concept"].to_numpy()
        return is_concept, is_member

    def concept_matrix(
        self, language: str | None = None, concepts: Sequence[str] | None = None
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Labels as arrays.

        Args:
            language: Texts of one language, or None for the whole text axis.
            concepts: Columns wanted, in that order; None for all, sorted.

        Returns:
            is_concept and is_member, both bool ``"texts concepts"``.

        Raises:
            KeyError: If a language or concept is not in the corpus.

        Example:
            >>> is_concept, is_member = store.corpus.concept_matrix("en", ["water", "salt"])
            >>> is_concept.shape, bool((is_concept & ~is_member).any())
            ((48, 2), False)
        """
        rows = slice(None) if language is None else self.language_slice(language)
        is_concept, is_member = (matrix[rows] for matrix in self._matrices)
        if concepts is None:
            return is_concept, is_member
        missing = [concept for concept in concepts if concept not in self.concepts]
        if missing:
            raise KeyError(f"no concept {', '.join(missing)} in the corpus; it has {_listed(self.concepts)}")
        columns = [self.concepts.index(concept) for concept in concepts]
        return is_concept[:, columns], is_member[:, columns]

    @cached_property
    def text_sets(self) -> tuple[LanguageSets, ...]:
        """The sets of texts that share labels, language by language in the order of the text axis."""
        sets: list[LanguageSets] = []
        first = 0
        for language in self.languages:
            labels = self.concept_matrix(language)
            sets.append(language_sets(language, self.language_slice(language), first, self.concepts, *labels))
            first += sets[-1].n_sets
        return tuple(sets)

    def has_answer(self, language: str, concept: str) -> bool:
        """Whether a language has a positive and a negative text of a concept; scores are null where it has not.

        Args:
            language: One of `languages`.
            concept: One of `concepts`.

        Returns:
            Whether the concept can be scored on the language's texts.

        Raises:
            KeyError: If the language or the concept is not in the corpus.

        Example:
            >>> texts = pl.DataFrame({"text": ["water", "sand", "agua"], "language": ["en", "en", "es"]})
            >>> labels = pl.DataFrame({"text_id": [0, 1, 2], "concept": ["water"] * 3, "is_concept": [True, False, True]})
            >>> corpus = corpus_from_frames(texts, labels)
            >>> corpus.has_answer("en", "water"), corpus.has_answer("es", "water")
            (True, False)
        """
        number = self.languages.index(language) if language in self.languages else -1
        if number < 0 or concept not in self.concepts:
            self.concept_matrix(language, [concept])
        return concept in self.text_sets[number].concepts

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """One line for every concept that has no positive or no negative text in some language; its scores there will be null."""
        lines = []
        for language in self.languages:
            is_concept, is_member = self.concept_matrix(language)
            positives, members = is_concept.sum(axis=0), is_member.sum(axis=0)
            for what, lacking in (("positive", positives == 0), ("negative", positives == members)):
                names = [concept for concept, lacks in zip(self.concepts, lacking, strict=True) if lacks]
                if names:
                    lines.append(f"{language}: no {what} text for {_listed(names)}; scores there will be null")
        return tuple(lines)

    def keep(self, is_kept: NDArray[np.bool_]) -> Corpus:
        """The corpus without some texts; text_ids and the fingerprint of what was imported stay.

        Args:
            is_kept: bool ``"texts"``, in the order of the text axis.

        Returns:
            The smaller corpus.

        Example:
            >>> store.corpus.keep(np.arange(144) < 48).languages
            ('fr',)
        """
        texts = self.texts.filter(pl.Series(is_kept))
        labels = self.labels.join(texts.select("text_id"), on="text_id", how="semi", maintain_order="left")
        return Corpus(texts, labels, self.fingerprint)

    def write(self, folder: Path) -> None:
        """Write texts.parquet, labels.parquet and corpus.json; the last makes the folder a corpus.

        Args:
            folder: Made where it is not there.

        Example:
            >>> store.corpus.write(folder)
            >>> sorted(path.name for path in folder.iterdir())
            ['corpus.json', 'labels.parquet', 'texts.parquet']
        """
        write_atomically(folder / "texts.parquet", [parquet_bytes(self.texts)])
        write_atomically(folder / "labels.parquet", [parquet_bytes(self.labels)])
        about = {
            "actlas_corpus": 1,
            "fingerprint": self.fingerprint,
            "n_texts": self.n_texts,
            "languages": list(self.languages),
            "concepts": list(self.concepts),
        }
        write_atomically(folder / "corpus.json", [to_json(about)])
        clear_temporaries(folder, is_deep=False)

    @classmethod
    def read(cls, folder: Path | str) -> Corpus:
        """The corpus that `write` left in a folder.

        Args:
            folder: Where `write` left it.

        Returns:
            The same corpus, with the same fingerprint.

        Raises:
            CorpusError: If the folder holds none.

        Example:
            >>> store.corpus.write(folder)
            >>> Corpus.read(folder).fingerprint == store.corpus.fingerprint
            True
        """
        folder = Path(folder)
        if not (folder / "corpus.json").is_file():
            raise CorpusError(
                f"no corpus at {folder} (no corpus.json there); make one with: actlas corpus import FILE --out {folder}"
            )
        about = read_json(folder / "corpus.json")
        texts, labels = pl.read_parquet(folder / "texts.parquet"), pl.read_parquet(folder / "labels.parquet")
        return cls(texts, labels, about["fingerprint"])


def corpus_from_frames(texts: pl.DataFrame, labels: pl.DataFrame) -> Corpus:
    """Check texts and labels and put them in stored order: by language (first seen first), inside a language as given.

    Args:
        texts: Columns text and language; optional text_id, parallel_id, split and others, which are kept.
        labels: Columns text_id, concept, is_concept. Without a text_id in `texts`, it counts their rows from 0. Rows whose
            is_concept is null are dropped.

    Returns:
        The corpus. text_ids number the texts in stored order; where `texts` has its own, they stay in column source_id.

    Raises:
        CorpusError: If texts are empty, ids repeat, labels name unknown texts or contradict each other, or there is nothing.

    Example:
        >>> texts = pl.DataFrame({"text": ["water", "sand", "agua"], "language": ["en", "en", "es"]})
        >>> labels = pl.DataFrame({"text_id": [0, 1, 2], "concept": ["water"] * 3, "is_concept": [True, False, True]})
        >>> corpus = corpus_from_frames(texts, labels)
        >>> corpus.languages, corpus.warnings
        (('en', 'es'), ('es: no negative text for water; scores there will be null',))
    """
    _check_columns(texts, ("text", "language"))
    _check_columns(labels, ("text_id", "concept", "is_concept"))
    if texts.is_empty():
        raise CorpusError("the corpus has no texts")
    texts = texts.with_columns(pl.col("text", "language").cast(pl.String))
    for column in ("text", "language"):
        empty = texts.with_row_index("row").filter(pl.col(column).fill_null("").str.strip_chars() == "")["row"].to_list()
        if empty:
            rows = _listed([str(row + 1) for row in empty])
            raise CorpusError(f"{len(empty):,} of {texts.height:,} texts have an empty {column}: rows {rows}")
    keys = texts["text_id"] if "text_id" in texts.columns else pl.Series("text_id", np.arange(texts.height))
    if keys.null_count() or keys.n_unique() != len(keys):
        twice = keys.filter(keys.is_duplicated()).unique().cast(pl.String).to_list()
        raise CorpusError(f"text ids must be unique and present; {len(twice):,} repeat: {_listed(twice)}")
    order = texts["language"].unique(maintain_order=True)
    rank = texts["language"].replace_strict(order, pl.Series(np.arange(len(order))), return_dtype=pl.Int64)
    stored = np.argsort(rank.to_numpy(), kind="stable")
    own_ids = "text_id" in texts.columns
    texts = texts.with_columns(keys.alias("_key"))[stored].with_columns(pl.Series("text_id", np.arange(len(stored))))
    ids = texts.select(pl.col("_key").alias("text_id"), pl.col("text_id").alias("_id"))
    texts = texts.rename({"_key": "source_id"}) if own_ids else texts.drop("_key")
    missing = [pl.lit(None, pl.String).alias(name) for name in ("parallel_id", "split") if name not in texts.columns]
    texts = texts.with_columns(missing).with_columns(pl.col("parallel_id", "split").cast(pl.String))
    texts = texts.select(*TEXT_SCHEMA, pl.exclude(*TEXT_SCHEMA))
    labels = _checked_labels(labels, ids)
    return Corpus(texts, labels, _fingerprint(texts, labels))


def _checked_labels(labels: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
    labels = labels.filter(pl.col("is_concept").is_not_null()).cast({"concept": pl.String, "is_concept": pl.Boolean})
    if labels["concept"].null_count() or (labels["concept"].str.strip_chars() == "").any():
        raise CorpusError("a concept has an empty name")
    joined = labels.cast({"text_id": ids["text_id"].dtype}).join(ids, on="text_id", how="left")
    unknown = joined.filter(pl.col("_id").is_null())["text_id"].unique().cast(pl.String).to_list()
    if unknown:
        raise CorpusError(f"labels name {len(unknown):,} texts that are not in the corpus: {_listed(unknown)}")
    joined = joined.select(pl.col("_id").alias("text_id"), "concept", "is_concept").unique().sort("text_id", "concept")
    twice = joined.filter(pl.struct("text_id", "concept").is_duplicated())
    if twice.height:
        first = twice.row(0, named=True)
        raise CorpusError(f"text {first['text_id']} is labelled both true and false for concept {first['concept']!r}")
    return joined.cast({"text_id": pl.Int64})


def _check_columns(frame: pl.DataFrame, needed: Iterable[str]) -> None:
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise CorpusError(f"no column {', '.join(missing)}; there are {', '.join(frame.columns) or 'none'}")


def _fingerprint(texts: pl.DataFrame, labels: pl.DataFrame) -> str:
    digest = hashlib.sha256()
    for name in ("text", "language", "parallel_id", "split"):
        for value in texts[name]:
            # length first: two columns that differ only in where one value ends must not agree
            data = b"" if value is None else value.encode()
            digest.update(b"%d:" % (-1 if value is None else len(data)) + data)
    concepts = sorted(labels["concept"].unique())
    digest.update("\0".join(concepts).encode())
    digest.update(labels["text_id"].to_numpy().astype("<i8").tobytes())
    position = {concept: i for i, concept in enumerate(concepts)}
    columns = labels["concept"].replace_strict(position, return_dtype=pl.Int64) if concepts else pl.Series([], dtype=pl.Int64)
    digest.update(columns.to_numpy().astype("<i8").tobytes())
    digest.update(labels["is_concept"].to_numpy().astype("u1").tobytes())
    return digest.hexdigest()[:16]


def parquet_bytes(frame: pl.DataFrame, metadata: dict[str, str] | None = None) -> bytes:
    """A frame as the bytes of a Parquet file; the same frame gives the same bytes."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {} if metadata is None else {"metadata": metadata}
    frame.write_parquet(buffer, compression="zstd", statistics=True, **options)
    return buffer.getvalue()


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN:,} more"
