import logging
from pathlib import Path

import numba
import pytest

from actlas.compiled import jit


def test_the_first_compilation_is_reported_once(caplog, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    @jit.cached_kernel(Path(__file__).parent)
    def add(sources):
        def add(a, b):
            return a + b if sources >= 0 else a

        return add

    with caplog.at_level(logging.INFO, logger="actlas.kernels"):
        for _ in range(2):
            assert jit.compiled(add, (numba.int64, numba.int64))(2, 3) == 5
    assert sum(record.message.startswith("compiled add") for record in caplog.records) == 1
    assert list(tmp_path.rglob("*.nbi"))


def test_a_folder_that_cannot_be_written_costs_the_cache_and_nothing_else(caplog, monkeypatch):
    njit = numba.njit

    def without_cache(*args, cache=False, **kwargs):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*args, **kwargs)

    monkeypatch.setattr(jit.numba, "njit", without_cache)
    with caplog.at_level(logging.WARNING, logger="actlas.kernels"):
        kernel = jit.cached_kernel(Path(__file__).parent)(lambda sources: lambda a: a + 1 if sources >= 0 else a)
    assert kernel(1) == 2
    assert "every process will compile them anew" in caplog.text


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
    assert all(0 <= digest < 2**63 for digest in digests)


@pytest.mark.parametrize("option", ["_nrt", "forceinline"])
def test_numba_knows_the_options_that_the_speed_rests_on(option):
    assert numba.njit(**{option: option == "forceinline"})(lambda a: a)(1) == 1
