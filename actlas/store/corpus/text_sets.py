"""Sets of texts that states are kept over: in every language the positives of each concept, and the members they are among."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.store.corpus.corpus import Corpus


@dataclass(frozen=True)
class LanguageSets:
    """The sets of one language, consecutive on the set axis: one per concept, then one per distinct group of members.

    Concepts without a positive or without a negative text in the language have none: their scores are null.

    Attributes:
        language: Which.
        rows: Its texts on the text axis.
        first: Its first place on the set axis.
        concepts: Concepts that can be scored here, sorted.
        is_concept: ``"texts concepts"``, positives among the members.
        is_member: ``"texts concepts"``.
        member_set: For every concept the number of its members' set, from 0.
        n_texts: ``"sets"``: texts in each.
    """

    language: str
    rows: slice
    first: int
    concepts: tuple[str, ...]
    is_concept: NDArray[np.bool_]
    is_member: NDArray[np.bool_]
    member_set: NDArray[np.int64]
    n_texts: NDArray[np.int64]

    @property
    def n_sets(self) -> int:
        return self.n_texts.size


def text_sets(corpus: Corpus) -> tuple[LanguageSets, ...]:
    """The sets of a corpus, language by language in the order of the text axis; labels alone decide them."""
    answer, first = [], 0
    for language in corpus.languages:
        is_concept, is_member = corpus.concept_matrix(language)
        positive = is_concept & is_member
        n, n_member = positive.sum(axis=0), is_member.sum(axis=0)
        kept = np.flatnonzero((n > 0) & (n < n_member))
        positive, members = positive[:, kept], is_member[:, kept]
        groups: dict[bytes, int] = {}
        which = np.array([groups.setdefault(np.packbits(column).tobytes(), len(groups)) for column in members.T], dtype=np.int64)
        at = [int(np.flatnonzero(which == group)[0]) for group in range(len(groups))]
        n_texts = np.concatenate([positive.sum(axis=0), members[:, at].sum(axis=0)]).astype(np.int64)
        names = tuple(corpus.concepts[place] for place in kept)
        answer.append(LanguageSets(language, corpus.language_slice(language), first, names, positive, members, which, n_texts))
        first += n_texts.size
    return tuple(answer)


def sets_frame(sets: tuple[LanguageSets, ...]) -> pl.DataFrame:
    """One row per set in the order of the set axis: set, language, concept (null for members), member_set, n_texts."""
    rows = []
    for part in sets:
        members = part.first + len(part.concepts)
        for place, n_texts in enumerate(part.n_texts.tolist()):
            is_positive = place < len(part.concepts)
            concept = part.concepts[place] if is_positive else None
            of = members + int(part.member_set[place]) if is_positive else part.first + place
            rows.append((part.first + place, part.language, concept, of, n_texts))
    schema = {"set": pl.Int64, "language": pl.String, "concept": pl.String, "member_set": pl.Int64, "n_texts": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")
