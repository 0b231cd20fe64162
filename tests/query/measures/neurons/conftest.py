import pytest

from actlas.query import open_store
from actlas.testing.planted import Planting, planted_store


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """A store with two sites, of which some neurons are constant."""
    sites = {"attn_out": (2, 24), "mlp_pre": (2, 200)}
    path = planted_store(tmp_path_factory.mktemp("measured") / "s", Planting(sites=sites, steps=(0, 64), sharing=(0.0, 0.5)))
    return open_store(path, "r")
