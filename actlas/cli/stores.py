"""Verbs that make things: corpus, extract, score, demo; and those that look at what was made: info, verify."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from actlas.cli.output import ProgressLine, as_table, duration, folder_bytes, n_bytes, tell
from actlas.errors import CorpusError

if TYPE_CHECKING:
    from actlas.store import Corpus


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the top parser."""
    _add_corpus(verbs)
    _add_info(verbs)
    _add_verify(verbs)
    _add_demo(verbs)
    _add_report(verbs)


# corpus


def _add_corpus(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    corpus = verbs.add_parser("corpus", help="import texts and labels")
    kinds = corpus.add_subparsers(dest="kind", metavar="KIND", required=True)

    table = kinds.add_parser("import", help="a JSONL, CSV, TSV or Parquet table: text, language, one column per concept")
    table.add_argument("file", type=Path)
    table.add_argument("--keep", action="append", default=[], metavar="COLUMN", help="keep a column that is no concept")
    table.set_defaults(run=_import_table)

    parallel = kinds.add_parser("parallel", help="line-aligned files, one per language")
    parallel.add_argument("files", nargs="+", metavar="LANGUAGE=FILE")
    parallel.add_argument(
        "--concept",
        action="append",
        default=[],
        metavar="NAME=REGEX",
        help="lines of the concept language that match are positive",
    )
    parallel.add_argument("--concept-language", metavar="LANGUAGE", help="where concepts are searched (default: the first)")
    parallel.set_defaults(run=_import_parallel)

    concepts = kinds.add_parser("concepts", help="folders of expert-neuron concept files, one folder per language")
    concepts.add_argument("folders", nargs="+", metavar="LANGUAGE=FOLDER")
    concepts.set_defaults(run=_import_concepts)

    show = kinds.add_parser("info", help="what a corpus holds")
    show.add_argument("corpus", type=Path)
    show.set_defaults(run=_corpus_info)
    for kind in (table, parallel, concepts):
        kind.add_argument("--out", type=Path, required=True, metavar="CORPUS", help="folder to write the corpus to")


def _pairs(arguments: list[str], what: str) -> dict[str, str]:
    pairs = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name or not value:
            raise CorpusError(f"expected {what}, got {argument!r}")
        if name in pairs:
            raise CorpusError(f"{name!r} is given twice")
        pairs[name] = value
    return pairs


def _import_table(options: argparse.Namespace) -> None:
    from actlas.store import import_table

    _keep_corpus(import_table(options.file, extra_columns=options.keep), options)


def _import_parallel(options: argparse.Namespace) -> None:
    from actlas.store import import_parallel

    files = _pairs(options.files, "LANGUAGE=FILE")
    concepts = _pairs(options.concept, "NAME=REGEX")
    _keep_corpus(import_parallel(files, concepts, options.concept_language or next(iter(files))), options)


def _import_concepts(options: argparse.Namespace) -> None:
    from actlas.store import import_concept_files

    _keep_corpus(import_concept_files(_pairs(options.folders, "LANGUAGE=FOLDER")), options)


def _keep_corpus(corpus: Corpus, options: argparse.Namespace) -> None:
    for line in corpus.warnings:
        tell(f"warning: {line}")
    corpus.write(options.out)
    tell(
        f"{corpus.n_texts:,} texts in {len(corpus.languages)} languages, {len(corpus.concepts)} concepts -> {options.out} "
        f"(fingerprint {corpus.fingerprint})"
    )


def _corpus_info(options: argparse.Namespace) -> None:
    from actlas.store import Corpus

    corpus = Corpus.read(options.corpus)
    rows = []
    for language in corpus.languages:
        is_concept, is_member = corpus.concept_matrix(language)
        per_concept = is_concept.sum(axis=0)
        rows.append(
            {
                "language": language,
                "texts": is_concept.shape[0],
                "labels": int(is_member.sum()),
                "fewest positives": int(min(per_concept, default=0)),
                "most positives": int(per_concept.max(initial=0)),
            }
        )
    print(as_table(pl.DataFrame(rows)))
    print(f"{len(corpus.concepts)} concepts: {', '.join(corpus.concepts) or 'none'}")
    print(f"fingerprint {corpus.fingerprint}")
    for line in corpus.warnings:
        tell(f"warning: {line}")


# info and verify


def _add_info(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    info = verbs.add_parser("info", help="what a store holds: checkpoints, cubes, sizes, provenance")
    info.add_argument("store", type=Path)
    info.add_argument("--checkpoint", help="everything that is known of one checkpoint")
    info.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> None:
    from actlas.store import Store
    from actlas.store.layout import cube_path, state_path

    store = Store(options.store)
    if options.checkpoint is not None:
        for name, value in sorted(store.checkpoint(options.checkpoint).items()):
            if name != "shards":
                print(f"{name:24} {value}")
        return
    recipe, corpus = store.recipe, store.corpus
    print(f"{store.path}: {n_bytes(folder_bytes(store.path))}, format {store.about['format']}, codec {store.codec.name}")
    print(
        f"corpus  {corpus.n_texts:,} texts, {len(corpus.languages)} languages ({', '.join(corpus.languages)}), "
        f"{len(corpus.concepts)} concepts, fingerprint {corpus.fingerprint}"
    )
    print(
        f"recipe  {recipe.pooling} pooling, {recipe.dtype}, backend {recipe.backend}, at most {recipe.max_tokens} tokens "
        f"(longer: {recipe.over_long}), fingerprint {recipe.fingerprint}"
    )
    rows: list[dict[str, Any]] = []
    for checkpoint in store.checkpoints:
        record, scored = store.checkpoint(checkpoint), store.scored_sites(checkpoint)
        for site in store.sites(checkpoint):
            cube = store.cube(checkpoint, site)
            on_disk = folder_bytes(store.path / cube_path(checkpoint, site, recipe.pooling))
            raw = cube.array.size * cube.array.dtype.itemsize
            rows.append(
                {
                    "checkpoint": checkpoint,
                    "step": record["step"],
                    "site": site,
                    "layers": cube.shape[0],
                    "neurons": cube.shape[1],
                    "size": n_bytes(on_disk),
                    "ratio": f"{raw / max(on_disk, 1):.2f}",
                    "scored": site in scored,
                    "loss": record["sanity_loss"],
                    "weights": str(record["weight_hash"])[:12],
                }
            )
        for site in store.state_sites(checkpoint):
            layers, neurons = store.shape(checkpoint, site)
            rows.append(
                {
                    "checkpoint": checkpoint,
                    "step": record["step"],
                    "site": f"{site} (states)",
                    "layers": layers,
                    "neurons": neurons,
                    "size": n_bytes(folder_bytes(store.path / state_path(checkpoint, site, recipe.pooling))),
                    "ratio": None,
                    "scored": site in scored,
                    "loss": record["sanity_loss"],
                    "weights": str(record["weight_hash"])[:12],
                }
            )
    print(as_table(pl.DataFrame(rows, infer_schema_length=None), 0) if rows else "no committed checkpoint")
    for checkpoint, n_texts in store.unfinished.items():
        print(
            f"unfinished: {checkpoint} holds {n_texts:,} of {corpus.n_texts:,} texts; the same actlas extract command finishes it"
        )
    if store.table_names():
        print(f"tables  {', '.join(store.table_names())}")


def _add_verify(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = verbs.add_parser("verify", help="compare every byte of a store with its commit records")
    check.add_argument("store", type=Path)
    check.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from actlas.store import Store, verify

    line = ProgressLine(options.quiet)
    found = verify(Store(options.store), lambda done, of: line.update(f"verifying {done:,} of {of:,} shards", final=done == of))
    line.end()
    for fault in found.damage:
        print(f"damaged: {fault}", file=sys.stderr)
    print(
        f"{found.n_shards:,} shards, {n_bytes(found.n_bytes)}: {'whole' if not found.damage else f'{len(found.damage)} faults'}"
    )
    return 1 if found.damage else 0


# demo and report


def _add_demo(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = verbs.add_parser("demo", help="train a small model and its control, then extract, score, ask and report")
    demo.add_argument("--out", type=Path, default=Path("demo-out"))
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    from actlas.demo.run import run_demo

    outcome = run_demo(options.out, lambda line: print(line, flush=True), seed=options.seed)
    tell("; ".join(f"{phase} {duration(seconds)}" for phase, seconds in outcome.seconds.items()))


def _add_report(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    report = verbs.add_parser("report", help="figures, answers and provenance of one or more stores as one HTML file")
    report.add_argument(
        "stores", nargs="+", metavar="STORE", help="[LABEL=]PATH; the first is under study, others are drawn beside it"
    )
    report.add_argument("--out", type=Path, required=True, metavar="FILE.html")
    report.add_argument("--title", default="Activation atlas")
    report.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> None:
    from actlas.report import write_report

    stores = {}
    for argument in options.stores:
        label, equals, path = argument.partition("=")
        stores[label if equals else Path(argument).stem] = Path(path if equals else argument)
    print(write_report(stores, options.out, title=options.title))
