"""Small stores that hold one of everything: cubes or states, counts, token vectors, scores, and kept answers."""

from __future__ import annotations

from pathlib import Path

from actlas.query import expert_overlap, language_neurons, open_store, score_neurons, top_experts, top_texts
from actlas.testing import Planting, planted_store

#: Questions ask for these k: the first is kept, the second has to be computed.
KEPT_K, COMPUTED_K = 3, 5
_STATES = {"cubes": (), "states": ("moments", "histogram")}
KINDS = tuple(_STATES)


def make_store(kind: str, path: Path) -> Path:
    """A store of two checkpoints.

    Args:
        kind: "cubes", or "states" in their place.
        path: Where there is nothing yet.
    """
    planting = Planting(
        languages=("es", "en"),
        concepts=("fire", "salt"),
        n_groups=16,
        sites={"mlp_hidden": (2, 20), "mlp_pre": (2, 20)},
        steps=(0, 64),
        sharing=(0.0, 1.0),
        n_planted=3,
        token_sites={"resid": (2, 4)},
        texts_per_block=16,
        states=_STATES[kind],
    )
    planted_store(path, planting)
    score_neurons(path, stats=("ap", "auroc", "mean", "median"))
    with_answers = open_store(path, "a")
    top_experts(with_answers, k=KEPT_K)
    top_experts(with_answers, k=KEPT_K, sites=["mlp_hidden"])
    expert_overlap(with_answers, k=KEPT_K, halves=False)
    language_neurons(with_answers, share=0.2)
    if kind == "cubes":
        top_texts(with_answers, sites=["mlp_pre"], n=2)
    with_answers.close()
    return path
