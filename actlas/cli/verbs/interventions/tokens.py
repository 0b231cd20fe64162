"""The verb that reads neurons token by token: tokens."""

from __future__ import annotations

import argparse
from dataclasses import asdict

import polars as pl

from actlas.allowed import Positive
from actlas.cli.arguments import add_checkpoints, add_store, named, neuron, number, show
from actlas.cli.output import ProgressLine, step_progress
from actlas.cli.verbs.interventions import add_model, model_given
from actlas.cli.verbs.questions import add_kept_output, opened, refuse
from actlas.errors import QueryError


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    tokens = verbs.add_parser(
        "tokens", help="what neurons have at every token of their strongest texts, or of a text that is typed"
    )
    add_store(tokens)
    add_checkpoints(tokens)
    tokens.add_argument(
        "--of",
        type=named,
        default="experts",
        metavar="SET",
        help="which neurons: experts, lape, all, the name of imported sets, or a file of neurons (default: experts)",
    )
    tokens.add_argument("--texts", type=number(Positive), metavar="N", help="strongest texts of each neuron (default: 64)")
    tokens.add_argument("--k", type=number(Positive), help="experts per language and concept (default: all that are kept)")
    tokens.add_argument("--language", type=named, action="append", dest="languages", metavar="NAME", help="whose sets")
    tokens.add_argument("--concept", type=named, action="append", dest="concepts", metavar="NAME", help="whose experts")
    tokens.add_argument(
        "--type",
        metavar="TEXT",
        help="read this text instead, and keep nothing: whose experts are active at which token, or what --neuron has there",
    )
    tokens.add_argument(
        "--neuron", type=neuron, action="append", dest="neurons", metavar="SITE/LAYER/NEURON", help="with --type; repeat for more"
    )
    tokens.add_argument(
        "--pairs", type=number(Positive), metavar="N", help="with --type: concepts and languages shown of a token (default: 5)"
    )
    tokens.add_argument("--any-weights", action="store_true", help="take a file of neurons of other weights, or of none")
    add_model(tokens)
    tokens.add_argument("--tokenizer", type=named, help="folder or hub id of the tokenizer, where the checkpoint has none")
    add_kept_output(tokens)
    tokens.set_defaults(run=_tokens)


def _tokens(options: argparse.Namespace) -> None:
    from actlas.intervene import token_values

    if options.type is not None:
        frame = _typed(options)
        show(frame, options)
        return
    refuse(options, "without --type", "neuron", "pairs")
    line = ProgressLine(options.quiet)
    frame = token_values(
        opened(options),
        options.of,
        n_texts=options.texts,
        checkpoints=options.checkpoints,
        languages=options.languages,
        concepts=options.concepts,
        k=options.k,
        tokenizer=options.tokenizer,
        **model_given(options),
        any_weights=options.any_weights,
        replace=options.replace,
        progress=step_progress(line, "texts"),
    )
    line.end()
    show(frame, options)


def _typed(options: argparse.Namespace) -> pl.DataFrame:
    """What one text gives, at the last checkpoint or the one that is named."""
    from actlas.intervene import active_experts, load_live, text_token_values
    from actlas.query import open_store

    refuse(options, "with --type", "texts", "any-weights", "no-keep", "replace")
    if options.of != "experts":
        raise QueryError(f"--of {options.of} says nothing with --type; name neurons with --neuron SITE/LAYER/NEURON")
    store = open_store(options.store)
    chosen = options.checkpoints or store.checkpoints[-1:]
    if len(chosen) != 1:
        raise QueryError(f"--type reads a text with one checkpoint, and {len(chosen)} are named; name one")
    if options.neurons:
        refuse(options, "with --neuron", "k", "language", "concept", "pairs")
    with load_live(
        store,
        chosen[0],
        tokenizer=options.tokenizer,
        **model_given(options),
    ) as live:
        if options.neurons:
            neurons = pl.DataFrame([asdict(one) for one in options.neurons])
            return text_token_values(live, options.type, neurons, store=store)
        who = {"k": options.k, "languages": options.languages, "concepts": options.concepts}
        return active_experts(live, options.type, store, n=options.pairs or 5, **who)
