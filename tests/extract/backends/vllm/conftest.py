"""An engine that plays vLLM, for what needs a process and ranks and not vLLM's own arithmetic."""

from importlib.util import find_spec
from pathlib import Path

import pytest

FAKE = Path(__file__).parent / "fake"
#: Imported here, it would pass for vLLM.
collect_ignore = ["fake"]


@pytest.fixture
def played_vllm(monkeypatch):
    """A function: engines started from now on are played, with a fault if one is named."""
    if find_spec("vllm") is not None:
        pytest.skip("vLLM itself is installed here")

    def play(fault=""):
        monkeypatch.setenv("PYTHONPATH", str(FAKE))
        monkeypatch.setenv("FAKE_VLLM_FAULT", fault)

    play()
    return play
