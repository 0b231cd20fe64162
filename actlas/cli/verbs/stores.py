"""Verbs about corpora and whole stores: corpus, info, verify, upgrade, demo, report."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from actlas.allowed import Seed
from actlas.cli.arguments import number
from actlas.cli.output import ProgressLine, bullet, duration, folder_bytes, n_bytes, say, say_table, tell
from actlas.demo.settings import CONDITIONS
from actlas.errors import CorpusError, QueryError
from actlas.names import QUOTINGS

if TYPE_CHECKING:
    from actlas.store import Corpus, Store


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the top parser."""
    _add_corpus(verbs)
    _add_info(verbs)
    _add_verify(verbs)
    _add_upgrade(verbs)
    _add_demo(verbs)
    _add_report(verbs)


# corpus


def _add_corpus(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    corpus = verbs.add_parser("corpus", help="import texts and labels")
    kinds = corpus.add_subparsers(dest="kind", metavar="KIND", required=True)

    table = kinds.add_parser("import", help="a JSONL, JSON, CSV, TSV or Parquet table: text, language, one column per concept")
    table.add_argument("file", type=Path)
    table.add_argument("--keep", action="append", default=[], metavar="COLUMN", help="keep a column that is no concept")
    table.add_argument(
        "--quoting",
        choices=QUOTINGS,
        default="auto",
        help="quotation marks in CSV and TSV quote cells (csv) or are text (none); auto: CSV quotes, TSV where the file shows it",
    )
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

    _keep_corpus(import_table(options.file, extra_columns=options.keep, quoting=options.quoting), options)


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
    tell(_counts(corpus))
    tell(
        f"{corpus.n_texts:,} texts in {len(corpus.languages)} languages, {len(corpus.concepts)} concepts -> {options.out} "
        f"(fingerprint {corpus.fingerprint})"
    )


def _counts(corpus: Corpus) -> str:
    """What was read and what became of it, in one line."""
    words = {"read": "rows read", "kept": "texts kept"}
    counted = [f"{number:,} {words.get(what, what)}" for what, number in corpus.counts.items()]
    if corpus.imported is not None:
        for number, what in (
            (corpus.imported.n_blank, "blank lines"),
            (corpus.imported.n_merged, "rows of texts that are there"),
        ):
            counted += [f"{number:,} {what}"] if number else []
    return ", ".join(counted)


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
    say_table(pl.DataFrame(rows))
    say(f"{len(corpus.concepts)} concepts: {', '.join(corpus.concepts) or 'none'}")
    say(_counts(corpus))
    say(f"fingerprint {corpus.fingerprint}")
    for line in corpus.warnings:
        tell(f"warning: {line}")


# info and verify


def _add_info(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    info = verbs.add_parser("info", help="what a store holds: checkpoints, cubes, sizes, provenance")
    info.add_argument("store", type=Path)
    info.add_argument("--checkpoint", metavar="ID", help="everything that is known of one checkpoint")
    info.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> None:
    from actlas.store import Store

    store = Store(options.store)
    if options.checkpoint is not None:
        for name, value in sorted(store.checkpoint(options.checkpoint).items()):
            if name != "shards":
                say(f"{name:24} {value}")
        return
    recipe, corpus = store.recipe, store.corpus
    stored = ", ".join([recipe.dtype, *(f"{site} {dtype}" for site, dtype in recipe.site_dtypes)])
    say(f"{store.path}: {n_bytes(folder_bytes(store.path))}, format {store.about['format']}, codec {store.codec.name}")
    say(
        f"corpus  {corpus.n_texts:,} texts, {len(corpus.languages)} languages ({', '.join(corpus.languages)}), "
        f"{len(corpus.concepts)} concepts, fingerprint {corpus.fingerprint}"
    )
    say(
        f"recipe  {recipe.pooling} pooling, {stored}, backend {recipe.backend}, at most {recipe.max_tokens} tokens "
        f"(longer: {recipe.over_long}), fingerprint {recipe.fingerprint}"
    )
    for checkpoint in store.checkpoints if store.is_imported else ():
        say(f"source  {checkpoint}: {store.checkpoint(checkpoint)['provenance']}")
    rows = [row for checkpoint in store.checkpoints for row in _site_rows(store, checkpoint)]
    if rows:
        say_table(pl.DataFrame(rows, infer_schema_length=None))
    else:
        say("no committed checkpoint")
    for checkpoint, what in store.controls.items():
        say(f"control: {checkpoint} is the {what}")
    for checkpoint, n_texts in store.unfinished.items():
        say(
            f"unfinished: {checkpoint} holds {n_texts:,} of {corpus.n_texts:,} texts; the same actlas extract command finishes it"
        )
    if store.table_names():
        say(f"tables  {', '.join(store.table_names())}")


def _site_rows(store: Store, checkpoint: str) -> list[dict[str, Any]]:
    """A row per site of a checkpoint: its cubes first, then the sites that hold states alone, or scores alone."""
    from actlas.store.layout import cube_path, score_path, state_path

    record, scored, pooling = store.checkpoint(checkpoint), store.scored_sites(checkpoint), store.recipe.pooling

    def row(site: str, name: str, size: int, ratio: str | None) -> dict[str, Any]:
        layers, neurons = store.shape(checkpoint, site)
        return {
            "checkpoint": checkpoint,
            "step": record.get("step"),
            "site": name,
            "layers": layers,
            "neurons": neurons,
            "size": n_bytes(size),
            "ratio": ratio,
            "scored": site in scored,
            "loss": record.get("sanity_loss"),
            "weights": str(record.get("weight_hash") or "not known")[:12],
        }

    rows = []
    for site in store.sites(checkpoint):
        array = store.cube(checkpoint, site).array
        size = folder_bytes(store.path / cube_path(checkpoint, site, pooling))
        rows.append(row(site, site, size, f"{array.size * array.dtype.itemsize / max(size, 1):.2f}"))
    for site in store.state_sites(checkpoint):
        size = folder_bytes(store.path / state_path(checkpoint, site, pooling))
        rows.append(row(site, f"{site} (states)", size, None))
    for site in record.get("imported", {}):
        size = folder_bytes(store.path / score_path(checkpoint, site, pooling))
        rows.append(row(site, f"{site} (scores)", size, None))
    return rows


def _add_verify(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = verbs.add_parser("verify", help="compare every byte of a store with its log and its commit records")
    check.add_argument("store", type=Path)
    check.add_argument(
        "--repair",
        action="store_true",
        help="take scores and kept answers with a fault out of the store, so that the next command makes them again; what only a "
        "model makes again (values, token vectors, counts, states) stays as it is: put a whole copy of the file back, or extract "
        "the checkpoint into a new store",
    )
    check.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from actlas.store import Store, verify
    from actlas.store.integrity import repair

    line = ProgressLine(options.quiet)
    result = verify(Store(options.store), lambda done, of: line.update(f"verifying {done:,} of {of:,} files", final=done == of))
    line.end()
    for fault in result.damage:
        tell(f"damaged: {fault}")
    if not result.has_log:
        tell("this store has no log, which names every file by its content: files that were swapped may pass for whole")
    verdict = f"{len(result.damage)} faults" if result.damage else "whole"
    say(f"{result.n_shards:,} shards, {n_bytes(result.n_bytes)}: {verdict}")
    if not options.repair or not result.damage:
        return 1 if result.damage else 0
    repaired = repair(Store(options.store, "a"), result.damage)
    for name in repaired.retired:
        verb = "score" if name.startswith("scores/") else name.split("/")[1]
        say(f"taken out: {name} (actlas {verb} {options.store} makes it again)")
    say(f"{len(repaired.left):,} faults are left" + (": what they are in has to be extracted again" if repaired.left else ""))
    return 1 if repaired.left else 0


def _add_upgrade(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    upgrade = verbs.add_parser("upgrade", help="give a store of an earlier version a log that names every file by its content")
    upgrade.add_argument("store", type=Path)
    upgrade.set_defaults(run=_upgrade)


def _upgrade(options: argparse.Namespace) -> None:
    from actlas.store import upgrade

    line, start = ProgressLine(options.quiet), time.monotonic()

    def show(done: int, of: int, read: int) -> None:
        speed = n_bytes(read / max(time.monotonic() - start, 1e-9))
        line.update(f"reading {done:,} of {of:,} shards, {n_bytes(read)}, {speed}/s", final=done == of)

    done = upgrade(options.store, show)
    line.end()
    if done.had_log:
        say(f"{options.store} has a log already; there is nothing to do")
        return
    say(f"{done.n_shards:,} shards, {n_bytes(done.n_bytes)}: {options.store} has a log now")


# demo and report


def _add_demo(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = verbs.add_parser("demo", help="train a small model and its control, then extract, score, ask and report")
    demo.add_argument("--out", type=Path, default=Path("demo-out"), metavar="FOLDER", help="default: demo-out")
    demo.add_argument("--seed", type=number(Seed), default=0, help="seed of weights, documents and held-out sentences")
    demo.add_argument("--condition", choices=CONDITIONS, help="build only the model (multi) or its control (mono), no report")
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    if options.condition is not None:
        from actlas.demo.condition import build_in_this_process

        build_in_this_process(options.condition, options.out, say, seed=options.seed)
        return
    from actlas.demo.run import run_demo

    say(f"Training a model and its control side by side, then extracting every checkpoint, into {options.out}")
    outcome = run_demo(options.out, say, seed=options.seed)
    for section in outcome.sections:
        say("")
        say(section.heading)
        if section.table is not None:
            say_table(section.table)
        for sentence in section.sentences:
            for line in bullet(sentence).split("\n"):
                say(line)
    say("")
    say(f"Report: {outcome.report}")
    say(f'Ask more: actlas sql {outcome.store} "SELECT ..."')
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

    stores: dict[str, Path] = {}
    for argument in options.stores:
        label, equals, path = argument.partition("=")
        # a folder may have an equals sign in its own name
        is_path = not equals or Path(argument).exists()
        name, folder = (Path(argument).stem, argument) if is_path else (label, path)
        if not name or not folder:
            raise QueryError(f"expected [LABEL=]PATH, got {argument!r}")
        if name in stores:
            raise QueryError(f"two stores are called {name}: {stores[name]} and {folder}; say LABEL={folder}")
        stores[name] = Path(folder)
    say(str(write_report(stores, options.out, title=options.title)))
