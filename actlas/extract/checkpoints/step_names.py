"""The training step that a name carries: a table of the ways in which published checkpoints are named."""

from __future__ import annotations

import re
from dataclasses import dataclass

from actlas.errors import ModelNotLoaded

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}
#: A count, perhaps in thousands or millions: 1000, 0001000, 10k, 1.5k.
_COUNT = r"(?P<count>\d+(?:\.\d+(?=[km]))?)(?P<unit>[km]?)(?![a-z0-9]|\.\d)"
#: What may follow a step and says something else: tokens seen so far.
_TOKENS = r"(?:[-_](?:tokens[-_]?)?\d+(?:\.\d+)?[bt])?$"
_STAGE = re.compile(r"(?:^|[-_.])stage[-_]?\d+(?:[-_]ingredient[-_]?\d+)?$", re.IGNORECASE)


@dataclass(frozen=True)
class NamingScheme:
    """One way to write a step into the name of a folder, a branch or a tag.

    Attributes:
        name: Who writes it.
        pattern: Regular expression with the groups count and unit; letters of either case.
        example: A name of that kind.
        step: The step it carries.
    """

    name: str
    pattern: str
    example: str
    step: int


SCHEMES = (
    NamingScheme("BLOOM, intermediate", rf"(?<![a-z])global[-_]?step[-_=]?{_COUNT}", "global_step1000", 1000),
    NamingScheme("Pythia", rf"(?<![a-z])step{_COUNT}", "step3000", 3000),
    NamingScheme("OLMo, EuroLLM: stage and tokens beside it", rf"(?<![a-z])step{_COUNT}", "stage1-step1000-tokens4B", 1000),
    NamingScheme("underscore, dash", rf"(?<![a-z])step[-_=]{_COUNT}", "step_1000", 1000),
    NamingScheme("TinyLlama: thousands", rf"(?<![a-z])step[-_]{_COUNT}", "intermediate-step-1431k-3T", 1_431_000),
    NamingScheme("transformers Trainer, XGLM-like", rf"(?<![a-z])checkpoint[-_=]?{_COUNT}", "checkpoint-1000", 1000),
    NamingScheme("LLM360", rf"(?<![a-z])ckpt[-_=]?{_COUNT}", "ckpt_356", 356),
    NamingScheme("Megatron", rf"(?<![a-z])iter(?:ation)?[-_=]?{_COUNT}", "iter_0001000", 1000),
    NamingScheme("thousands alone", rf"^(?=\d+(?:\.\d+)?[km]$){_COUNT}", "10k", 10_000),
    NamingScheme("steps behind", r"(?<![a-z0-9.])(?P<count>\d+)(?P<unit>[km]?)[-_]?steps(?![a-z0-9])", "100k-steps", 100_000),
)


@dataclass(frozen=True)
class NamedStep:
    """A name taken apart.

    Attributes:
        step: The step it carries.
        base: What the name says besides the step, the stage and the tokens seen; empty if nothing.
    """

    step: int
    base: str


def find_step(name: str) -> NamedStep | None:
    """The step that a name carries, by the table `SCHEMES`; None if none does.

    Only the last part of a path counts.

    Raises:
        ModelNotLoaded: If the name carries several numbers that could be the step.

    Example:
        >>> find_step("xglm-checkpoint-500"), find_step("step64"), find_step("bloom-560m")
        (NamedStep(step=500, base='xglm'), NamedStep(step=64, base=''), None)
    """
    last = name.rstrip("/").rpartition("/")[2]
    matches = [match for scheme in SCHEMES for match in re.finditer(scheme.pattern, last, re.IGNORECASE)]
    steps = sorted({_step(match) for match in matches})
    if not steps:
        return None
    if len(steps) > 1:
        raise ModelNotLoaded(
            f"{name!r} carries more than one number that could be its training step ({', '.join(map(str, steps))}); "
            "say which by the option steps, one per checkpoint"
        )
    start, stop = min(match.start() for match in matches), max(match.end() for match in matches)
    is_ending = re.fullmatch(_TOKENS, last[stop:], re.IGNORECASE) is not None
    base = _STAGE.sub("", last[:start].rstrip("-_.")) if is_ending else last
    return NamedStep(steps[0], base)


def _step(match: re.Match[str]) -> int:
    return round(float(match["count"]) * _UNITS[match["unit"].lower()])
