"""Verbs that ask: each calls one function and shows its frame, and keeps the answer as a table of the store where that can be."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from actlas.allowed import Count, Positive
from actlas.cli.arguments import add_checkpoints, add_choice, add_lape, add_output, add_store, named, neuron, number, show
from actlas.cli.output import ProgressLine, step_progress, tell
from actlas.errors import QueryError
from actlas.names import COMBINATIONS, METRICS

if TYPE_CHECKING:
    from actlas.query import Atlas

_LOG = logging.getLogger(__name__)


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the top parser."""
    computing = [add(verbs) for add in (_add_experts, _add_overlap, _add_lape, _add_trajectory)]
    texts = _add_top_texts(verbs)
    add_output(texts)
    _add_no_keep(texts)
    add_output(_add_nearest_texts(verbs))
    for verb in computing:
        add_kept_output(verb)


def _add_no_keep(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--no-keep", action="store_true", help="answer only; keep no table in the store")


def add_kept_output(verb: argparse.ArgumentParser) -> None:
    """Options of a verb whose answer is kept as a table."""
    add_output(verb)
    _add_no_keep(verb)
    verb.add_argument("--replace", action="store_true", help="replace a kept table of other settings (default: stand beside it)")


def refuse(options: argparse.Namespace, where: str, *flags: str) -> None:
    """Refuse flags that a verb has, but not together with another of its flags: they would be passed over."""
    for flag in flags:
        # what can be repeated is held as several
        held = next(name for name in (f"{flag}s", flag) if hasattr(options, name.replace("-", "_")))
        if getattr(options, held.replace("-", "_")) not in (None, False):
            raise QueryError(f"--{flag} says nothing {where}; leave one of the two out")


def _add_experts(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    experts = verbs.add_parser("experts", help="the k best neurons per concept, language and checkpoint")
    add_store(experts)
    add_choice(experts)
    experts.set_defaults(run=_experts)
    return experts


def _add_overlap(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    overlap = verbs.add_parser("overlap", help="how far languages share their experts, beside chance and the split-half ceiling")
    add_store(overlap)
    add_choice(overlap)
    overlap.add_argument("--seed", type=int, default=0, help="of the halves, and of the permuted labels")
    overlap.add_argument("--no-halves", action="store_true", help="skip the ceiling, which scores halves of the texts again")
    overlap.add_argument(
        "--controls", action="store_true", help="means per checkpoint beside another concept and labels without meaning"
    )
    overlap.add_argument(
        "--tests", action="store_true", help="is it more than labels without meaning give: p-values and false discovery rates"
    )
    overlap.add_argument(
        "--by",
        choices=("pair", "layer", "concept"),
        help="what a row is about: a pair of languages (default) or a layer of it, with --tests also the mean of a concept; "
        "with --controls a layer",
    )
    overlap.add_argument(
        "--repeats",
        type=number(Positive),
        metavar="N",
        help="permutations of the labels (default: 99 with --controls, 199 with --tests)",
    )
    overlap.set_defaults(run=_overlap)
    return overlap


def _add_lape(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    lape = verbs.add_parser("lape", help="language-specific neurons, from counts of active tokens")
    add_store(lape)
    add_checkpoints(lape)
    lape.add_argument(
        "--site", type=named, help="where tokens were counted (default: mlp_pre, the gate, in a gated MLP, else mlp_hidden)"
    )
    add_lape(lape)
    lape.set_defaults(run=_lape)
    return lape


def _add_trajectory(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    trajectory = verbs.add_parser(
        "trajectory", help="neurons that several languages share, step by step; or the scores of one neuron (--neuron)"
    )
    add_store(trajectory)
    add_choice(trajectory)
    trajectory.set_defaults(k=None)
    trajectory.add_argument("--min-languages", type=int, help="in how many languages a neuron must be an expert (default: 2)")
    trajectory.add_argument("--first", action="store_true", help="only the first step at which that holds, per neuron")
    trajectory.add_argument("--stability", action="store_true", help="how far experts stay the same from step to step")
    trajectory.add_argument("--neuron", type=neuron, metavar="SITE/LAYER/NEURON", help="one neuron, such as mlp_pre/3/117")
    trajectory.add_argument("--stat", action="append", dest="stats", metavar="STAT", help="with --neuron; default: ap")
    trajectory.set_defaults(run=_trajectory)
    return trajectory


def _add_top_texts(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    texts = verbs.add_parser("top-texts", help="texts with the highest values of a neuron, a group, or all of a site")
    add_store(texts)
    add_checkpoints(texts)
    texts.add_argument("--neuron", type=neuron, metavar="SITE/LAYER/NEURON")
    texts.add_argument("--site", action="append", dest="sites", metavar="SITE", help="compute and keep the table for these sites")
    _add_group(texts)
    texts.add_argument("--combine", choices=COMBINATIONS, help="how the values of a group become one (default: mean)")
    texts.add_argument("--n", type=int, help="texts per neuron (default: 10 for one neuron or a group, 64 for a table)")
    texts.set_defaults(run=_top_texts)
    return texts


def _add_nearest_texts(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    texts = verbs.add_parser("nearest-texts", help="texts that are nearest to one in the values of a group of neurons")
    add_store(texts)
    add_checkpoints(texts)
    texts.add_argument("--text", type=number(Count), required=True, metavar="TEXT_ID", help="what others are compared with")
    _add_group(texts)
    texts.add_argument("--metric", choices=METRICS, default="l2", help="how far is measured; cosine: 1 less it (default: l2)")
    texts.add_argument("--n", type=int, help="how many (default: 10)")
    texts.set_defaults(run=_nearest_texts)
    return texts


def _add_group(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--concept", type=named, metavar="NAME", help="a group: the best experts of a concept in the language")
    verb.add_argument("--language", type=named, metavar="NAME", help="with --concept")
    verb.add_argument("--k", type=number(Positive), help="with --concept: how many experts (default: 10)")
    verb.add_argument(
        "--group", type=Path, metavar="FILE", help="a group: Parquet, CSV or JSONL with columns site, layer, neuron"
    )


def opened(options: argparse.Namespace) -> Atlas:
    """The store, open so that the answer is kept; open for reading where that is not wanted or cannot be."""
    from actlas.query import open_store

    if options.no_keep:
        if getattr(options, "replace", False):
            raise QueryError("--replace replaces what --no-keep does not keep; leave one of the two out")
        return open_store(options.store)
    if os.access(options.store, os.W_OK):
        return open_store(options.store, "a")
    store = open_store(options.store)
    _LOG.info("nothing is kept: %s cannot be written to", options.store)
    return store


def _choice(options: argparse.Namespace) -> dict[str, Any]:
    chosen = {name: getattr(options, name) for name in ("k", "checkpoints", "languages", "concepts", "sites")}
    # of these verbs one has several questions, of which some take no k
    return {name: value for name, value in chosen.items() if name != "k" or value is not None}


def _experts(options: argparse.Namespace) -> None:
    from actlas.query import top_experts

    line = ProgressLine(options.quiet)
    progress = step_progress(line, "scores")
    frame = top_experts(opened(options), **_choice(options), progress=progress, replace=options.replace)
    line.end()
    show(frame, options)


def _overlap(options: argparse.Namespace) -> None:
    from actlas.query import expert_overlap, overlap_controls, overlap_tests

    line = ProgressLine(options.quiet)
    store, settings = opened(options), {**_choice(options), "seed": options.seed, "replace": options.replace}
    # without halves no text is looked at again, and ranking the scores is all there is
    settings["progress"] = step_progress(line, "scores" if options.no_halves else "neurons")
    if options.repeats is not None:
        settings["n_repeats"] = options.repeats
    if options.controls:
        refuse(options, "with --controls", "no-halves", "tests")
        if options.by not in (None, "layer"):
            raise QueryError(f"--controls has a row per checkpoint, or --by layer; rows by {options.by} are those of --tests")
        frame = overlap_controls(store, **settings, by_layer=options.by == "layer")
    elif options.tests:
        refuse(options, "with --tests", "no-halves")
        frame = overlap_tests(store, **settings, by=options.by or "pair")
    else:
        refuse(options, "without --controls or --tests", "repeats")
        if options.by == "concept":
            raise QueryError("rows by concept are those of --tests; add it, or leave --by out")
        frame = expert_overlap(store, **settings, by_layer=options.by == "layer", halves=not options.no_halves)
    line.end()
    show(frame, options)


def _lape(options: argparse.Namespace) -> None:
    from actlas.query import language_neurons

    frame = language_neurons(
        opened(options),
        checkpoints=options.checkpoints,
        site=options.site,
        share=options.share,
        bar_quantile=options.bar_quantile,
        threshold=options.threshold,
        replace=options.replace,
    )
    for site in frame["site"].unique(maintain_order=True):
        tell(f"active tokens of {site}{', the gate before the product' if site == 'mlp_pre' else ''}")
    show(frame, options)


def _trajectory(options: argparse.Namespace) -> None:
    from actlas.query import first_shared, neuron_trajectory, open_store, rank_stability, shared_trajectory

    choice = _choice(options)
    if options.neuron is not None:
        place = options.neuron
        refuse(options, "with --neuron", "stability", "first", "min-languages", "k", "site", "replace")
        chosen = {name: choice[name] for name in ("checkpoints", "languages", "concepts")}
        store = open_store(options.store)
        frame = neuron_trajectory(store, place.site, place.layer, place.neuron, stats=options.stats or ("ap",), **chosen)
        show(frame, options)
        return
    refuse(options, "without --neuron", "stat")
    line = ProgressLine(options.quiet)
    kept = {"progress": step_progress(line, "scores"), "replace": options.replace}
    if options.stability:
        refuse(options, "with --stability", "first", "min-languages", "checkpoint")
        chosen = {name: value for name, value in choice.items() if name != "checkpoints"}
        frame = rank_stability(opened(options), **chosen, **kept)
    else:
        refuse(options, "without --neuron or --stability", "language")
        chosen = {name: value for name, value in choice.items() if name != "languages"}
        min_languages = 2 if options.min_languages is None else options.min_languages
        frame = shared_trajectory(opened(options), min_languages=min_languages, **chosen, **kept)
        if options.first:
            frame = first_shared(frame, min_languages)
    line.end()
    show(frame, options)


def _top_texts(options: argparse.Namespace) -> None:
    from actlas.query import group_texts, neuron_texts, top_texts

    if options.neuron is not None:
        refuse(options, "with --neuron", "site", "concept", "language", "k", "group", "combine")
        place = options.neuron
        _by_checkpoint(options, lambda store, name: neuron_texts(store, name, place.site, place.layer, place.neuron, n=options.n))
        return
    if options.concept is not None or options.group is not None:
        refuse(options, "with a group", "site")
        combine: Any = options.combine or "mean"
        _by_checkpoint(
            options, lambda store, name: group_texts(store, name, _group(store, name, options), n=options.n, combine=combine)
        )
        return
    refuse(options, "without --concept or --group", "language", "k", "combine")
    if not options.sites:
        raise QueryError(
            "name one neuron (--neuron mlp_pre/3/117), a group (--concept water --language en, or --group FILE), or the sites to "
            "make a table of (--site mlp_pre)"
        )
    line = ProgressLine(options.quiet)
    frame = top_texts(
        opened(options),
        sites=options.sites,
        checkpoints=options.checkpoints,
        n=options.n,
        progress=step_progress(line, "neurons"),
    )
    line.end()
    show(frame, options)


def _nearest_texts(options: argparse.Namespace) -> None:
    from actlas.query import nearest_texts

    if options.concept is None and options.group is None:
        raise QueryError("name the group: --concept water --language en, or --group FILE")
    chosen = {"n": options.n, "metric": options.metric}
    _by_checkpoint(options, lambda store, name: nearest_texts(store, name, options.text, _group(store, name, options), **chosen))


def _group(store: Atlas, checkpoint: str, options: argparse.Namespace) -> pl.DataFrame:
    """The group of neurons that the options name."""
    from actlas.query import top_experts
    from actlas.query.atlas import as_frame

    if options.group is not None:
        refuse(options, "with --group", "concept", "language", "k")
        return as_frame(options.group)
    if options.language is None:
        raise QueryError(f"experts of {options.concept} in which language? Name it with --language")
    languages, concepts = [options.language], [options.concept]
    return top_experts(store, k=options.k or 10, checkpoints=[checkpoint], languages=languages, concepts=concepts)


def _by_checkpoint(options: argparse.Namespace, question: Callable[[Atlas, str], pl.DataFrame]) -> None:
    """Show the answer for each checkpoint that is named, or for the last."""
    from actlas.query import open_store
    from actlas.query.choices import followed_checkpoints

    store = open_store(options.store)
    names = options.checkpoints or followed_checkpoints(store, None)[-1:]
    if not names:
        raise QueryError(f"{options.store} has no committed checkpoint; list: actlas info {options.store}")
    show(pl.concat([question(store, name).select(pl.lit(name).alias("checkpoint"), pl.all()) for name in names]), options)
