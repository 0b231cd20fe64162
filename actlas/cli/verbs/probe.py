"""The verb that trains probes, and its four answers."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import polars as pl

from actlas.allowed import Positive
from actlas.cli.arguments import add_checkpoints, add_sites, add_store, named, number, show
from actlas.cli.output import ProgressLine, step_progress
from actlas.cli.verbs.questions import add_kept_output, opened, refuse
from actlas.errors import QueryError


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    probe = verbs.add_parser("probe", help="how well each layer's vectors tell languages, concepts or another label apart")
    add_store(probe)
    add_checkpoints(probe)
    add_sites(probe)
    probe.add_argument(
        "--label",
        type=named,
        default="language",
        help="language, concept:NAME, concept (which one of all), parallel_id, or a column of the sampled tokens",
    )
    probe.add_argument(
        "--values",
        choices=("tokens", "pooled"),
        help="sampled token vectors, or pooled values of texts (default: tokens where the sites have them)",
    )
    probe.add_argument("--seeds", type=number(Positive), default=3, metavar="N", help="probes per layer")
    probe.add_argument(
        "--c",
        type=float,
        help="inverse strength of the L2 penalty (default: of 0.01, 0.1, 1 and 10 the best one on held-out training texts)",
    )
    probe.add_argument("--solver", choices=("sklearn", "batched"), default="sklearn", help="what trains the probes")
    probe.add_argument(
        "--of",
        choices=("accuracy", "classes", "controls", "transfer"),
        default="accuracy",
        help="what is told: accuracy; which labels are taken for which; accuracy beside that for labels drawn per kind of token; "
        "accuracy of a probe of one language on texts of each",
    )
    probe.add_argument("--summary", action="store_true", help="mean and spread over layers instead of every probe")
    add_kept_output(probe)
    probe.set_defaults(run=_probe)


def _probe(options: argparse.Namespace) -> None:
    from actlas.query import probe_classes, probe_controls, probe_summary, probe_transfer, train_probes

    if options.of != "accuracy":
        refuse(options, f"with --of {options.of}", "summary")
    line = ProgressLine(options.quiet)
    settings = {name: getattr(options, name) for name in ("checkpoints", "sites", "label", "c", "solver", "replace")}
    settings |= {"seeds": range(options.seeds), "progress": step_progress(line, "layers")}
    if options.of == "controls":
        if options.values == "pooled":
            raise QueryError("--of controls is about tokens and reads their vectors; leave --values pooled out")
        frame = probe_controls(opened(options), **settings)
    else:
        questions: dict[str, Callable[..., pl.DataFrame]] = {
            "accuracy": train_probes,
            "classes": probe_classes,
            "transfer": probe_transfer,
        }
        frame = questions[options.of](opened(options), values=options.values, **settings)
    line.end()
    show(probe_summary(frame) if options.summary else frame, options)
