"""The verbs that run models: extract, whose flags are the declared options of a run, and check."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import polars as pl

from actlas.cli.arguments import add_declared, add_output, add_sites, declared_values, show
from actlas.cli.output import ProgressLine, duration, n_bytes, say, say_table, tell
from actlas.errors import OptionError
from actlas.extract.options import ExtractOptions
from actlas.names import ComputeDtype

if TYPE_CHECKING:
    from actlas.extract.results import CheckpointResult, Progress


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the top parser."""
    _add_check(verbs)
    extract = verbs.add_parser(
        "extract",
        help="run checkpoints over a corpus once and keep what every neuron did",
        description="The same command again finishes what a stopped one left.",
    )
    extract.add_argument("models", nargs="+", metavar="MODEL", help="local folder, folder of step folders, or hub id[@revision]")
    extract.add_argument("--corpus", type=Path, required=True, help="folder made by actlas corpus")
    extract.add_argument("--store", type=Path, help="folder of the store, made if it is not there")
    extract.add_argument("--estimate", action="store_true", help="only say what it would take: download, disk, operations, hours")
    extract.add_argument("--device-name", metavar="NAME", help="with --estimate: H100, A100 or L4, by data sheet (default: H100)")
    extract.add_argument("--device-flops", type=float, metavar="X", help="with --estimate: another one's operations per second")
    extract.add_argument(
        "--efficiency", type=float, metavar="X", help="with --estimate: share of them that is reached (default: 0.3)"
    )
    add_declared(extract, ExtractOptions)
    extract.add_argument(
        "--profile", action="store_true", help="say at the end which stage took how long, and what bounds the run"
    )
    extract.set_defaults(run=_extract)


def _add_check(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = verbs.add_parser(
        "check",
        help="prove that every site of a model is the tensor that its name says",
        description="Each site is computed out of others, or set in another run, on a few tokens. Status 1 if one is not proved.",
    )
    check.add_argument("models", nargs="+", metavar="MODEL", help="local folder, folder of step folders, or hub id[@revision]")
    add_sites(check, "site to prove, also one named by hand; repeat for more (default: all of the family)")
    check.add_argument(
        "--dtype", choices=("auto", *get_args(ComputeDtype)), default="auto", help="what the model computes in (default: auto)"
    )
    check.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default: auto)")
    check.add_argument("--trust-remote-code", action="store_true", help="run code that a checkpoint brings along")
    add_output(check)
    check.set_defaults(run=_check)


def _check(given: argparse.Namespace) -> None:
    from actlas.extract import prove_sites
    from actlas.extract.sites.proofs import Proof, refuse_unproved

    proofs = prove_sites(
        given.models,
        sites=given.sites or (),
        compute_dtype=given.dtype,
        device=given.device,
        trust_remote_code=given.trust_remote_code,
    )
    shown = proofs
    if given.format == "table":
        # most are far below what a table shows of a number
        shown = proofs.with_columns(pl.col("figure", "allowed").map_elements("{:.1e}".format, return_dtype=pl.String))
    show(shown, given)
    for row in proofs.partition_by("checkpoint", maintain_order=True):
        kept = row.select("site", "proof", "layer", "figure", "allowed").iter_rows()
        refuse_unproved([Proof(*values) for values in kept], row["architecture"][0], row["compute_dtype"][0])


def _extract(given: argparse.Namespace) -> None:
    from actlas.extract import extract_activations

    named = ("device_name", "device_flops", "efficiency")
    device = {name: getattr(given, name) for name in named if getattr(given, name) is not None}
    if given.estimate:
        _estimate(given, device)
        return
    if device:
        raise OptionError(
            f"--{next(iter(device)).replace('_', '-')} is about what --estimate says; add --estimate, or leave it out"
        )
    if given.store is None:
        raise OptionError("no store to write to; name one by --store STORE, or ask with --estimate what it would take")
    line = ProgressLine(given.quiet)
    values = declared_values(given, ExtractOptions)
    summary = extract_activations(given.models, given.corpus, given.store, progress=_shown_on(line, given.quiet), **values)
    line.end()
    for result in summary.checkpoints:
        say(_result_text(result))
        if given.profile and result.seconds_by_stage:
            for stage in _profile_lines(result):
                say(stage)
    over_long = f"; {summary.n_over_long:,} over-long ({ExtractOptions(**values).over_long})" if summary.n_over_long else ""
    say(f"{summary.n_texts:,} texts{over_long} in {summary.store}")


