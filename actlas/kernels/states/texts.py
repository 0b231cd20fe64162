"""What states of every kind do with a block of texts: check it, cut it, and add one state to another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from actlas.errors import KernelInputError
from actlas.kernels.inputs import Bools, HostValues, check_labels, check_values, to_numpy
from actlas.kernels.stats import quantile_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
State = TypeVar("State", bound="DataclassInstance")

#: Texts per matrix product: products of two digits, this many of them added, stay below 2**53, where float64 holds integers.
CHUNK_TEXTS = 4096
#: Values per matrix product at most, so that what it makes of them stays in the caches.
CHUNK_VALUES = 1 << 20


def member_sets_of(n_concepts: int, member_set: Any | None) -> Ints:
    """For every concept the number of the set of texts that it is counted among."""
    if member_set is None:
        return np.arange(n_concepts)
    which = np.asarray(member_set, np.int64)
    if which.shape != (n_concepts,) or not np.array_equal(np.unique(which), np.arange(which.max(initial=-1) + 1)):
        raise KernelInputError(
            f"member_set must be one number per concept, counted from 0; got {which} for {n_concepts} concepts"
        )
    return which


def text_sets_of(positive: Bools, member: Bools, member_set: Ints) -> Bools:
    """Texts of every set, "texts sets": the positives of each concept, then the members that concepts share."""
    first = np.unique(member_set, return_index=True)[1]
    if not np.array_equal(member, member[:, first][:, member_set]):
        raise KernelInputError("concepts that share a member set differ in is_member")
    return np.concatenate([positive, member[:, first]], axis=1)


def merged(one: State, other: State, fixed: tuple[str, ...]) -> State:
    """A state that has seen what either has; counters add up, everything in `fixed` has to agree."""
    parts: dict[str, Any] = {}
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name in fixed:
            if not np.array_equal(a, b):
                raise KernelInputError(f"states with different {field.name} do not merge: {a} and {b}")
            parts[field.name] = a
        elif a.shape != b.shape:
            raise KernelInputError(f"states of shape {a.shape} and {b.shape} do not merge")
        else:
            parts[field.name] = a + b
    return type(one)(**parts)


def checked_block(values: Any, is_concept: Any, is_member: Any | None, shape: tuple[int, int]) -> tuple[HostValues, Bools, Bools]:
    """The values, their positives and their members, as numpy."""
    check_labels(is_concept, is_member)
    check_values(values, is_concept.shape[0])
    n_neurons, n_concepts = values.shape[0], is_concept.shape[1]
    if (n_neurons, n_concepts) != shape:
        raise KernelInputError(f"this state is for {shape[0]} neurons and {shape[1]} concepts; got {n_neurons} and {n_concepts}")
    positive = to_numpy(is_concept, "is_concept")
    member = np.ones_like(positive) if is_member is None else to_numpy(is_member, "is_member")
    block = HostValues.of(values)
    block.refuse_not_finite()
    return block, positive & member, member


def chunks(n_neurons: int, n_texts: int) -> Iterator[tuple[slice, slice]]:
    """Neurons and texts of one matrix product after the other."""
    n_rows = max(1, CHUNK_VALUES // min(n_texts, CHUNK_TEXTS))
    for text in range(0, n_texts, CHUNK_TEXTS):
        for neuron in range(0, n_neurons, n_rows):
            yield slice(neuron, neuron + n_rows), slice(text, text + CHUNK_TEXTS)


def refuse_others(names: tuple[str, ...], known: tuple[str, ...], *, has_quantiles: bool = False) -> None:
    """Refuse a statistic that a state does not answer."""
    for name in names:
        if name not in known and not (has_quantiles and quantile_of(name) is not None):
            raise KernelInputError(f"statistic {name!r} does not come out of this state, which answers {', '.join(known)}")
