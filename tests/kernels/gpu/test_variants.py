"""The table of variants: one for each question, and no launch beside it."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import actlas.kernels.gpu
from actlas.kernels.gpu.variants import VARIANTS, array_type, find

FOLDER = Path(actlas.kernels.gpu.__file__).parent


def arguments_of(variant):
    """Arrays of eight items and numbers, of the types in the table."""
    numbers = {"i32": 1, "i64": 1, "fp32": 0.5}
    floats, integers = (torch.float16, torch.bfloat16, torch.float32, torch.float64), (torch.uint8, torch.int16, torch.int32)
    arrays = {array_type(dtype): torch.zeros(8, dtype=dtype) for dtype in floats + integers}
    return {name: numbers[kind] if kind in numbers else arrays[kind].clone() for name, kind in variant.types.items()}


def launched(monkeypatch, variant, arguments):
    seen = []

    class Recorder:
        def __getitem__(self, grid):
            return lambda **named: seen.append((grid, named))

    variant = replace(variant)
    monkeypatch.setitem(variant.__dict__, "function", Recorder())
    variant.launch((1,), *arguments.values())
    return seen


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_launch_hands_on_what_the_table_says(variant, monkeypatch):
    arguments = arguments_of(variant)
    [(grid, named)] = launched(monkeypatch, variant, arguments)
    assert grid == (1,)
    assert named == {**arguments, **variant.constants, **variant.options()}


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_other_types_and_addresses_are_refused(variant, monkeypatch):
    arguments = arguments_of(variant)
    wrong = {"i32": (2**31, 0.5, arguments), "i64": (2**63, 0.5), "fp32": (1, None)}
    for name, kind in variant.types.items():
        for value in wrong.get(kind) or (torch.zeros(8, dtype=torch.complex64), arguments[name][1:], 1):
            with pytest.raises(TypeError, match=rf"\b{name}\b"):
                launched(monkeypatch, variant, arguments | {name: value})


def test_variants_are_all_different():
    assert Counter(map(str, VARIANTS)).most_common(1)[0][1] == 1


def test_a_question_with_no_answer_or_several_is_refused():
    with pytest.raises(LookupError, match=r"0 variants of moments_kernel have .*fp64"):
        find("moments_kernel", values="*fp64")
    with pytest.raises(LookupError, match=r"\d+ variants of moments_kernel"):
        find("moments_kernel")


def test_nothing_is_launched_but_through_the_table():
    launches = re.compile(r"\w+_kernel\[")
    assert not [path.name for path in FOLDER.glob("*.py") if launches.search(path.read_text())]