def _estimate(given: argparse.Namespace, device: dict[str, Any]) -> None:
    from actlas.extract import estimate_extraction

    plan = estimate_extraction(given.models, given.corpus, **device, **declared_values(given, ExtractOptions))
    n_rows = plan.height
    shown = plan.select(
        *("checkpoint", "parameters", "download_from", "n_tokens", "tokens_from"),
        *(pl.col(name).map_elements(n_bytes, return_dtype=pl.String) for name in plan.columns if name.endswith("_bytes")),
        pl.col("flops").map_elements("{:.2e}".format, return_dtype=pl.String),
        pl.col("hours").map_elements("{:.3g}".format, return_dtype=pl.String),
    )
    say_table(shown)
    download, disk, hours = plan.select(pl.col("download_bytes", "disk_bytes", "hours").sum()).row(0)
    say(f"{n_rows} checkpoints: {n_bytes(download)} to download, {n_bytes(disk)} on disk before compression, {hours:.3g} hours")
    name, speed, share = plan.select("device", "device_flops", "efficiency").row(0)
    say(f"Hours are predicted for {name}: {speed:.3g} operations per second, of which {share:.0%} are taken to be reached")


def _shown_on(line: ProgressLine, is_quiet: bool) -> Callable[[Progress], None]:
    """Shows reports on a line, and warnings and what will be written at most beside it."""
    is_size_told = is_quiet

    def show(progress: Progress) -> None:
        nonlocal is_size_told
        if progress.disk_bytes is not None and not is_size_told:
            is_size_told = True
            tell(f"at most {n_bytes(progress.disk_bytes)} will be written, less what compression saves")
        if progress.warning:
            line.end()
            tell(f"warning: {progress.warning}")
        if progress.note:
            line.end()
            tell(progress.note)
        line.update(_progress_text(progress), final=progress.stage == "done")

    return show


def _result_text(result: CheckpointResult) -> str:
    words = [f"{result.checkpoint}: {'already there' if result.status == 'there' else result.status}"]
    if result.status == "extracted":
        words.append(f"{result.n_texts:,} texts in {duration(result.seconds)}")
    if result.sanity_loss is not None:
        words.append(f"loss {result.sanity_loss:.3f}")
    if result.fidelity is not None:
        words.append(f"batched against alone {result.fidelity:.1e}")
    return ", ".join(words)


def _profile_lines(result: CheckpointResult) -> list[str]:
    """How long each stage worked and waited; stages work side by side, so they do not add up to the whole."""
    from actlas.extract.run.profile import STAGES, bound_by

    seconds, waits = result.seconds_by_stage, result.waits_by_stage
    lines = []
    for name, awaited in STAGES.items():
        if name in seconds:
            waited = f"  waited {waits.get(name, 0.0):9.2f} s for {awaited}" if awaited else ""
            lines.append(f"  {name:9} {seconds[name]:9.2f} s{waited}")
    lines.append(f"  whole     {result.seconds:9.2f} s  bound by {bound_by(seconds, waits)}")
    return lines


def _progress_text(progress: Progress) -> str:
    head = f"{progress.checkpoint} ({progress.number} of {progress.n_checkpoints}) {progress.stage}"
    if progress.stage != "extract":
        return head
    share = f"{progress.texts_done:,} of {progress.n_texts:,} texts"
    speed = f"{progress.texts_per_s:,.0f} texts/s, {progress.bytes_per_s / 1e6:,.0f} MB/s"
    left = "" if progress.seconds_left is None else f", {duration(progress.seconds_left)} left"
    return f"{head} {share}, {speed}{left}"
