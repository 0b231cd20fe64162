"""What a block of texts must bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.store.conftest import Planted


def test_wrong_shapes_and_dtypes_write_nothing(planted: Planted, tmp_path: Path) -> None:
    with planted.writer(tmp_path / "s") as writer:
        run = planted.begin(writer)
        block = run.claim_next()
        assert block is not None
        values = planted.block(0, 32)
        values.cubes = {**values.cubes, "resid": values.cubes["resid"][:, :, :5]}
        with pytest.raises(ValueError, match="other arrays than announced"):
            run.write_block(block, values)
        values = planted.block(0, 32)
        values.cubes = {site: array.astype(np.float64) for site, array in values.cubes.items()}
        with pytest.raises(TypeError, match="convert before writing"):
            run.write_block(block, values)
        assert not run.claims.is_committed(block)
