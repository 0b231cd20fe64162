"""Tiny configurations: of two layers each, and small enough to be made by the dozen."""

import pytest

from actlas.testing.tiny_configs import tiny_configs


@pytest.mark.parametrize("name", tiny_configs())
def test_a_tiny_configuration_is_tiny(name):
    config = tiny_configs()[name]()
    assert config.num_hidden_layers == 2
    assert config.hidden_size <= 32
    assert config.vocab_size == 96
