"""Sets of texts that states are kept over: in every language the positives of each concept, and the members they are among."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray


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


def has_answer(is_concept: NDArray[np.bool_], is_member: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which concepts can be scored on some texts: those with a positive and a negative one; scores of the others are null.

    Args:
        is_concept: ``"texts concepts"``.
        is_member: ``"texts concepts"``: which texts take part.

    Returns:
        ``"concepts"``.

    Example:
        >>> is_concept = np.array([[True, True], [False, True]])
        >>> has_answer(is_concept, np.ones((2, 2), dtype=bool))
        array([ True, False])
    """
    n_positive = (is_concept & is_member).sum(axis=0)
    answer: NDArray[np.bool_] = (n_positive > 0) & (n_positive < is_member.sum(axis=0))
    return answer


def language_sets(
    language: str, rows: slice, first: int, concepts: Sequence[str], is_concept: NDArray[np.bool_], is_member: NDArray[np.bool_]
) -> LanguageSets:
    """The sets of one language; its labels alone decide them.

    Args:
        language: Which.
        rows: Its texts on the text axis.
        first: Its first place on the set axis.
        concepts: All concepts of the corpus, sorted.
        is_concept: ``"texts concepts"``, of its texts.
        is_member: Likewise.
    """
    chosen = np.flatnonzero(has_answer(is_concept, is_member)).tolist()
    positives, members = (is_concept & is_member)[:, chosen], is_member[:, chosen]
    groups: dict[bytes, int] = {}
    member_set = np.array([groups.setdefault(np.packbits(column).tobytes(), len(groups)) for column in members.T], dtype=np.int64)
    first_of_group = [int(np.flatnonzero(member_set == group)[0]) for group in range(len(groups))]
    n_texts = np.concatenate([positives.sum(axis=0), members[:, first_of_group].sum(axis=0)]).astype(np.int64)
    names = tuple(concepts[index] for index in chosen)
    return LanguageSets(language, rows, first, names, positives, members, member_set, n_texts)


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
