"""The whole demo: both conditions at once, their numbers side by side, and one report."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from actlas.demo.settings import (
    CONDITIONS,
    LABELS,
    REPORT,
    STEERED_LANGUAGE,
    STORES,
    Condition,
    K,
    error_file,
    seconds_file,
)
from actlas.errors import ExtractionError
from actlas.query import Atlas, open_store
from actlas.report import QUESTIONS, findings, measures, write_report
from actlas.report.steering import steering_findings, steering_rates

Progress = Callable[[str], None]

_ABOUT = (
    "Two models of one architecture, trained for as many steps from the same random weights on the same sentences in five "
    "languages. The model's documents mix languages: three translations of one sentence, or three sentences about one "
    "concept with a language drawn for each. The control's documents stay in one language. So sharing is built into what the "
    "model reads, and the question is whether it is found. Everything below was measured on sentences that neither saw in "
    "training; one seed was trained of each.",
)
#: What is shown of the frame of `steering_rates`.
_STEERING = ("arm", "n_texts", "rate", "low", "high", "rate_elsewhere", "low_elsewhere", "high_elsewhere", "in_language")
_ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Section:
    """One part of the demo's results.

    Attributes:
        heading: What it is about.
        table: The numbers; None where there are only sentences.
        sentences: What the numbers say.
    """

    heading: str
    table: pl.DataFrame | None = None
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class DemoOutcome:
    """What the demo left.

    Attributes:
        store: Store of the model's checkpoints.
        control: Store of the control's checkpoints.
        report: The HTML file.
        sections: The results, to be shown as text.
        seconds: Phase -> seconds; phases of the two conditions as ``"multi train"`` and so on, then report and total.
    """

    store: Path
    control: Path
    report: Path
    sections: tuple[Section, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


def run_demo(out: Path | str = "demo-out", progress: Progress = lambda line: None, *, seed: int = 0) -> DemoOutcome:
    """Trains the demo's model and its control, extracts, scores and probes every checkpoint of both, and reports.

    A second call with the same folder reuses what is complete there.

    Args:
        out: Folder for the models, ``store.actlas``, ``control.actlas`` and ``report.html``.
        progress: Called with each line of progress of the two conditions.
        seed: Seed of weights, documents and held-out sentences.

    Returns:
        Where the stores and the report are, the results, and how long each phase took.

    Raises:
        ExtractionError: If one of the two conditions fails; its last line is in the message.
    """
    out = Path(out)
    (out / "models").mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    run_conditions(out, progress, seed)
    built = time.perf_counter()
    stores = {LABELS[condition]: open_store(out / STORES[condition]) for condition in CONDITIONS}
    sections = demo_sections(stores)
    report = write_report(stores, out / REPORT, title="The demo's model and its control", about=_ABOUT)
    seconds = {
        f"{condition} {phase}": spent
        for condition in CONDITIONS
        for phase, spent in json.loads(seconds_file(out, condition).read_text()).items()
    }
    seconds |= {"report": time.perf_counter() - built, "total": time.perf_counter() - began}
    return DemoOutcome(out / STORES["multi"], out / STORES["mono"], report, tuple(sections), seconds)


def demo_sections(stores: Mapping[str, Atlas]) -> list[Section]:
    """The results as tables and sentences.

    Args:
        stores: Label -> store; the model first.

    Returns:
        Overlap, probes of each store, and the questions of the report asked of the model.
    """
    sources = [measures.Labelled(label, store) for label, store in stores.items()]
    overlap = [(source.label, measures.overlap_over_training(source)) for source in sources]
    tests = [(source.label, measures.concept_tests(source)) for source in sources]
    twins = [(source.label, measures.overlap_of_twins(source)) for source in sources]
    probes = [(source.label, measures.probe_accuracy(source)) for source in sources]
    ap = [(source.label, measures.expert_ap(source)) for source in sources]
    steering = [(source.label, steering_rates(source)) for source in sources]
    model = next(iter(stores.values()))
    return [
        Section(
            f"Overlap of experts across languages, K = {K} (mean over language pairs and concepts)",
            _overlap_table(overlap),
            (*findings.overlap_findings(overlap, twins), *findings.concept_findings(tests), *findings.ap_findings(ap)),
        ),
        *(
            Section(f"Accuracy of a probe for the language, by layer and step: {label}", _probe_table(frame))
            for label, frame in probes
        ),
        Section("What the probes say", sentences=tuple(findings.probe_findings(probes))),
        Section(
            f"Do experts steer what a model writes? ({K} of {STEERED_LANGUAGE} forced)",
            pl.concat([rates.select(pl.lit(label).alias("store"), *_STEERING) for label, rates in steering]),
            tuple(steering_findings(steering)),
        ),
        *(Section(question.text, model.sql(question.sql)) for question in QUESTIONS),
    ]


def _overlap_table(overlap: Sequence[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    (_, first), *_ = overlap
    table = first.select("step")
    for label, frame in overlap:
        table = table.hstack(
            frame.select(
                pl.col("overlap").alias(label),
                pl.col("null").alias(f"{label}, null"),
                pl.col("corrected_ratio").alias(f"{label}, of ceiling"),
            )
        )
    return table.hstack(first.select("chance"))


def _probe_table(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort("position", "place_order").pivot("place", index="step", values="accuracy")


def run_conditions(out: Path, progress: Progress, seed: int, verb: Sequence[str] = ("demo",)) -> None:
    """Runs both conditions as processes of one thread each and passes their lines on as they come.

    Args:
        out: Folder of the demo; its folder `models` has to be there.
        progress: Called with each line of the two.
        seed: Seed of weights, documents and held-out sentences.
        verb: What of the command line takes --condition, --out and --seed.

    Raises:
        ExtractionError: If one of the two fails; its last line is in the message.
    """
    lines: queue.Queue[str] = queue.Queue()
    with _processes(out, seed, verb) as processes:
        readers = [threading.Thread(target=_read, args=(process, lines), daemon=True) for process in processes.values()]
        for reader in readers:
            reader.start()
        while any(reader.is_alive() for reader in readers) or not lines.empty():
            _pass_on(lines, progress)
            for condition, process in processes.items():
                if process.poll() not in (None, 0):
                    raise _failure(condition, process, error_file(out, condition))
        for condition, process in processes.items():
            if process.wait() != 0:
                raise _failure(condition, process, error_file(out, condition))


@contextmanager
def _processes(out: Path, seed: int, verb: Sequence[str]) -> Iterator[dict[Condition, subprocess.Popen[str]]]:
    """A process of the command line per condition; none of them outlives the block."""
    processes: dict[Condition, subprocess.Popen[str]] = {}
    try:
        for condition in CONDITIONS:
            with error_file(out, condition).open("w") as errors:
                processes[condition] = subprocess.Popen(
                    [sys.executable, "-m", "actlas", *verb, "--condition", condition, "--out", str(out), "--seed", str(seed)],
                    env={**os.environ, **_ONE_THREAD},
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    # Ctrl-C reaches this process alone, which ends the others
                    start_new_session=True,
                )
        yield processes
    finally:
        # what a condition has written is whole or not there: it needs no time to end
        for process in processes.values():
            if process.poll() is None:
                process.kill()
        for process in processes.values():
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    for line in process.stdout or ():
        lines.put(line.rstrip("\n"))


def _pass_on(lines: queue.Queue[str], progress: Progress) -> None:
    try:
        progress(lines.get(timeout=0.2))
    except queue.Empty:
        return


def _failure(condition: Condition, process: subprocess.Popen[str], errors: Path) -> ExtractionError:
    lines = errors.read_text(errors="replace").strip().splitlines()
    reason = lines[-1].removeprefix("actlas: ") if lines else "it wrote no message"
    return ExtractionError(f"the {LABELS[condition]} stopped with status {process.returncode}: {reason} (more in {errors})")
