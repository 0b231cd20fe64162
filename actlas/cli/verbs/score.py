"""The verb that computes statistics: score."""

from __future__ import annotations

import argparse

from actlas.cli.arguments import add_checkpoints, add_sites, add_store, separated
from actlas.cli.output import ProgressLine, say_table, step_progress


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    score = verbs.add_parser("score", help="statistics of every neuron as a detector of every concept in every language")
    add_store(score)
    add_checkpoints(score)
    add_sites(score)
    score.add_argument(
        "--stats",
        type=separated(str),
        metavar="STAT,...",
        help="default: ap,auroc,p_active,p_active_off,mean,std,median,p90,best_f1",
    )
    score.add_argument("--threshold", type=float, help="a value above it is active (default: 0, or what states were kept with)")
    score.add_argument("--backend", default="auto", choices=("auto", "cpu", "gpu", "reference"))
    score.add_argument("--overwrite", action="store_true", help="replace scores that were made with other settings")
    score.set_defaults(run=_score)


def _score(options: argparse.Namespace) -> None:
    from actlas.query import DEFAULT_STATS, score_neurons

    line = ProgressLine(options.quiet)
    frame = score_neurons(
        options.store,
        checkpoints=options.checkpoints,
        sites=options.sites,
        stats=options.stats or DEFAULT_STATS,
        threshold=options.threshold,
        backend=options.backend,
        overwrite=options.overwrite,
        progress=step_progress(line, "neurons"),
    )
    line.end()
    say_table(frame)
