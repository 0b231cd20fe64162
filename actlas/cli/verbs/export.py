"""The verb that writes neurons to files of other programs: export."""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from actlas.allowed import Positive, Seed
from actlas.cli.arguments import add_lape_share, add_store, named, number
from actlas.cli.output import tell
from actlas.errors import QueryError


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    export = verbs.add_parser("export", help="experts or language sets of a checkpoint, as masks and values in a file")
    add_store(export)
    export.add_argument("file", type=Path, help=".safetensors: the masks and values of one set; .parquet: rows of any number")
    export.add_argument("--checkpoint", type=named, required=True, metavar="ID", help="whose neurons")
    about = "experts, lape, the name of imported sets, or difference: of means, between languages (default: experts)"
    export.add_argument("--from", type=named, default="experts", dest="source", metavar="SOURCE", help=about)
    export.add_argument("--language", type=named, action="append", dest="languages", metavar="NAME", help="default: all")
    export.add_argument(
        "--concept", type=named, action="append", dest="concepts", metavar="NAME", help="of experts (default: all)"
    )
    export.add_argument("--k", type=int, default=500, help="experts per language and concept (default: 500)")
    add_lape_share(export)
    difference = export.add_argument_group("difference", "the checkpoint is loaded, and means are taken on texts of the store")
    about = "language that the direction comes from; repeat for more (default: all others)"
    difference.add_argument("--against", type=named, action="append", metavar="NAME", help=about)
    about = "of the neurons; repeat for more (default: mlp_hidden)"
    difference.add_argument("--site", type=named, action="append", dest="sites", metavar="SITE", help=about)
    difference.add_argument("--texts", type=number(Positive), default=64, metavar="N", help="per language at most (default: 64)")
    difference.add_argument("--split", type=named, help="take texts of this split (default: of all)")
    difference.add_argument("--seed", type=number(Seed), default=0, help="of the draw of the texts")
    difference.add_argument("--model", type=named, help="folder or hub id, where it is not where the store says")
    difference.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default: auto)")
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    frame = _direction(options) if options.source == "difference" else _sets(options)
    tell(f"{frame.height:,} neurons of {options.checkpoint} in {options.file}")


def _sets(options: argparse.Namespace) -> pl.DataFrame:
    from actlas.intervene import export_neurons

    return export_neurons(
        options.store,
        options.file,
        checkpoint=options.checkpoint,
        source=options.source,
        languages=options.languages,
        concepts=options.concepts,
        k=options.k,
        share=options.share,
        bar_quantile=options.bar_quantile,
    )


def _direction(options: argparse.Namespace) -> pl.DataFrame:
    from actlas.intervene import export_direction

    if len(options.languages or ()) != 1:
        raise QueryError("a direction leads to one language; name it with --language")
    return export_direction(
        options.store,
        options.file,
        checkpoint=options.checkpoint,
        language=options.languages[0],
        against=options.against,
        sites=options.sites or ("mlp_hidden",),
        n_texts=options.texts,
        split=options.split,
        seed=options.seed,
        model=options.model,
        device=options.device,
    )
