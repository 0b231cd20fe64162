"""A sample of what `make torture` does in full; another seed, or all of it: ``python -m tests.torture.corruption --seed N``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.corruption import torture
from tests.torture.stores import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_ends_in_an_error_that_is_not_ours(kind: str, tmp_path: Path) -> None:
    *_, result = torture(kind, tmp_path, n_sampled=12)
    assert result.n_damages == 12
    assert [fault for fault in result.faults if "traceback" in fault] == []
