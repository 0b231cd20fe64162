"""Labels of a set of texts in the form that every engine starts from: which concepts have an answer, in which order, among whom.

Prepared once, they serve any number of blocks of neurons over the same texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from actlas.kernels.inputs import Bools, check_labels, is_torch, to_numpy

Ints = NDArray[np.int64]
T = TypeVar("T")


def has_answer(n_positive: Any, n_member: Any) -> Any:
    """Whether a concept has a positive and a negative text among its members: without both, no statistic says anything.

    Example:
        >>> has_answer(np.array([0, 2, 5]), np.array([5, 5, 5])).tolist()
        [False, True, False]
    """
    return (n_positive > 0) & (n_positive < n_member)


def member_sets(is_member: Bools | None, concepts: Ints) -> tuple[Ints, list[NDArray[np.uint32]]]:
    """Which of the distinct member sets each concept has, and the texts of each set; -1 where every text takes part.

    Example:
        >>> which, sets = member_sets(np.array([[True, True, False], [True, False, True]]), np.arange(3))
        >>> which.tolist(), [texts.tolist() for texts in sets]
        ([-1, 0, 1], [[0], [1]])
    """
    which = np.full(concepts.size, -1, np.int64)
    sets: list[NDArray[np.uint32]] = []
    if is_member is None:
        return which, sets
    numbers: dict[bytes, int] = {}
    for place, concept in enumerate(concepts):
        column = np.ascontiguousarray(is_member[:, concept])
        if column.all():
            continue
        key = np.packbits(column).tobytes()
        if key not in numbers:
            numbers[key] = len(sets)
            sets.append(np.flatnonzero(column).astype(np.uint32))
        which[place] = numbers[key]
    return which, sets


def offsets(sizes: Sequence[int] | Ints) -> Ints:
    """Where each of several lists starts that stand one behind the other, and where the last one ends.

    Example:
        >>> offsets([3, 1]).tolist()
        [0, 3, 4]
    """
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


@dataclass(frozen=True, eq=False)
class ConceptLabels:
    """Labels of some texts, prepared for `concept_scores`; `prepare_labels` makes them.

    Concepts that have an answer are kept in an order of their own: those that every text takes part in come first, then the
    others by their member sets; within a set those with the most positives come first.

    Attributes:
        is_concept: True where a text expresses a concept, "texts concepts".
        is_member: Which texts take part per concept, same shape; None: all of them.
        n_positive: Members that express each concept, "concepts".
        n_member: Members of each concept, "concepts".
        order: The concepts that have an answer, in the order described.
        member_set: For each of these the number of its member set; -1: every text takes part.
        sets: The texts of each member set.
        starts: Where the positives of each concept in `order` start in `positives`, and where those of the last one end.
    """

    is_concept: Bools
    is_member: Bools | None
    n_positive: Ints
    n_member: Ints
    order: Ints
    member_set: Ints
    sets: tuple[NDArray[np.uint32], ...]
    starts: Ints
    _forms: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def n_texts(self) -> int:
        """How many texts are labelled."""
        return len(self.is_concept)

    @property
    def n_concepts(self) -> int:
        """How many concepts there are, those without an answer included."""
        return self.n_positive.size

    @property
    def n_whole(self) -> int:
        """How many concepts of `order` every text takes part in."""
        return int((self.member_set < 0).sum())

    @cached_property
    def is_positive(self) -> Bools:
        """Members that express a concept, "texts concepts"."""
        return self.is_concept if self.is_member is None else self.is_concept & self.is_member

    @cached_property
    def positives(self) -> NDArray[np.uint32]:
        """Texts that are positives, concept after concept in `order`."""
        texts = [np.flatnonzero(self.is_positive[:, concept]).astype(np.uint32) for concept in self.order]
        return np.concatenate([*texts, np.zeros(0, np.uint32)])

    @cached_property
    def members(self) -> NDArray[np.uint32]:
        """Texts of the member sets, one set behind the other."""
        return np.concatenate([*self.sets, np.zeros(0, np.uint32)])

    @cached_property
    def member_starts(self) -> Ints:
        """Where each member set starts in `members`, and where the last one ends."""
        return offsets([members.size for members in self.sets])


def prepare_labels(is_concept: Any, is_member: Any | None = None) -> ConceptLabels:
    """Labels that `concept_scores` takes in place of `is_concept`, for calls over many blocks of neurons.

    What depends on the labels alone is computed by the first call that needs it, and kept for the others.

    Args:
        is_concept: True where a text expresses a concept, bool "texts concepts"; numpy, or torch on any device.
        is_member: Which texts take part per concept, same shape as `is_concept`; None: all of them.

    Returns:
        The prepared labels. They keep references to host arrays that were handed over, which must not change any more.

    Raises:
        KernelInputError: If shapes or dtypes do not fit.

    Example:
        >>> from actlas.kernels import concept_scores, prepare_labels
        >>> labels = prepare_labels(np.array([[True], [False], [True], [False]]))
        >>> blocks = np.array([[3, 2, 1, 0]], np.float16), np.array([[0, 2, 2, 1]], np.float16)
        >>> [concept_scores(block, labels, ("auroc",), backend="reference")["auroc"].tolist() for block in blocks]
        [[[0.75]], [[0.375]]]
    """
    check_labels(is_concept, is_member)
    positive = _on_host(is_concept)
    member = None if is_member is None else _on_host(is_member)
    n_texts, n_concepts = positive.shape
    n_positive = (positive if member is None else positive & member).sum(0, dtype=np.int64)
    n_member = np.full(n_concepts, n_texts, np.int64) if member is None else member.sum(0, dtype=np.int64)
    answerable = np.flatnonzero(has_answer(n_positive, n_member)).astype(np.int64)
    which, sets = member_sets(member, answerable)
    order = np.lexsort((-n_positive[answerable], which))
    concepts = answerable[order]
    return ConceptLabels(
        is_concept=positive,
        is_member=member,
        n_positive=n_positive,
        n_member=n_member,
        order=concepts,
        member_set=which[order],
        sets=tuple(sets),
        starts=offsets(n_positive[concepts]),
    )


def _on_host(labels: Any) -> Bools:
    return to_numpy(labels.cpu() if is_torch(labels) else labels, "labels")


def engine_form(labels: ConceptLabels, key: Any, make: Callable[[], T]) -> T:
    """What an engine makes of these labels, made once for each `key` and kept with them."""
    if key not in labels._forms:
        labels._forms[key] = make()
    return cast(T, labels._forms[key])
