"""One command for both papers: conditions are built seed by seed, and the pages tell what is in their stores."""

from __future__ import annotations

import json
import shutil

import pytest

from actlas.cli import run
from actlas.demo.settings import STORES
from actlas.query import open_store, top_experts
from actlas.reproduce import miniature
from actlas.reproduce.miniature import PROMPT_STORES, reproduce_miniature
from tests.reproduce.made import with_generations, with_patches


@pytest.fixture
def planted(runs, monkeypatch):
    """Conditions planted instead of trained; gives the calls that asked for them."""
    calls = []

    def plant(out, progress, seed, verb):
        calls.append((seed, verb))
        for condition, name in (("multi", "model"), ("mono", "control")):
            store = open_store(shutil.copytree(runs[name], out / STORES[condition]), "a")
            top_experts(store, k=6)
            with_generations(store)
            prompts = open_store(shutil.copytree(runs[name], out / PROMPT_STORES[condition]), "a")
            with_patches(prompts, 0.4 if name == "model" else 0.0)
        progress("planted")

    monkeypatch.setattr(miniature, "run_conditions", plant)
    return calls


def test_every_seed_is_built_and_pages_hold_both_papers(planted, tmp_path):
    lines = []
    done = reproduce_miniature(tmp_path / "run", tmp_path / "pages", seeds=2, progress=lines.append)
    assert planted == [(0, ("reproduce", "miniature")), (1, ("reproduce", "miniature"))]
    assert lines[0] == "seed 0 of 2: planted"
    page = done.page.with_suffix(".md").read_text()
    assert "2 seeds of each" in page
    assert "arXiv 2506.01629" in page
    assert "arXiv 2601.22851" in page
    assert not [answer.missing for answer in done.answers if answer.missing]
    told = json.loads(done.page.with_suffix(".json").read_text())
    assert {one["part"] for one in told} == {miniature.compression.TITLE, miniature.spaces.TITLE}


def test_the_command_shows_the_verdicts(planted, tmp_path, capsys):
    assert run(["--quiet", "reproduce", "miniature", "--out", str(tmp_path / "run"), "--seeds", "1"]) == 0
    shown = capsys.readouterr().out
    assert "patching-seen" in shown
    assert "miniature.html" in shown
