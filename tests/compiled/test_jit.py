import logging
import os
import subprocess
import sys

import numba
import pytest

from actlas.compiled import jit

SIGNATURE = (numba.int64, numba.int64)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path / "actlas-kernels"


def new_kernel():
    def add(a, b):
        return a + b

    return jit.jit_kernel(add)


def messages(caplog):
    return [record.message for record in caplog.records if record.name == "actlas.kernels"]


def test_a_compilation_is_announced_and_happens_once(caplog, root):
    caplog.set_level(logging.INFO, logger="actlas.kernels")
    kernel = new_kernel()
    assert jit.compiled_now(kernel, SIGNATURE)(2, 3) == 5
    assert messages(caplog)[0] == "compiling kernels, once (add)"
    assert messages(caplog)[1].startswith("compiled add in ")
    caplog.clear()
    jit.compiled_now(kernel, SIGNATURE)
    # what another process would find
    assert jit.compiled_now(new_kernel(), SIGNATURE)(2, 3) == 5
    assert messages(caplog) == []
    assert list(root.rglob("*.nbi"))


def test_machine_code_is_kept_below_the_users_folder_for_caches(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jit.cache_root() == tmp_path / "actlas" / "kernels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert jit.cache_root() == tmp_path / ".cache" / "actlas" / "kernels"


def test_a_folder_that_cannot_be_written_costs_the_cache_and_nothing_else(caplog, root):
    root.write_text("a file where the folder should be")
    assert jit.compiled_now(new_kernel(), SIGNATURE)(1, 1) == 2
    assert "every process will compile them again" in caplog.text


@pytest.mark.skipif(jit.fcntl is None, reason="needs fcntl")
def test_files_that_cannot_be_locked_cost_the_wait_and_nothing_else(root, monkeypatch):
    def refuse(*_):
        raise OSError("no locks available")

    monkeypatch.setattr(jit.fcntl, "flock", refuse)
    assert jit.compiled_now(new_kernel(), SIGNATURE)(1, 1) == 2


RACE = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
import numba
from actlas.compiled import jit

def add(a, b):
    return a + b

kernel = jit.jit_kernel(add)
compile = type(kernel._compiler).compile

def when_told(self, *arguments):
    print("begin", flush=True)
    sys.stdin.readline()
    return compile(self, *arguments)

type(kernel._compiler).compile = when_told
assert jit.compiled_now(kernel, (numba.int64, numba.int64))(1, 2) == 3
"""


@pytest.mark.skipif(jit.fcntl is None, reason="needs fcntl")
def test_of_two_processes_one_compiles_and_the_other_waits(tmp_path):
    script = tmp_path / "race.py"
    script.write_text(RACE)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([sys.executable, script], **pipes) as first:
        while "begin" not in first.stdout.readline():
            assert first.poll() is None
        with subprocess.Popen([sys.executable, script], **pipes) as second:
            assert second.stdout.readline() == "compiling kernels, once: another process does it, waiting\n"
            # it goes on once it is heard, and then the other one finds what it made
            first.communicate("\n")
            assert second.communicate() == ("", None)
    assert (first.returncode, second.returncode) == (0, 0)


def test_versions_that_were_not_used_for_long_are_deleted(root):
    for age in range(12):
        (root / f"version{age}").mkdir(parents=True)
        os.utime(root / f"version{age}", (1e9 - age, 1e9 - age))
    jit.compiled_now(new_kernel(), SIGNATURE)
    kept = sorted(path.name for path in root.iterdir() if path.name.startswith("version"))
    assert kept == sorted(f"version{age}" for age in range(jit.KEPT_VERSIONS - 1))


def digest_of(folder):
    jit.source_digest.cache_clear()
    return jit.source_digest(folder)


def test_the_digest_follows_the_sources_of_a_kernel_and_of_what_it_stands_on(tmp_path, monkeypatch):
    kernels, floor = tmp_path / "kernels", tmp_path / "compiled"
    for folder in (kernels, floor):
        folder.mkdir()
        (folder / "loops.py").write_text("1")
    monkeypatch.setattr(jit, "__file__", str(floor / "jit.py"))
    digests = [digest_of(kernels)]
    for folder in (kernels, floor):
        (folder / "loops.py").write_text("2")
        digests.append(digest_of(kernels))
    jit.source_digest.cache_clear()
    assert len(set(digests)) == 3


@pytest.mark.parametrize("option", ["_nrt", "forceinline"])
def test_numba_knows_the_options_that_the_speed_rests_on(option):
    assert numba.njit(**{option: option == "forceinline"})(lambda a: a)(1) == 1
