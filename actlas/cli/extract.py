"""The verb that runs models: extract."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from actlas.cli.arguments import names
from actlas.cli.output import ProgressLine, duration, n_bytes, tell
from actlas.names import COMPUTE_DTYPES, DTYPES, OVER_LONG, POLICIES, POOLINGS, SITES, SPECIAL_TOKENS, TOKEN_CHOICES, TokenSample

if TYPE_CHECKING:
    from actlas.extract import CheckpointResult, Progress


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    _add_extract(verbs)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in names(text))


def _part(text: str) -> tuple[int, int]:
    number, _, whole = text.partition("/")
    return int(number), int(whole)


def _values(text: str) -> tuple[float, ...]:
    return tuple(map(float, names(text)))


def _add_extract(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    extract = verbs.add_parser(
        "extract",
        help="run checkpoints over a corpus once and keep what every neuron did",
        description="The same command again finishes what a stopped one left.",
    )
    extract.add_argument("models", nargs="+", metavar="MODEL", help="local folder, folder of step folders, or hub id[@revision]")
    extract.add_argument("--corpus", type=Path, required=True, help="folder made by actlas corpus")
    extract.add_argument("--store", type=Path, required=True, help="folder of the store, made if it is not there")
    extract.add_argument(
        "--site",
        action="append",
        dest="sites",
        metavar="SITE",
        help=f"one of {', '.join(SITES)}, or NAME=MODULE.PATH.{{layer}}:input|output; repeat for more (default: mlp_pre)",
    )
    extract.add_argument("--pooling", choices=POOLINGS, default="max")
    extract.add_argument("--dtype", choices=DTYPES, default="float16", help="stored dtype")
    extract.add_argument("--backend", default="hf", help="hf (transformers) or vllm")
    extract.add_argument("--tensor-parallel", type=int, default=1, metavar="N", help="devices a model is divided among (vllm)")
    extract.add_argument(
        "--steps",
        "--step",
        action="extend",
        type=_numbers,
        metavar="N,...",
        help="training steps, one per checkpoint, if names do not say them",
    )
    extract.add_argument(
        "--revisions",
        action="extend",
        type=names,
        metavar="PATTERN,...",
        help="take the branches and tags of each hub id (or the step folders of each folder) that match, such as 'global_step*'",
    )
    extract.add_argument(
        "--duplicates", choices=POLICIES, default="flag", help="weights that are there under another step (default: flag)"
    )
    extract.add_argument(
        "--broken", choices=POLICIES, default="flag", help="a checkpoint that does worse than guessing on a few texts"
    )
    extract.add_argument("--max-tokens", type=int, help="longest token sequence (default: 128, or what the model can read)")
    extract.add_argument("--over-long", choices=OVER_LONG, default="truncate", help="what happens to longer texts")
    extract.add_argument("--special-tokens", choices=SPECIAL_TOKENS, default="pool", help="tokens that the tokenizer adds")
    extract.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto")
    extract.add_argument("--devices", type=names, metavar="DEVICE,...", help="several devices of this machine, a process each")
    extract.add_argument("--dask", metavar="ADDRESS", help="a Dask scheduler whose workers share the work, or local:N")
    extract.add_argument("--part", type=_part, metavar="I/N", help="only part I of N, for arrays of jobs on one store")
    extract.add_argument("--compute-dtype", choices=("auto", *COMPUTE_DTYPES), default="auto")
    extract.add_argument("--tokens-per-batch", type=int)
    extract.add_argument("--texts-per-block", type=int, help="texts of one unit of writing and of resume")
    extract.add_argument(
        "--value-memory", type=float, metavar="GB", help="values in memory at most, two blocks or more (default: 2 GiB)"
    )
    extract.add_argument("--token-sample", type=int, metavar="N", help="token vectors kept per text for probing; 0 keeps none")
    extract.add_argument(
        "--token-sites", type=names, metavar="SITE,...", help="sites whose token vectors are kept (default: embed,resid)"
    )
    extract.add_argument("--token-choice", choices=TOKEN_CHOICES, help="which tokens those are (default: a seeded sample)")
    extract.add_argument(
        "--stats-only",
        nargs="?",
        type=names,
        const=("counts",),
        metavar="KIND,...",
        help="keep no cube but states of any number of texts: counts (active tokens, for LAPE; the default), moments (mean, std, "
        "p_active per concept and language), histogram (ap, auroc, quantiles, best_f1 of 8-bit codes)",
    )
    extract.add_argument(
        "--count-threshold",
        type=_values,
        default=(0.0,),
        metavar="X,...",
        help="a token is counted as active above it; several are counted side by side (default: 0)",
    )
    extract.add_argument("--active-threshold", type=float, default=0.0, help="with moments: a value above it is active")
    extract.add_argument(
        "--range-texts", type=int, default=512, help="with a histogram: texts whose values decide the range of the codes"
    )
    extract.add_argument(
        "--state-memory", type=float, metavar="GB", help="states in memory at most (default: half of this machine's memory)"
    )
    extract.add_argument("--loss-texts", type=int, default=256, help="texts that the sanity loss is taken on")
    extract.add_argument("--seed", type=int, default=0, help="of the token sample")
    extract.add_argument("--tokenizer", help="folder or hub id, where the checkpoints have none")
    extract.add_argument("--trust-remote-code", action="store_true")
    extract.add_argument(
        "--remove-downloads", action="store_true", help="remove a finished checkpoint's files if this run downloaded them"
    )
    extract.add_argument("--fidelity-texts", type=int, default=4, help="texts recomputed one by one as a check; 0 skips it")
    extract.add_argument(
        "--calibration-texts", type=int, default=4, help="texts that vllm is compared with transformers on; 0 skips it"
    )
    extract.add_argument("--no-disk-check", action="store_true", help="start even if the disk could turn out too small")
    extract.add_argument("--no-sync", action="store_true", help="do not flush shards to disk before they count as written")
    extract.add_argument(
        "--profile", action="store_true", help="say at the end which stage took how long, and what bounds the run"
    )
    extract.set_defaults(run=_extract)


def _extract(options: argparse.Namespace) -> None:
    from actlas.extract import extract_activations

    sample = None
    given = (options.token_sample, options.token_sites, options.token_choice)
    if any(value is not None for value in given) or options.seed:
        default = TokenSample()
        per_text = default.per_text if options.token_sample is None else options.token_sample
        choice = options.token_choice or default.choice
        sample = TokenSample(per_text, options.seed, options.token_sites or default.sites, choice)
    line = ProgressLine(options.quiet)
    announced = False

    def show(progress: Progress) -> None:
        nonlocal announced
        if progress.disk_bytes is not None and not announced and not options.quiet:
            announced = True
            tell(f"at most {n_bytes(progress.disk_bytes)} will be written, less what compression saves")
        if progress.warning:
            line.end()
            tell(f"warning: {progress.warning}")
        line.update(_progress_text(progress), final=progress.stage == "done")

    summary = extract_activations(
        options.models,
        options.corpus,
        options.store,
        sites=options.sites or (["mlp_hidden"] if options.stats_only == ("counts",) else ["mlp_pre"]),
        # what lape reads unless told otherwise
        count_sites=None if options.sites or not options.stats_only else ("mlp_hidden",),
        pooling=options.pooling,
        dtype=options.dtype,
        backend=options.backend,
        progress=show,
        steps=options.steps,
        revisions=options.revisions or (),
        duplicates=options.duplicates,
        broken=options.broken,
        device=options.device,
        devices=options.devices or (),
        dask=options.dask,
        part=options.part,
        compute_dtype=options.compute_dtype,
        tensor_parallel=options.tensor_parallel,
        tokens_per_batch=options.tokens_per_batch,
        max_tokens=options.max_tokens,
        over_long=options.over_long,
        special_tokens=options.special_tokens,
        token_sample=sample,
        tokenizer=options.tokenizer,
        trust_remote_code=options.trust_remote_code,
        stats_only=options.stats_only or False,
        count_threshold=options.count_threshold,
        active_threshold=options.active_threshold,
        range_texts=options.range_texts,
        state_bytes=None if options.state_memory is None else int(options.state_memory * 1e9),
        loss_texts=options.loss_texts,
        fidelity_texts=options.fidelity_texts,
        calibration_texts=options.calibration_texts,
        texts_per_block=options.texts_per_block,
        value_bytes=None if options.value_memory is None else int(options.value_memory * 1e9),
        removes_downloads=options.remove_downloads,
        checks_disk=not options.no_disk_check,
        syncs=not options.no_sync,
    )
    line.end()
    for result in summary.checkpoints:
        words = [f"{result.checkpoint}: {'already there' if result.status == 'there' else result.status}"]
        if result.status == "extracted":
            words.append(f"{result.n_texts:,} texts in {duration(result.seconds)}")
        if result.sanity_loss is not None:
            words.append(f"loss {result.sanity_loss:.3f}")
        if result.fidelity is not None:
            words.append(f"batched against alone {result.fidelity:.1e}")
        print(", ".join(words))
        if options.profile and result.seconds_by_stage:
            print(_profile_text(result))
    over_long = f"; {summary.n_over_long:,} over-long ({options.over_long})" if summary.n_over_long else ""
    print(f"{summary.n_texts:,} texts{over_long} in {summary.store}")


def _profile_text(result: CheckpointResult) -> str:
    """How long each stage worked and waited; stages work side by side, so they do not add up to the whole."""
    from actlas.extract.run.profile import STAGES, bound_by

    seconds, waits = result.seconds_by_stage, result.waits_by_stage
    lines = []
    for name, awaited in STAGES.items():
        if name in seconds:
            waited = f"  waited {waits.get(name, 0.0):9.2f} s for {awaited}" if awaited else ""
            lines.append(f"  {name:9} {seconds[name]:9.2f} s{waited}")
    lines.append(f"  whole     {result.seconds:9.2f} s  bound by {bound_by(seconds, waits)}")
    return "\n".join(lines)


def _progress_text(progress: Progress) -> str:
    head = f"{progress.checkpoint} ({progress.number} of {progress.n_checkpoints}) {progress.stage}"
    if progress.stage != "extract":
        return head
    share = f"{progress.texts_done:,} of {progress.n_texts:,} texts"
    speed = f"{progress.texts_per_s:,.0f} texts/s, {progress.bytes_per_s / 1e6:,.0f} MB/s"
    left = "" if progress.seconds_left is None else f", {duration(progress.seconds_left)} left"
    return f"{head} {share}, {speed}{left}"
