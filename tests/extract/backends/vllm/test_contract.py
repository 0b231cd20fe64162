"""The vLLM backend does what every backend must: an engine starts for each test, so `make test-vllm` runs them."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from actlas.extract.backends.base import BackendSettings
from actlas.extract.backends.registry import get_backend
from actlas.extract.checkpoints.resolve import resolve_models
from actlas.testing.contracts import BackendTests
from benchmarks.vllm_models import write_model

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM, in an environment of its own: make test-vllm"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("vllm") / "llama", "llama")


class TestVllm(BackendTests):
    texts = ("kala", "mone suvo", "tishi rela kane movo sushi", "rene tila kavo", "molala suti")
    tolerance = 1e-4

    @pytest.fixture
    def backend(self):
        return get_backend("vllm", BackendSettings(device="cpu", compute_dtype="float32"))

    @pytest.fixture
    def checkpoint(self, folder):
        return resolve_models(folder)[0]
