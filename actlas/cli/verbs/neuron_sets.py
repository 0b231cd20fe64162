"""Verbs about published sets of language-specific neurons: import them, compare them."""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from actlas.cli.arguments import add_checkpoints, add_lape, add_output, add_store, named, separated, show
from actlas.cli.output import tell


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    sets = verbs.add_parser("neuron-sets", help="published sets of language-specific neurons, beside LAPE's own")
    kinds = sets.add_subparsers(dest="kind", metavar="KIND", required=True)

    read = kinds.add_parser("import", help="keep the sets of a .neuron.pth file as table neuron_sets; shows their sizes")
    add_store(read)
    read.add_argument("file", type=Path, help="list over languages of lists over layers of rows of int64, saved with torch")
    read.add_argument("--name", type=named, required=True, help="what the sets are called from now on")
    about = "in the order of the file, which does not name them"
    read.add_argument("--languages", type=separated(str), required=True, metavar="LANGUAGE,...", help=about)
    read.add_argument("--site", type=named, help="where the neurons are (default: where LAPE counts, mlp_pre or mlp_hidden)")
    add_checkpoints(read)
    read.add_argument("--replace", action="store_true", help="replace other sets of that name")
    read.set_defaults(run=_import)

    overlap = kinds.add_parser("overlap", help="sizes of all sets, LAPE's own included, and how many neurons every two share")
    add_store(overlap)
    add_checkpoints(overlap)
    add_lape(overlap)
    overlap.set_defaults(run=_overlap)
    for kind in (read, overlap):
        add_output(kind)


def _import(options: argparse.Namespace) -> None:
    from actlas.query import import_neuron_sets

    frame = import_neuron_sets(
        options.store,
        options.file,
        name=options.name,
        languages=options.languages,
        site=options.site,
        checkpoints=options.checkpoints,
        replace=options.replace,
    )
    for checkpoint, sets in frame.group_by("checkpoint", maintain_order=True):
        n_neurons = sets.select("layer", "neuron").n_unique()
        tell(f"{n_neurons:,} neurons of {options.name} beside {checkpoint[0]}, at {sets['site'][0]}")
    sizes = frame.group_by("checkpoint", "name", "language", "site", maintain_order=True).agg(pl.len().alias("n_neurons"))
    show(sizes, options)


def _overlap(options: argparse.Namespace) -> None:
    from actlas.query import neuron_set_overlap, open_store

    frame = neuron_set_overlap(
        open_store(options.store),
        checkpoints=options.checkpoints,
        share=options.share,
        bar_quantile=options.bar_quantile,
        threshold=options.threshold,
    )
    show(frame, options)
