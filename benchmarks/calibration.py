"""Are the tests of overlaps calibrated? False discoveries on planted stores whose labels mean nothing.

    python -m benchmarks.calibration [--stores 1000] [--planted-stores 250]

Each store has texts in translations, and half of its neurons answer to what a text and its translations say, whatever the
concept.
In one kind of store no neuron knows any concept; in the other, two of four concepts are planted, so that the false discoveries
stand among true ones. The false discovery rate is the mean over stores of the share of false ones among the discoveries, a store
without any counting as 0. Permutations that keep translations together are compared with those of each language by itself.

Run it on one processor (`taskset -c 0`): blocks are small, and more threads only wait for each other.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from actlas.query import open_store, score_neurons
from actlas.query.blocks import Steps
from actlas.query.choices import Ranking
from actlas.query.experts.ranked import expert_sets
from actlas.query.neurons import NeuronAxis
from actlas.query.questions.nulls import NullRanking
from actlas.query.questions.overlap_tests import Tally
from actlas.testing import Planting, planted_store
from benchmarks.harness import save

#: Discoveries are rows with a q-value up to this.
LEVEL = 0.05
K, N_REPEATS = 10, 199
NULL = Planting(
    languages=("en", "es", "fr"),
    concepts=("bird", "fire", "salt", "water"),
    n_groups=40,
    sites={"mlp_pre": (1, 80)},
    steps=(0,),
    sharing=(1.0,),
    n_planted=0,
    n_alike=40,
    token_sites={},
)
#: Kind of store -> what is planted in it.
KINDS = {
    "labels without meaning": NULL,
    "two of four concepts planted": replace(NULL, n_planted=10, n_silent=2),
}
NULLS = ("translations together", "each language by itself")


@dataclass(frozen=True)
class Outcome:
    """What one family of tests said about one store.

    Attributes:
        is_true: Which tests are of planted concepts.
        p_values: Of the tests.
        q_values: Of the tests.
    """

    is_true: np.ndarray
    p_values: np.ndarray
    q_values: np.ndarray

    @property
    def false_share(self) -> float:
        """Share of false discoveries among all; 0 where there is none."""
        found = self.q_values <= LEVEL
        return float((found & ~self.is_true).sum() / max(found.sum(), 1))


def outcomes(planting: Planting, folder: Path) -> dict[str, Outcome]:
    """The tests of one store, by each kind of permutation."""
    path = planted_store(folder / "store.actlas", planting)
    score_neurons(path, stats=("ap",))
    store = open_store(path)
    checkpoint = store.checkpoints[0]
    sets = expert_sets(store, checkpoint, Ranking(K))
    nulls = NullRanking(store, checkpoint, NeuronAxis.of(store, checkpoint, sets.axis.sites), sets.languages, sets.concepts, K, 0)
    planted = planting.concepts[planting.n_silent :] if planting.n_planted else ()
    answers = {}
    for name, draw in zip(NULLS, (nulls.together, nulls.apart), strict=True):
        tally = Tally.of(sets)
        for drawn in (one for part in draw(N_REPEATS, Steps(None, 1)) for one in part):
            tally.add(drawn)
        tests = tally.pairs().drop_nulls("p_value")
        is_true = tests.select(pl.col("concept").is_in(planted)).to_series().to_numpy()
        answers[name] = Outcome(is_true, tests["p_value"].to_numpy(), tests["q_value"].to_numpy())
    shutil.rmtree(path)
    return answers


def many(planting: Planting, n_stores: int, first_seed: int = 0) -> Iterator[dict[str, Outcome]]:
    """The tests of that many stores, each of another seed."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first_seed, first_seed + n_stores):
            yield outcomes(replace(planting, seed=seed), Path(folder))


def summary(found: list[Outcome]) -> dict[str, Any]:
    """Rates over stores, with the standard error of the first."""
    shares = np.array([one.false_share for one in found])
    false_p = np.concatenate([one.p_values[~one.is_true] for one in found])
    true_q = np.concatenate([one.q_values[one.is_true] for one in found])
    return {
        "n_stores": len(found),
        "n_tests": sum(one.p_values.size for one in found),
        "false_discovery_rate": float(shares.mean()),
        "standard_error": float(shares.std(ddof=1) / np.sqrt(shares.size)),
        "false_p_at_most_level": float((false_p <= LEVEL).mean()),
        "true_found": float((true_q <= LEVEL).mean()) if true_q.size else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", type=int, default=1000, help="stores whose labels mean nothing")
    parser.add_argument("--planted-stores", type=int, default=250, help="stores with planted concepts beside others")
    options = parser.parse_args()
    rows = []
    for (kind, planting), n_stores in zip(KINDS.items(), (options.stores, options.planted_stores), strict=True):
        found: dict[str, list[Outcome]] = {name: [] for name in NULLS}
        for one in many(planting, n_stores):
            for name, outcome in one.items():
                found[name].append(outcome)
        for name in NULLS:
            rows.append({"stores": kind, "permutations": name, **summary(found[name])})
            print(rows[-1], flush=True)
    settings = {"level": LEVEL, "k": K, "n_repeats": N_REPEATS, "n_neurons": 80, "n_alike": NULL.n_alike, "n_texts": 120}
    save("calibration", settings, rows, threads=1)


if __name__ == "__main__":
    main()
