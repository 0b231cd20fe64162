"""Planted stores with every table that a report shows."""

import polars as pl
import pytest

from actlas.query.atlas import open_store
from actlas.query.questions.experts import top_experts
from actlas.query.questions.overlap import expert_overlap
from actlas.query.questions.overlap_controls import overlap_controls
from actlas.query.questions.overlap_tests import overlap_tests
from actlas.query.questions.scores import score_neurons
from actlas.report.measures import Labelled
from actlas.testing.planted import Planting, planted_store
from tests.reproduce.made import with_generations

K = 6
SITES = ("attn_out", "mlp_pre")
ACCURACY = {"planted-step0": (0.4, 0.5, 0.6), "planted-step64": (0.6, 0.9, 0.9), "planted-step128": (0.5, 0.7, 0.9)}


def publish_probe(store, accuracy):
    for checkpoint, values in accuracy.items():
        rows = [
            (
                "embed" if at == 0 else "resid",
                max(0, at - 1),
                "language",
                seed,
                value + (0.01, -0.01)[seed],
                90,
                60,
                0.1,
                1 / 3,
                9,
            )
            for at, value in enumerate(values)
            for seed in (0, 1)
        ]
        columns = ["site", "layer", "label", "seed", "accuracy", "n_train", "n_test", "c", "chance", "n_iterations"]
        store.publish_table("probe", checkpoint, pl.DataFrame(rows, schema=columns, orient="row"), {"seeds": [0, 1]})


def answered(path, planting):
    store = open_store(planted_store(path, planting), mode="a")
    score_neurons(store, sites=SITES, stats=("ap", "median", "p90"))
    top_experts(store, k=K)
    expert_overlap(store, k=K)
    overlap_controls(store, k=K)
    publish_probe(store, ACCURACY)
    return store


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory):
    """Languages share more and more experts from step to step."""
    store = answered(tmp_path_factory.mktemp("report") / "shared.actlas", Planting())
    with_generations(store)
    return store


@pytest.fixture(scope="session")
def twinned_store(tmp_path_factory):
    """The same with a random-weights twin, in which nothing is planted."""
    planting = Planting(steps=(64, 128), sharing=(0.5, 1.0), has_twin=True)
    store = open_store(planted_store(tmp_path_factory.mktemp("report") / "twinned.actlas", planting), mode="a")
    score_neurons(store, sites=SITES, stats=("ap", "median"))
    top_experts(store, k=K)
    overlap_controls(store, k=K)
    overlap_tests(store, k=K, n_repeats=99, checkpoints=["planted-step128", "planted-random0"])
    return store


@pytest.fixture(scope="session")
def apart_store(tmp_path_factory):
    """Languages share no expert beyond chance."""
    store = answered(tmp_path_factory.mktemp("report") / "apart.actlas", Planting(sharing=(0.0, 0.0, 0.0)))
    with_generations(store)
    return store


@pytest.fixture(scope="session")
def bare_store(tmp_path_factory):
    """Nothing was asked of this store yet."""
    return open_store(planted_store(tmp_path_factory.mktemp("report") / "bare.actlas", Planting(n_groups=16)))


@pytest.fixture
def shared(shared_store):
    return Labelled("model", shared_store)


@pytest.fixture
def apart(apart_store):
    return Labelled("control", apart_store)
