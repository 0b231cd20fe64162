"""Settings of patching: what was put in by hand is found, and judged against a control in which nothing was."""

from __future__ import annotations

import shutil

import pytest

from actlas.query import open_store
from actlas.reproduce.gather import gather
from actlas.reproduce.papers import reproduce_concept_spaces
from actlas.reproduce.spaces import FIGURES
from tests.reproduce.made import with_patches


@pytest.fixture(scope="module")
def patched(runs, tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("patched"), {}
    for name, rise in (("model", 0.4), ("control", 0.0)):
        made[name] = open_store(shutil.copytree(runs[name], folder / name), "a")
        with_patches(made[name], rise)
    return made


def test_every_setting_is_a_figure_and_only_latents_of_others_pass(patched):
    answers = {figure.name: gather(figure, [patched["model"]], [patched["control"]]) for figure in FIGURES}
    words = {name: [verdict.word for verdict in answer.verdicts] for name, answer in answers.items()}
    for setting in ("seen", "tgt", "en-en", "self"):
        assert words[f"patching-{setting}"] == ["pass", "pass"]
    assert words["patching-tgt-tgt"] == words["patching-unpatched"] == []
    assert not any(answer.missing for answer in answers.values())


def test_the_rise_is_that_over_unpatched_prompts(patched):
    seen = next(figure for figure in FIGURES if figure.name == "patching-seen")
    over, beyond = (patched["model"].sql(claim.sql)["effect"].item() for claim in seen.claims)
    concepts = len(patched["model"].corpus.concepts)
    assert over == pytest.approx(0.4)
    assert beyond == pytest.approx(0.1 + 0.01 * (concepts - 1) / 2 + 0.4 - (0.3 - 0.4))


def test_one_call_writes_the_pages(patched, tmp_path):
    done = reproduce_concept_spaces([patched["model"].path], tmp_path, controls=[patched["control"].path])
    assert len(done.answers) == 7
    assert "patching-seen.svg" in done.page.with_suffix(".md").read_text()
