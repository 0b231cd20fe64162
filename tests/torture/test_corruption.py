"""A sample of what `make torture` does in full; another seed, or all of it: ``python -m tests.torture.corruption --seed N``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.corruption import torture
from tests.torture.stores import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_damage_is_named_and_none_passes_for_numbers(kind: str, tmp_path: Path) -> None:
    *_, result = torture(kind, tmp_path, n_sampled=12)
    assert (result.n_damages, result.verified["named"]) == (12, 12)
    assert result.reads["same"]
    assert result.reads["refused"]
    assert result.faults == []
