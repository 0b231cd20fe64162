"""A corpus: texts with a language each, and labels that say which texts express which concept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import CorpusError, DamagedStore, FormatTooNew, NameNotFound
from actlas.store.corpus.cells import listed, printable
from actlas.store.corpus.checks import LABEL_SCHEMA, TEXT_SCHEMA, check_columns, checked_ids, checked_labels, checked_texts
from actlas.store.corpus.declared import UNKNOWN, Declared
from actlas.store.corpus.findings import content_warnings, contradictory, n_unlabelled, repeated
from actlas.store.corpus.fingerprint import fingerprint_of
from actlas.store.corpus.stored import publish, read_published
from actlas.store.corpus.text_sets import LanguageSets, language_sets
from actlas.store.files.parquet import frame_of, parquet_bytes

_RECORD, _VERSION = "corpus.json", 1
_FILES = ("texts.parquet", "labels.parquet")


@dataclass(frozen=True)
class Imported:
    """What an import read, beside the texts that it kept.

    Attributes:
        n_rows: Rows of a table, lines of parallel files, or sentences of concept files.
        n_blank: Blank lines, which are no rows.
        n_merged: Sentences of concept files that stand in several of them; each is one text.
        notes: What was found on the way and cannot be seen in the texts; part of `Corpus.warnings`.
    """

    n_rows: int
    n_blank: int = 0
    n_merged: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """Texts and labels of a run. Make one with `corpus_from_frames`, the importers, or `Corpus.read`.

    Attributes:
        texts: text_id (unique, ascending), text, language, parallel_id, split; the texts of a language are consecutive. Further
            columns (source_id, n_tokens, span columns) may follow.
        labels: text_id, concept, is_concept. A text without a row for a concept takes no part in it: neither positive nor
            negative.
        fingerprint: Hash of all that decides what is extracted: texts, languages, parallel_ids, splits, spans and labels.
        imported: What the import read; None for the corpus of a store, and for corpora of earlier versions.
        declared: Languages and concepts of imported scores, whose texts are not there; None where texts are.
    """

    texts: pl.DataFrame
    labels: pl.DataFrame
    fingerprint: str
    imported: Imported | None = None
    declared: Declared | None = None

    @classmethod
    def without_texts(cls, declared: Declared) -> Corpus:
        """What stands for the texts of scores that were computed elsewhere.

        Args:
            declared: Their languages and concepts.

        Returns:
            A corpus with these names and no text.

        Example:
            >>> from actlas.store.corpus.declared import Declared
            >>> corpus = Corpus.without_texts(Declared.of(["en", "es"], ["water"], None))
            >>> corpus.languages, corpus.concepts, corpus.n_texts
            (('en', 'es'), ('water',), 0)
        """
        texts, labels = (pl.DataFrame(schema=schema) for schema in (TEXT_SCHEMA, LABEL_SCHEMA))
        return cls(texts, labels, declared.fingerprint, declared=declared)

    @property
    def n_texts(self) -> int:
        """Number of texts."""
        return self.texts.height

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Languages in the order of the text axis."""
        if self.declared is not None:
            return self.declared.languages
        return tuple(self.texts["language"].unique(maintain_order=True))

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        """Concepts, sorted."""
        if self.declared is not None:
            return self.declared.concepts
        return tuple(sorted(self.labels["concept"].unique()))

    @cached_property
    def _slices(self) -> dict[str, slice]:
        if self.declared is not None:
            return dict.fromkeys(self.languages, slice(0, 0))
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
            NameNotFound: If the corpus has no text in that language.

        Example:
            >>> store.corpus.languages, store.corpus.language_slice("en")
            (('fr', 'en', 'es'), slice(48, 96, None))
        """
        if language not in self._slices:
            raise NameNotFound(f"no texts in language {language!r}; the corpus has {', '.join(self.languages)}")
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
            raise NameNotFound(f"no concept {', '.join(missing)} in the corpus; it has {listed(self.concepts)}")
        columns = [self.concepts.index(concept) for concept in concepts]
        return is_concept[:, columns], is_member[:, columns]

    def label_counts(self, language: str, concepts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Texts of a language that express each concept, and those that take part in it.

        Args:
            language: One of `languages`.
            concepts: Any of `concepts`, in any order.

        Returns:
            n_positive and n_member, both ``"concepts"``; `UNKNOWN` where scores were imported and it was not said.

        Raises:
            KeyError: If a language or concept is not in the corpus.

        Example:
            >>> [counts.tolist() for counts in store.corpus.label_counts("en", ["water", "salt"])]
            [[7, 10], [43, 43]]
        """
        is_concept, is_member = self.concept_matrix(language, concepts)
        if self.declared is None:
            return is_concept.sum(axis=0), is_member.sum(axis=0)
        columns = [self.concepts.index(concept) for concept in concepts]
        n_positive, n_member = self.declared.label_counts(language)
        return n_positive[columns], n_member[columns]

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
        if self.declared is not None:
            ((n_positive,), (n_member,)) = self.label_counts(language, [concept])
            return bool(n_positive == UNKNOWN or 0 < n_positive < n_member)
        number = self.languages.index(language) if language in self.languages else -1
        if number < 0 or concept not in self.concepts:
            self.concept_matrix(language, [concept])
        return concept in self.text_sets[number].concepts

    @cached_property
    def lacking(self) -> tuple[str, ...]:
        """One line for every language with concepts that have no positive or no negative text there."""
        lines = []
        for language in self.languages:
            is_concept, is_member = self.concept_matrix(language)
            positives, members = is_concept.sum(axis=0), is_member.sum(axis=0)
            for what, lacks in (("positive", positives == 0), ("negative", positives == members)):
                names = [concept for concept, is_lacking in zip(self.concepts, lacks, strict=True) if is_lacking]
                if names:
                    lines.append(f"{printable(language)}: no {what} text for {listed(names)}; scores there will be null")
        return tuple(lines)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """One line for everything that would mislead a reader of scores of this corpus.

        Concepts without a positive or without a negative text in some language (their scores there will be null), texts that are
        repeated or labelled both ways, names that differ in case alone, and what the import noted.
        """
        notes = self.imported.notes if self.imported is not None else ()
        return (*notes, *self.lacking, *content_warnings(self.texts, self.labels))

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many rows were read and what became of them, in this order; the first and the last where `imported` says it.

        read: rows, lines or sentences. kept: texts. repeated: texts that are equal to an earlier one of their language.
        contradictory: texts with both labels of some concept. unlabelled: texts that take part in no concept. dropped: what was
        read and is no text.
        """
        again = repeated(self.texts)["times"]
        found = {
            "kept": self.n_texts,
            "repeated": int(again.sum()) - len(again),
            "contradictory": contradictory(self.texts, self.labels).select("language", "text").n_unique(),
            "unlabelled": n_unlabelled(self.texts, self.labels),
        }
        if self.imported is None:
            return found
        read = self.imported.n_rows
        return {"read": read, **found, "dropped": read - self.imported.n_merged - self.n_texts}

    def keep(self, is_kept: NDArray[np.bool_]) -> Corpus:
        """The corpus without some texts, whose text_ids stay. It is another corpus, with a fingerprint of its own.

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
        return replace(self, texts=texts, labels=labels, fingerprint=fingerprint_of(texts, labels))

    def write(self, folder: Path) -> None:
        """Write texts.parquet, labels.parquet and corpus.json in one step: a reader finds all of them, or what was there before.

        corpus.json names both files with their sizes and digests, which `read` compares.

        Args:
            folder: Made where it is not there. A corpus that it holds is replaced.

        Example:
            >>> store.corpus.write(folder)
            >>> sorted(path.name for path in folder.iterdir())
            ['corpus.json', 'labels.parquet', 'texts.parquet']
        """
        about: dict[str, Any] = {
            "actlas_corpus": _VERSION,
            "fingerprint": self.fingerprint,
            "n_texts": self.n_texts,
            "languages": list(self.languages),
            "concepts": list(self.concepts),
        }
        if self.imported is not None:
            about["imported"] = asdict(self.imported)
        contents = (parquet_bytes(self.texts), parquet_bytes(self.labels))
        publish(Path(folder), _RECORD, about, dict(zip(_FILES, contents, strict=True)))

    @classmethod
    def read(cls, folder: Path | str) -> Corpus:
        """The corpus that `write` left in a folder.

        Args:
            folder: Where `write` left it.

        Returns:
            The same corpus, with the same fingerprint.

        Raises:
            CorpusError: If the folder holds none.
            DamagedStore: If a file of it is missing, or is not the one that was written.
            FormatTooNew: If a later version wrote it.

        Example:
            >>> store.corpus.write(folder)
            >>> Corpus.read(folder).fingerprint == store.corpus.fingerprint
            True
        """
        folder = Path(folder)
        if not (folder / _RECORD).is_file():
            raise CorpusError(
                f"no corpus at {folder} (no {_RECORD} there); make one with: actlas corpus import FILE --out {folder}"
            )
        about, contents = read_published(folder, _RECORD, _FILES)
        version = about.get("actlas_corpus")
        if isinstance(version, int) and version > _VERSION:
            raise FormatTooNew(
                f"{folder} was written by a later version of actlas (corpus format {version}); this one reads {_VERSION}"
            )
        texts, labels = (frame_of(contents[name], folder / name) for name in _FILES)
        if "files" not in about:
            _check_old(folder, about, texts, labels)
        imported = about.get("imported")
        if imported is not None:
            imported = Imported(**{**imported, "notes": tuple(imported["notes"])})
        return cls(texts, labels, about["fingerprint"], imported)


