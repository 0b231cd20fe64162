"""Every measure of the registry is a public function that takes what the registry says."""

import inspect
from typing import get_args, get_type_hints

import pytest

import actlas.query
from actlas.query.measures.registry import MEASURES


def test_names_are_unique():
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_a_measure_is_a_function_with_its_options(measure):
    function = getattr(actlas.query, measure.function)
    parameters = inspect.signature(function).parameters
    common = {"store", "checkpoints", "sites", "progress", "keep", "replace"}
    assert set(parameters) == common | {option.name for option in measure.options}
    hints = get_type_hints(function, include_extras=True)
    for option in measure.options:
        assert parameters[option.name].default == option.default
        # a function takes a frame, too, where the command line takes a file of it
        assert hints[option.name] in (option.kind, option.kind | None) or option.kind in get_args(hints[option.name])
    assert measure.source.split()[0] in inspect.getdoc(function)
