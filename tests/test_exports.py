"""The public surface: every name that is promised is there, documented, and the fixed ones keep their parameters."""

from __future__ import annotations

import inspect

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
