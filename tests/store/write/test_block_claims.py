"""Who may write which block: reserved before a model is loaded, kept apart by parts where no lock reaches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from actlas.store.files.atomic import write_temporary
from actlas.store.write.block_claims import BlockClaims
from tests.store.conftest import Planted


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_reserved_block_is_the_next_one_and_nobody_else_s(planted: Planted, tmp_path: Path) -> None:
    with planted.writer(tmp_path / "s") as writer:
        mine, theirs = (BlockClaims(tmp_path / "s", "model-step1", writer.blocks) for _ in range(2))
        assert mine.reserve((1, 5))
        assert not theirs.reserve((1, 5)), "the one block of this part is taken"
        assert theirs.reserve()
        block = mine.claim_next((1, 5))
        assert block is not None
        assert mine.owns(block)
        assert not theirs.owns(block)
        mine.release_all()
        assert theirs.reserve((1, 5)), "what its owner lost is free for whoever comes next"
        theirs.release_all()


def test_what_was_reserved_is_written_by_the_checkpoint_s_writer(planted: Planted, tmp_path: Path) -> None:
    whole = planted.write(tmp_path / "whole")
    with planted.writer(tmp_path / "s") as writer:
        cubes = {site: array.shape[:2] for site, array in planted.values.items()}
        claims = BlockClaims(tmp_path / "s", "model-step1", writer.blocks)
        assert claims.reserve()
        begun = planted.begin(writer)
        run = writer.checkpoint(
            begun.checkpoint, {"weight_hash": "hash of model-step1"}, cubes, begun_tokens(), begun_counts(), claims=claims
        )
        n_written = 0
        while (block := run.claim_next()) is not None:
            run.write_block(block, planted.block(block.start, block.stop))
            n_written += 1
        assert n_written == len(writer.blocks)
        assert claims.reserve(), "all is committed and nobody has made it visible: a model is needed for that"
        assert run.finish({"fidelity": 0.0})
        assert not claims.reserve()
    assert contents(tmp_path / "s") == contents(whole)


def begun_tokens() -> dict[str, tuple[int, int]]:
    from tests.store.conftest import LAYERS, WIDTH

    return {"resid": (LAYERS, WIDTH)}


def begun_counts() -> dict[str, tuple[int, int]]:
    from tests.store.conftest import LAYERS, NEURONS

    return {"mlp_hidden": (LAYERS, NEURONS)}


def test_completing_a_checkpoint_clears_what_killed_writers_left(planted: Planted, tmp_path: Path) -> None:
    whole = planted.write(tmp_path / "whole")
    left = (
        "cubes/model-step1/resid.max/c/0/0/1",
        "manifests/model-step1/blocks/000001.json",
        "corpus/texts.parquet",
        "zarr.json",
    )
    for name in left:
        write_temporary(tmp_path / "s" / name, [b"half"])
    theirs = tmp_path / "s" / "of-a-user.tmp"
    theirs.write_bytes(b"")
    planted.write(tmp_path / "s")
    theirs.unlink()
    assert contents(tmp_path / "s") == contents(whole)


# Two machines whose locks do not reach each other

RACING = """
import fcntl, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
fcntl.flock = lambda fd, how: None
from tests.store.conftest import plant
from tests.store.write import test_state_writer as kept
import socket
me, root = int(sys.argv[1]), Path(sys.argv[2])
socket.gethostname = lambda: f"machine-{me}"

def together(name):
    (root / f"{name}-{me}").touch()
    while not (root / f"{name}-{3 - me}").exists():
        time.sleep(0.0005)

def work(run, values, folder):
    together(folder + "-work")
    while (block := run.claim_next((me, 2))) is not None:
        run.write_block(block, values(block))
    run.flush()
    run.release_claims()
    together(folder + "-finish")
    assert run.finish({"fidelity": 0.0})

for turn in range(int(sys.argv[4])):
    planted = plant()
    together(f"cube-{turn}")
    # the other machine would cut blocks otherwise, had it come first
    with planted.writer(root / f"cube-{turn}.actlas", 32 * me) as writer:
        together(f"begin-{turn}")
        work(planted.begin(writer), lambda block: planted.block(block.start, block.stop), f"cube-{turn}")
    together(f"states-{turn}")
    with kept.open_writer(root / f"states-{turn}.actlas") as writer:
        work(kept.begin(writer), kept.values_of, f"states-{turn}")
"""


def test_two_machines_without_locks_between_them(planted: Planted, tmp_path: Path) -> None:
    """Creation, beginning and completion at once, again and again: no error, and the bytes of one machine alone."""
    n_turns = 4
    for texts_per_block in (32, 64):
        planted.write(tmp_path / f"alone-{texts_per_block}", texts_per_block=texts_per_block)
    alone = [contents(tmp_path / f"alone-{size}") for size in (32, 64)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    commands = [[sys.executable, "-c", RACING, str(me), str(tmp_path), os.getcwd(), str(n_turns)] for me in (1, 2)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) for command in commands]
    try:
        errors = [process.communicate(timeout=60)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], errors
    from tests.store.write.test_state_writer import check

    for turn in range(n_turns):
        assert contents(tmp_path / f"cube-{turn}.actlas") in alone
        check(tmp_path / f"states-{turn}.actlas")
        assert not list((tmp_path / f"states-{turn}.actlas").rglob("*.tmp"))
