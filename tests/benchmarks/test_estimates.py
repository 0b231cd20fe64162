"""Configurations are those of the models they are named after, and options those of the page's commands."""

import re
from pathlib import Path

import pytest

from benchmarks.estimates import MODELS, corpus_of, estimated

PAGE = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_configuration_has_as_many_parameters_as_its_makers_say(model, tmp_path):
    found = estimated(model, corpus_of(2, 3, 40), tmp_path / "model")
    assert found["parameters"] == pytest.approx(model.n_parameters, rel=1e-3)
    assert found["download_bytes"] == 2 * found["parameters"]
    assert found["n_tokens"] == 2 * 3 * 10
    assert found["hours"]["A100"] / found["hours"]["H100"] == pytest.approx(989 / 312)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_options_are_those_of_the_last_command_for_a_model(model):
    lines = [line for line in PAGE.read_text().splitlines() if re.match(rf"actlas extract '?{model.name}[ '@]", line)]
    command = next(line for line in reversed(lines) if "--corpus corpus" in line)
    assert tuple(re.findall(r"--site (\S+)", command)) == tuple(model.sites or ())
    assert ("--random-twin" in command) == model.has_twin
    if named := re.search(r"--revisions (\S+)", command):
        assert model.n_checkpoints == len(named[1].split(","))
