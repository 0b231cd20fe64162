"""The transformers backend does what every backend must, for a decoder of each kind and an encoder."""

from __future__ import annotations

from typing import ClassVar

import pytest

from actlas.extract.backends.base import BackendSettings
from actlas.extract.backends.hf.backend import make_backend
from actlas.extract.checkpoints.resolve import resolve_models
from actlas.testing.contracts import BackendTests


class HfTests(BackendTests):
    texts = ("kala", "mone suvo", "tishi rela kane movo sushi", "rene tila kavo", "molala suti")
    family: str

    @pytest.fixture
    def backend(self):
        return make_backend(BackendSettings(device="cpu"))

    @pytest.fixture
    def checkpoint(self, tiny_models):
        return resolve_models(tiny_models(self.family))[0]


class TestBloom(HfTests):
    family = "bloom"


class TestLlama(HfTests):
    family = "llama"


class TestOpt(HfTests):
    family = "opt"


class TestBert(HfTests):
    family = "bert"
    gaps: ClassVar = {"test_the_loss_is_over_every_predicted_token": "an encoder predicts no next token, so it has no loss"}
