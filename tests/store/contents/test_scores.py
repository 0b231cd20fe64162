from __future__ import annotations

from pathlib import Path

import pytest

from actlas.errors import RecipeMismatch, ScoresNotFound
from actlas.store import Store


def test_scores_that_are_not_there_come_with_the_command(store_path: Path) -> None:
    with pytest.raises(ScoresNotFound, match="actlas score"):
        Store(store_path).scores("model-step1", "resid")


def test_two_score_runs_exclude_each_other(store_path: Path) -> None:
    store = Store(store_path, "a")
    about = {"stats": ("ap",), "languages": ("en", "es"), "concepts": ("water",), "settings": {}}
    with store.score_writer("model-step1", "resid", **about), pytest.raises(RecipeMismatch, match="right now"):
        store.score_writer("model-step1", "resid", **about)
