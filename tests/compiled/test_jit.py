import logging

import numba
import pytest

from actlas.compiled import jit


def test_the_first_compilation_is_reported_once(caplog, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    @jit.cached_kernel
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
        kernel = jit.cached_kernel(lambda sources: lambda a: a + 1 if sources >= 0 else a)
    assert kernel(1) == 2
    assert "every process will compile them anew" in caplog.text


def test_the_digest_follows_the_sources(tmp_path, monkeypatch):
    before = jit.source_digest()
    (tmp_path / "cpu_x.py").write_text("1")
    (tmp_path / "jit.py").write_text("1")
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "jit.py"))
    jit.source_digest.cache_clear()
    changed = jit.source_digest()
    monkeypatch.undo()
    jit.source_digest.cache_clear()
    assert changed != before == jit.source_digest()
    assert 0 <= changed < 2**63


@pytest.mark.parametrize("option", ["_nrt", "forceinline"])
def test_numba_knows_the_options_that_the_speed_rests_on(option):
    assert numba.njit(**{option: option == "forceinline"})(lambda a: a)(1) == 1
