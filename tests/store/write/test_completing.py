"""A checkpoint whose blocks are all committed: put together once, by whichever process is first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actlas.store import Store
from actlas.store.write import completing
from tests.store.conftest import Planted
from tests.store.write.test_writer import contents


def test_counts_and_loss_are_summed_over_blocks(store_path: Path, planted: Planted) -> None:
    store = Store(store_path)
    counts = store.token_counts("model-step1")
    sizes = [planted.corpus.texts.filter(language=lang).height for lang in counts.languages]
    assert counts.n_tokens.tolist() == [10 * size for size in sizes]
    assert (counts.active == np.array(sizes)[:, None, None]).all()
    assert store.checkpoint("model-step1")["sanity_loss"] == 2.0
    assert not list(store_path.rglob("*.npy"))


def test_what_a_killed_process_left_above_its_checkpoint_goes_too(planted: Planted, tmp_path: Path) -> None:
    planted.write(tmp_path / "whole")
    with planted.writer(tmp_path / "s"):
        pass
    for folder in ("corpus", "cubes"):
        (tmp_path / "s" / folder).mkdir(exist_ok=True)
        (tmp_path / "s" / folder / "zarr.json.0123456789ab.tmp").write_bytes(b"{")
    planted.write(tmp_path / "s")
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


@pytest.mark.parametrize("moment", ["before it reads parts", "while it reads parts"])
def test_another_machine_completes_the_checkpoint_first(
    moment: str, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = planted.write(tmp_path / "whole")
    monkeypatch.setattr("actlas.store.files.locks.fcntl.flock", lambda fd, how: None)
    with planted.writer(tmp_path / "s") as one, planted.writer(tmp_path / "s") as other:
        first, second = planted.begin(one), planted.begin(other)
        while (block := first.claim_next()) is not None:
            first.write_block(block, planted.block(block.start, block.stop))
        load, calls = completing.np.load, []

        def overtaken(path: Path, **options: bool) -> object:
            calls.append(path)
            if len(calls) == (1 if moment == "before it reads parts" else 3):
                monkeypatch.setattr(completing.np, "load", load)
                assert second.finish({"fidelity": 0.0})
            return load(path, **options)

        monkeypatch.setattr(completing.np, "load", overtaken)
        assert first.finish({"fidelity": 0.0})
        assert calls
    assert contents(tmp_path / "s") == contents(whole)
