"""Backends by name, and what is said where one cannot be had."""

import subprocess
import sys

import pytest

from actlas.errors import BackendUnavailable
from actlas.extract.backends import registry
from actlas.extract.backends.base import BackendSettings
from actlas.extract.backends.registry import get_backend


def test_a_name_gives_its_backend():
    assert get_backend("hf", BackendSettings(device="cpu")).name == "hf"


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(BackendUnavailable, match="no extraction backend 'jax'; choose one of hf, vllm"):
        get_backend("jax", BackendSettings())


def test_a_library_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(registry._BACKENDS, "hf", ("no_such_library.backend", "pip install it"))
    with pytest.raises(BackendUnavailable, match="backend 'hf' needs no_such_library: pip install it"):
        get_backend("hf", BackendSettings())


def test_a_backend_that_refuses_is_heard():
    with pytest.raises(BackendUnavailable, match="on one device, not on 2"):
        get_backend("hf", BackendSettings(device="cpu", tensor_parallel=2))


def test_the_table_imports_no_library():
    code = "import sys, actlas.extract.backends.registry; print('torch' in sys.modules, 'transformers' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["False"] * 2
    )
