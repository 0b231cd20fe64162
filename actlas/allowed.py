"""Which values an argument allows, said in its type: ``k: Positive``. Options, functions and flags are checked against it.

Standard library only: every layer may import this.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; infinity and NaN are never among them. Of a sequence it limits the length.

    Attributes:
        low: The smallest.
        high: The largest.
        is_above: Whether `low` itself is left out.
    """

    low: float = -math.inf
    high: float = math.inf
    is_above: bool = False

    def why_not(self, value: float) -> str | None:
        """What is wrong with a number, as the end of a sentence; None where nothing is.

        Example:
            >>> Range(1, 10).why_not(0), Range(0, 1, is_above=True).why_not(2.5), Range(1).why_not(3)
            ('must be at least 1, not 0', 'must be above 0 and at most 1, not 2.5', None)
        """
        if isinstance(value, float) and not math.isfinite(value):
            return f"needs a finite number, not {value}"
        is_low = value <= self.low if self.is_above else value < self.low
        if not is_low and value <= self.high:
            return None
        ends = [f"{'above' if self.is_above else 'at least'} {_number(self.low)}"] * math.isfinite(self.low)
        if self.is_share or not is_low:
            ends += [f"at most {_number(self.high)}"]
        return f"must be {' and '.join(ends)}, not {_shown(value)}"

    @property
    def is_share(self) -> bool:
        return (self.low, self.high) == (0, 1)


#: Nothing that actlas counts, from texts to neurons, is more than an array can have.
_MOST = 2**31 - 1
#: Values are compared as float32.
_LARGEST = 3.4e38

Positive = Annotated[int, Range(1, _MOST)]
Count = Annotated[int, Range(0, _MOST)]
Step = Annotated[int, Range(0, 2**63 - 1)]
Bytes = Annotated[int, Range(1, 2**63 - 1)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
Number = Annotated[float, Range(-_LARGEST, _LARGEST)]
PositiveNumber = Annotated[float, Range(0, _LARGEST, is_above=True)]
#: Of something: none of it is no share.
Share = Annotated[float, Range(0, 1, is_above=True)]
Quantile = Annotated[float, Range(0, 1)]
#: Any number of names; a question about no checkpoint has an answer without rows.
Names = Annotated[Sequence[str], Range(0)]


def why_not(name: str, value: Any, hint: Any) -> str | None:
    """What is wrong with a value, in a sentence that names it; None where nothing is.

    Args:
        name: Of the argument.
        value: What was given.
        hint: Its type; a `Range` in `Annotated` limits numbers, in sequences too.

    Example:
        >>> why_not("k", 0, Positive), why_not("k", "many", Positive | None)
        ('k must be at least 1, not 0', "k must be a whole number, not 'many'")
        >>> why_not("sites", "resid", list[str])
        "sites takes several values, such as ('resid',), not 'resid'"
    """
    kinds = list(_alternatives(hint))
    for kind, limits in kinds:
        if _is_of(value, kind):
            return _why_not_inside(name, value, kind, limits)
    names = [word for kind, _ in kinds if (word := _word(kind))]
    if isinstance(value, str) and names == ["several values"]:
        return f"{name} takes several values, such as ({value!r},), not {value!r}"
    choices = [choice for kind, _ in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    if choices:
        return f"{name} {_shown(value)} is not known; choose one of {', '.join(map(str, choices))}"
    return f"{name} must be {' or '.join(names)}, not {_shown(value)}"


def checks_arguments(error: type[Exception]) -> Callable[[F], F]:
    """Let a function refuse arguments that its annotations do not allow, before it does anything.

    An empty sequence is refused, too, unless it is the default: it names nothing, which is not the same as leaving it out.

    Args:
        error: What is raised.

    Example:
        >>> @checks_arguments(ValueError)
        ... def best(k: Positive = 5) -> int:
        ...     return k
        >>> best(0)
        Traceback (most recent call last):
        ValueError: k must be at least 1, not 0
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)

        @functools.cache
        def hints() -> Mapping[str, Any]:
            return get_type_hints(function, include_extras=True)

        @functools.wraps(function)
        def checked(*arguments: Any, **named: Any) -> Any:
            for name, value in signature.bind(*arguments, **named).arguments.items():
                is_default = value is signature.parameters[name].default
                reason = None if is_default or name not in hints() else why_not(name, value, hints()[name])
                if reason is not None:
                    raise error(reason)
            return function(*arguments, **named)

        return cast(F, checked)

    return decorate


def _alternatives(hint: Any, limits: Range | None = None) -> Iterator[tuple[Any, Range | None]]:
    """The types that a type allows, each with its range."""
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        yield from _alternatives(kind, next((note for note in notes if isinstance(note, Range)), limits))
    elif get_origin(hint) in (Union, UnionType):
        for member in get_args(hint):
            yield from _alternatives(member, limits)
    else:
        yield hint, limits


def _is_several(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Collection) and not issubclass(origin, str | Mapping)


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, apart from ranges and from what is inside it."""
    if kind is Any:
        return True
    if kind in (None, NoneType):
        return value is None
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if kind is bool:
        return type(value).__name__ == "bool"
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and type(value).__name__ != "bool"
    if _is_several(kind):
        return isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
    if get_origin(kind) is Mapping:
        return isinstance(value, Mapping)
    return isinstance(value, kind) if isinstance(kind, type) else True


def _why_not_inside(name: str, value: Any, kind: Any, limits: Range | None) -> str | None:
    """What is wrong with a value of the right type."""
    if limits is not None and isinstance(value, Real):
        reason = limits.why_not(int(value) if isinstance(value, Integral) else float(value))
        return None if reason is None else f"{name} {reason}"
    if kind is str and not value.strip():
        return f"{name} is empty"
    if not (_is_several(kind) or get_origin(kind) is Mapping):
        return None
    # one that names nothing is not the same as none at all
    if len(value) == 0 and (limits is None or limits.low > 0):
        return f"{name} names nothing; name one or more, or leave it out"
    inner = get_args(kind)
    if isinstance(value, Mapping):
        pairs = ((why_not(name, key, inner[0]), why_not(f"{name} of {key}", one, inner[1])) for key, one in value.items())
        return next((reason for pair in pairs for reason in pair if reason is not None), None)
    if get_origin(kind) is tuple and inner[1:] != (...,):
        if len(value) != len(inner):
            return f"{name} takes {len(inner)} values, not {_shown(value)}"
        reasons = [why_not(name, *pair) for pair in zip(value, inner, strict=True)]
    else:
        reasons = [why_not(name, one, inner[0]) for one in value] if inner else []
    return next((reason for reason in reasons if reason is not None), None)


def _word(kind: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "a string", bool: "True or False", None: "", NoneType: ""}
    if _is_several(kind):
        return "several values"
    return words.get(kind, getattr(kind, "__name__", str(kind)))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _shown(value: Any) -> str:
    if isinstance(value, Integral) and abs(int(value)) > 10**20:
        digits = math.log10(abs(int(value)))
        return f"a number of {int(digits) + 1:,} digits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
