"""The verbs that bring statistics into a store: score computes them, import-scores takes those that were computed elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from actlas.cli.arguments import add_checkpoints, add_sites, add_store, named, separated
from actlas.cli.output import ProgressLine, say_table, step_progress
from actlas.errors import ScoreImportError
from actlas.names import POOLINGS, Checkpoint

if TYPE_CHECKING:
    import polars as pl


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the top parser."""
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
    _add_import(verbs)


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


def _add_import(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    scores = verbs.add_parser("import-scores", help="a store out of scores that were computed elsewhere, without texts or values")
    kinds = scores.add_subparsers(dest="kind", metavar="KIND", required=True)
    table = kinds.add_parser("table", help="CSV, Parquet or JSONL files: a row per language, concept, site, layer and neuron")
    table.add_argument("sources", nargs="+", type=Path, metavar="FILE")
    for name, about in (("language", "of all rows"), ("concept", "of all rows"), ("site", "of all rows")):
        table.add_argument(f"--{name}", type=named, help=f"{about}, where the files have no column {name}")
    table.set_defaults(run=_import_table)
    selfcond = kinds.add_parser("selfcond", help="folders with the expertise.csv files of ml-selfcond, one folder per language")
    selfcond.add_argument("sources", nargs="+", metavar="LANGUAGE=FOLDER")
    selfcond.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="END=SITE",
        help="read only modules whose path ends like this (default: those of GPT-2, BLOOM, GPT-NeoX and XGLM)",
    )
    selfcond.set_defaults(run=_import_selfcond)
    for kind in (table, selfcond):
        kind.add_argument("--store", type=Path, required=True)
        kind.add_argument("--provenance", required=True, metavar="TEXT", help="where the numbers come from")
        kind.add_argument(
            "--checkpoint",
            action="append",
            dest="checkpoints",
            default=[],
            metavar="ID[=STEP]",
            help="repeat for more; the only one where there is no column checkpoint",
        )
        kind.add_argument("--model", type=named, help="whose checkpoints these are (default: each its own)")
        kind.add_argument(
            "--label-counts", type=Path, metavar="FILE", help="a table with columns language, concept, n_positive, n_texts"
        )
        kind.add_argument("--pooling", choices=POOLINGS, default="max", help="of the values that were scored (default: max)")


def _checkpoint_of(argument: str, model: str | None) -> Checkpoint:
    """The checkpoint that ID or ID=STEP names."""
    name, equals, step = argument.partition("=")
    if not name or (equals and not step.isdecimal()):
        raise ScoreImportError(f"expected ID or ID=STEP, got {argument!r}")
    return Checkpoint(name, model or name, int(step) if equals else None)


def _import_table(options: argparse.Namespace) -> None:
    import polars as pl

    from actlas.query.atlas import as_frame

    frame = pl.concat([as_frame(file) for file in options.sources])
    checkpoint = options.checkpoints[0].partition("=")[0] if len(options.checkpoints) == 1 else None
    if checkpoint is not None and "checkpoint" not in frame.columns:
        frame = frame.with_columns(pl.lit(checkpoint).alias("checkpoint"))
    for name in ("language", "concept", "site"):
        value = getattr(options, name)
        if value is not None and name in frame.columns:
            raise ScoreImportError(f"the files have a column {name}; leave --{name} out")
        if value is not None:
            frame = frame.with_columns(pl.lit(value).alias(name))
    _import(frame, options)


def _import_selfcond(options: argparse.Namespace) -> None:
    from actlas.query import read_selfcond

    if len(options.checkpoints) != 1:
        raise ScoreImportError("folders of ml-selfcond are about one checkpoint; name it with --checkpoint ID or ID=STEP")
    folders, modules = (
        dict(_pair(argument, what) for argument in arguments)
        for arguments, what in ((options.sources, "LANGUAGE=FOLDER"), (options.module, "END=SITE"))
    )
    _import(read_selfcond(folders, options.checkpoints[0].partition("=")[0], modules=modules or None), options)


def _pair(argument: str, what: str) -> tuple[str, str]:
    name, _, value = argument.partition("=")
    if not name or not value:
        raise ScoreImportError(f"expected {what}, got {argument!r}")
    return name, value


def _import(frame: pl.DataFrame, options: argparse.Namespace) -> None:
    from actlas.query import import_scores
    from actlas.query.atlas import as_frame

    imported = import_scores(
        options.store,
        frame,
        provenance=options.provenance,
        checkpoints=[_checkpoint_of(argument, options.model) for argument in options.checkpoints] or None,
        label_counts=None if options.label_counts is None else as_frame(options.label_counts),
        pooling=options.pooling,
        settings={"files": [str(source) for source in options.sources]},
    )
    say_table(imported)