def _check_old(folder: Path, about: dict[str, Any], texts: pl.DataFrame, labels: pl.DataFrame) -> None:
    """A corpus of earlier versions has no digests: its fingerprint must be the one of its texts and labels."""
    for name, frame, needed in (
        ("texts.parquet", texts, TEXT_SCHEMA),
        ("labels.parquet", labels, LABEL_SCHEMA),
    ):
        if any(frame.schema.get(column) != dtype for column, dtype in needed.items()):
            raise DamagedStore(f"{folder / name} does not hold columns {', '.join(needed)}; make the corpus again")
    # where texts were left out before it was written, the fingerprint is still that of all of them
    text_ids = texts["text_id"].to_numpy()
    is_whole = np.array_equal(text_ids, np.arange(texts.height))
    is_same = about.get("n_texts") == texts.height and set(about.get("concepts", ())) == set(labels["concept"])
    is_same = is_same and bool((np.diff(text_ids) > 0).all())
    if not is_same or (is_whole and about.get("fingerprint") != fingerprint_of(texts, labels, has_spans=False)):
        raise DamagedStore(
            f"the texts and labels in {folder} are not those that its {_RECORD} names: an import over it was interrupted, or a "
            "file was changed; make the corpus again"
        )


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
    check_columns(texts, ("text", "language"))
    check_columns(labels, ("text_id", "concept", "is_concept"))
    if texts.is_empty():
        raise CorpusError("the corpus has no texts")
    texts = checked_texts(texts)
    own_ids = "text_id" in texts.columns
    keys = checked_ids(texts) if own_ids else pl.Series("text_id", np.arange(texts.height))
    order = texts["language"].unique(maintain_order=True)
    rank = texts["language"].replace_strict(order, pl.Series(np.arange(len(order))), return_dtype=pl.Int64)
    stored = np.argsort(rank.to_numpy(), kind="stable")
    positions = pl.Series("text_id", np.arange(len(stored)), dtype=pl.Int64)
    sources = [keys[stored].alias("source_id")] if own_ids else []
    texts = texts.select(pl.exclude("text_id"))[stored].with_columns(positions, *sources)
    texts = texts.select(*TEXT_SCHEMA, pl.exclude(*TEXT_SCHEMA))
    named = labels["concept"]
    labels = checked_labels(labels, pl.DataFrame([keys[stored], positions.alias("_id")]))
    labelled = set(labels["concept"])
    without = [name for name in named.cast(pl.String).drop_nulls().unique(maintain_order=True) if name not in labelled]
    notes = (f"no text has a label for {listed(without)}, which is no concept of the corpus",) if without else ()
    return Corpus(texts, labels, fingerprint_of(texts, labels), Imported(texts.height, notes=notes))
