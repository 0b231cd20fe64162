"""What a store of imported scores has in place of a corpus: languages, concepts, and how many texts had which label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import ScoreImportError
from actlas.names import fingerprint, tuples
from actlas.store.corpus.cells import listed

#: Positives of a concept in a language where it was not said how many there are.
UNKNOWN = -1
#: What a table of counts holds.
COUNT_COLUMNS = {"language": pl.String, "concept": pl.String, "n_positive": pl.Int64, "n_texts": pl.Int64}


@dataclass(frozen=True)
class Declared:
    """Languages and concepts whose texts are not there.

    Attributes:
        languages: In the order of the first axis of the scores.
        concepts: Sorted.
        n_positive: Texts that express a concept, language by language, in the order of `concepts`; or `UNKNOWN`.
        n_member: Texts that took part, positives and negatives, likewise.
    """

    languages: tuple[str, ...]
    concepts: tuple[str, ...]
    n_positive: tuple[int, ...]
    n_member: tuple[int, ...]

    @classmethod
    def of(cls, languages: Sequence[str], concepts: Sequence[str], counts: pl.DataFrame | None) -> Declared:
        """Names, and the counts of a table with `COUNT_COLUMNS`; pairs that it does not name are not known.

        Raises:
            ScoreImportError: If a name is given twice, or the table names others, a pair twice, or counts that cannot be.
        """
        for what, names in (("language", languages), ("concept", concepts)):
            if not names or len(set(names)) < len(names) or not all(names):
                raise ScoreImportError(f"every {what} needs one name of its own, and these are {listed(names) or 'none'}")
        declared = cls(tuple(languages), tuple(sorted(concepts)), (), ())
        n_positive, n_member = declared._counted(counts)
        return cls(declared.languages, declared.concepts, tuple(n_positive.tolist()), tuple(n_member.tolist()))

    def _counted(self, counts: pl.DataFrame | None) -> NDArray[np.int64]:
        n_concepts = len(self.concepts)
        found = np.full((2, len(self.languages) * n_concepts), UNKNOWN, dtype=np.int64)
        if counts is None:
            return found
        missing = [name for name in COUNT_COLUMNS if name not in counts.columns]
        if missing:
            raise ScoreImportError(
                f"counts of labels need columns {', '.join(COUNT_COLUMNS)}, and {', '.join(missing)} is missing"
            )
        for language, concept, positive, member in counts.select(*COUNT_COLUMNS).iter_rows():
            where = f"counts of {concept!r} in {language!r}"
            if language not in self.languages or concept not in self.concepts:
                raise ScoreImportError(f"{where} are given, and no score of that language and concept")
            at = self.languages.index(language) * n_concepts + self.concepts.index(concept)
            if found[0, at] != UNKNOWN:
                raise ScoreImportError(f"{where} are given twice")
            if not (isinstance(positive, int) and isinstance(member, int) and 0 <= positive <= member):
                raise ScoreImportError(f"{where} cannot be: {positive} positive of {member} texts")
            found[:, at] = positive, member
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Declared:
        """What `to_json` gave."""
        return cls(**tuples(data))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `from_json` undoes it."""
        return {name: list(value) for name, value in asdict(self).items()}

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Languages and concepts."""
        return self.languages, self.concepts

    @property
    def fingerprint(self) -> str:
        """Hash of all of it."""
        return fingerprint(self.to_json())

    def label_counts(self, language: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positives and members of every concept in a language; `UNKNOWN` where they are not known."""
        first = self.languages.index(language) * len(self.concepts)
        part = slice(first, first + len(self.concepts))
        return np.array(self.n_positive[part], dtype=np.int64), np.array(self.n_member[part], dtype=np.int64)
