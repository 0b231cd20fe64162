"""The public surface: every name that is promised is there, documented, and the fixed ones keep their parameters."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import textwrap
from typing import Any

import pytest

import actlas
from actlas.kernels import concept_scores

FIXED = {
    "extract_activations": ("models", "corpus", "store", "sites", "pooling", "dtype", "backend"),
    "score_neurons": ("store",),
    "top_experts": ("store", "k"),
    "expert_overlap": ("store",),
    "language_neurons": ("store",),
    "train_probes": ("store",),
    "open_store": ("path", "mode"),
}


@pytest.mark.parametrize("name", [name for name in actlas.__all__ if name != "__version__"])
def test_every_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(actlas, name)
    assert thing.__name__ == name
    assert inspect.getdoc(thing)
    assert name in dir(actlas)


@pytest.mark.parametrize("name", sorted(FIXED))
def test_fixed_functions_keep_their_parameters(name: str) -> None:
    parameters = tuple(inspect.signature(getattr(actlas, name)).parameters)
    assert set(FIXED[name]) <= set(parameters), parameters


def test_concept_scores_keeps_its_signature() -> None:
    parameters = inspect.signature(concept_scores).parameters
    assert list(parameters)[:6] == ["values", "is_concept", "stats", "is_member", "threshold", "backend"]
    assert parameters["is_member"].default is None
    assert parameters["threshold"].default == 0.0
    assert parameters["backend"].default == "auto"


def test_what_is_promised_is_what_can_be_loaded() -> None:
    assert sorted(actlas.__all__) == sorted(["__version__", *actlas._HOMES])


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'extrct'"):
        _ = actlas.extrct


def test_errors_are_builtins_too() -> None:
    from actlas import errors

    tree = errors.__doc__ or ""
    for name, thing in vars(errors).items():
        if inspect.isclass(thing) and issubclass(thing, errors.ActlasError):
            assert name in tree, f"{name} is missing in the drawn tree"
            assert thing.__doc__
    assert str(errors.CubeNotFound("no cube")) == "no cube"
    assert issubclass(errors.CubeNotFound, KeyError)
    assert issubclass(errors.BackendUnavailable, ImportError)
    assert issubclass(errors.RecipeMismatch, ValueError)


# docstrings of everything that is public

PUBLIC = (
    "actlas",
    "actlas.kernels",
    "actlas.store",
    "actlas.query",
    "actlas.extract",
    "actlas.intervene",
    "actlas.report",
    "actlas.testing",
)
#: What computes a published measure names where that was published.
SOURCED = {
    "concept_latents",
    "concept_scores",
    "control_experts",
    "expert_overlap",
    "lape",
    "language_neurons",
    "overlap_controls",
    "overlap_tests",
    "patch_concepts",
    "probe_controls",
    "probe_transfer",
    "score_neurons",
    "shared_trajectory",
    "top_experts",
    "train_probes",
    "translation_prompts",
}


def callables() -> dict[str, Any]:
    """Every public function, class and method under its shortest name; inherited methods under the class that has them."""
    things: dict[str, Any] = {}
    for package in PUBLIC:
        module = importlib.import_module(package)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing):
                things[name] = thing
            elif inspect.isclass(thing):
                things[name] = thing
                for owner in thing.__mro__:
                    if owner.__module__.startswith("actlas."):
                        things |= {f"{owner.__name__}.{part}": value for part, value in methods(owner).items()}
    return things


def methods(owner: type) -> dict[str, Any]:
    """Public methods and properties that a class defines itself."""
    found = {}
    for name, value in vars(owner).items():
        value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        is_public = not name.startswith("_")
        if is_public and (inspect.isfunction(value) or isinstance(value, property | functools.cached_property)):
            found[name] = value
    return found


def section(text: str, name: str) -> str | None:
    """Body of one section of a docstring; None if it is not there."""
    match = re.search(rf"^{name}:(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    return match[1] if match else None


def complaints(name: str, thing: Any) -> list[str]:
    """What a docstring does not say."""
    text = inspect.getdoc(thing) or ""
    missing = [] if text else ["a docstring"]
    if isinstance(thing, property | functools.cached_property):
        return missing
    if inspect.isclass(thing):
        fields = [part.name for part in dataclasses.fields(thing)] if dataclasses.is_dataclass(thing) else []
        said = section(text, "Attributes") or ""
        return missing + [f"Attributes: {part}" for part in fields if part[0] != "_" and not re.search(rf"\b{part}\b", said)]
    source = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    signature = inspect.signature(thing)
    said = section(text, "Args") or ""
    for parameter in signature.parameters.values():
        if parameter.name not in ("self", "cls") and not re.search(
            rf"^ +(?:.*, )?\*{{0,2}}{parameter.name}\b.*:", said, re.MULTILINE
        ):
            missing.append(f"Args: {parameter.name}")
    if signature.return_annotation not in (None, "None", inspect.Signature.empty) and section(text, "Returns") is None:
        missing.append("Returns")
    if any(isinstance(node, ast.Raise) and node.exc for node in ast.walk(source)) and section(text, "Raises") is None:
        missing.append("Raises")
    example = section(text, "Example") or ""
    if ">>>" not in example or "+SKIP" in example:
        missing.append("an Example that runs")
    if name in SOURCED and section(text, "Source") is None:
        missing.append("Source")
    return missing


@pytest.mark.parametrize("name", sorted(callables()))
def test_a_public_docstring_says_everything(name: str) -> None:
    missing = complaints(name, callables()[name])
    assert not missing, f"the docstring of {name} lacks {', '.join(missing)}"


def test_the_sourced_names_are_public() -> None:
    assert callables().keys() >= SOURCED
