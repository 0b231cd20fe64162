from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actlas.errors import StoreError
from actlas.store.files.locks import Claim


def test_a_claim_excludes_others_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "c.claim"
    claim = Claim.take(path)
    assert claim is not None
    assert Claim.take(path) is None
    claim.release()
    claim.release()
    assert not path.exists()
    with Claim.hold(path):
        assert Claim.take(path) is None


def test_a_claim_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "c.claim"
    code = (
        "import sys, time; from pathlib import Path; from actlas.store.files.locks import Claim\n"
        f"claim = Claim.take(Path({str(path)!r})); print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ})
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    assert Claim.take(path) is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    again = Claim.take(path)
    assert again is not None
    again.release()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(fd, how):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("actlas.store.files.locks.fcntl.flock", refuse)
    for take in (Claim.take, Claim.hold):
        with pytest.raises(StoreError, match=r"has no locks \(Function not implemented\)"):
            take(tmp_path / "claim")
