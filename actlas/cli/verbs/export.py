"""The verb that writes neurons to files of other programs: export."""

from __future__ import annotations

import argparse
from pathlib import Path

from actlas.cli.arguments import add_lape_share, add_store, named
from actlas.cli.output import tell


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    export = verbs.add_parser("export", help="experts or language sets of a checkpoint, as masks and values in a file")
    add_store(export)
    export.add_argument("file", type=Path, help=".safetensors: the masks and values of one set; .parquet: rows of any number")
    export.add_argument("--checkpoint", type=named, required=True, metavar="ID", help="whose neurons")
    about = "experts, lape, or the name of imported sets (default: experts)"
    export.add_argument("--from", type=named, default="experts", dest="source", metavar="SOURCE", help=about)
    export.add_argument("--language", type=named, action="append", dest="languages", metavar="NAME", help="default: all")
    export.add_argument(
        "--concept", type=named, action="append", dest="concepts", metavar="NAME", help="of experts (default: all)"
    )
    export.add_argument("--k", type=int, default=500, help="experts per language and concept (default: 500)")
    add_lape_share(export)
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from actlas.intervene import export_neurons

    frame = export_neurons(
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
    tell(f"{frame.height:,} neurons of {options.checkpoint} in {options.file}")
