"""Scoring neurons that have few texts: what a whole run costs per score value, beside the kernels alone on the same arrays.

    python -m benchmarks.score_few [--texts 20 100 600] [--rounds 5] [--save]

A planted store of 8 languages and 30 concepts, two sites of 6 layers. A run reads the cube, ranks, encodes, writes, syncs and
commits; beside it the kernels rank the same values that are in memory already. One score value is one statistic of one neuron for
one concept in one language. Scores of a layer are compared with those of the reference first.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from actlas.kernels import concept_scores, prepare_labels
from actlas.kernels.stats import DEFAULT_STATS
from actlas.query import open_store, score_neurons
from actlas.testing.planted import Planting, planted_store
from benchmarks.harness import interleave, save

SITES = {"attn_out": (6, 1024), "mlp_pre": (6, 4096)}
CHECKED = 16


def make_store(folder: Path, n_texts: int) -> Path:
    planting = Planting(
        languages=tuple("abcdefgh"),
        concepts=tuple(f"c{number:02d}" for number in range(30)),
        n_groups=n_texts,
        sites=SITES,
        steps=(64,),
        sharing=(0.5,),
        texts_per_block=1024,
    )
    return planted_store(folder / f"{n_texts}.actlas", planting)


def check(path: Path, stats: tuple[str, ...]) -> None:
    """Some neurons against the reference."""
    store = open_store(path)
    values = store.cube("planted-step64", "mlp_pre").read(layer=0, neurons=slice(CHECKED))
    scores = store.scores("planted-step64", "mlp_pre")
    for language in store.corpus.languages:
        rows = store.corpus.language_slice(language)
        is_concept, is_member = store.corpus.concept_matrix(language)
        wanted = concept_scores(values[:, rows], is_concept, stats, is_member, backend="reference")
        for stat in stats:
            found = scores.read(stat, language, layer=0, neurons=slice(CHECKED)).T
            np.testing.assert_allclose(found, wanted[stat], rtol=1e-6, err_msg=f"{stat} {language}")


def kernels_alone(path: Path, stats: tuple[str, ...]) -> None:
    store = open_store(path)
    for language in store.corpus.languages:
        labels = prepare_labels(*store.corpus.concept_matrix(language))
        for parts in _values(path)[language]:
            concept_scores(parts, labels, stats, backend="cpu")


_held: dict[Path, dict[str, list[np.ndarray]]] = {}


def _values(path: Path) -> dict[str, list[np.ndarray]]:
    """Values "neurons texts" of every layer, read once."""
    if path not in _held:
        store = open_store(path)
        cubes = [store.cube("planted-step64", site) for site in SITES]
        layers = [cube.read(layer=layer) for cube in cubes for layer in range(cube.shape[0])]
        slices = {language: store.corpus.language_slice(language) for language in store.corpus.languages}
        _held[path] = {language: [np.ascontiguousarray(one[:, rows]) for one in layers] for language, rows in slices.items()}
    return _held[path]


def run(options: argparse.Namespace) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n_texts in options.texts:
            path = make_store(Path(folder), n_texts)
            store = open_store(path)
            n_pairs = len(store.corpus.languages) * len(store.corpus.concepts)
            for stats in (("ap",), DEFAULT_STATS):
                score_neurons(path, stats=stats, overwrite=True)
                check(path, stats)
                timings = interleave(
                    {
                        "run": partial(score_neurons, path, stats=stats, overwrite=True),
                        "kernels": partial(kernels_alone, path, stats),
                    },
                    options.rounds,
                )
                n_scores = n_pairs * len(stats) * sum(layers * neurons for layers, neurons in SITES.values())
                rows.append(
                    {
                        "n_texts": n_texts,
                        "n_stats": len(stats),
                        "microseconds_per_score": [1e6 * one / n_scores for one in timings["run"].seconds],
                        "run_over_kernels": timings["run"].ratio_to(timings["kernels"]),
                    }
                )
                print(rows[-1])
            _held.clear()
    if options.save:
        print(save("score_few", {"rounds": options.rounds, "languages": 8, "concepts": 30, "clock": "wall"}, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, nargs="+", default=[20, 100, 600], help="per language")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", action="store_true")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
