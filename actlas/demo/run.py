"""The whole demo: both sides at once, their numbers side by side, and one report."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from actlas.demo.settings import LABELS, REPORT, STORES, K, Kind, error_file, seconds_file
from actlas.demo.text import lines_of
from actlas.errors import ExtractionError
from actlas.query import Atlas, open_store
from actlas.report import QUESTIONS, findings, measures, write_report

Say = Callable[[str], None]

_ABOUT = (
    "Two models of one architecture, trained for as many steps from the same random weights on the same sentences in five "
    "languages. The model's documents mix languages: three translations of one sentence, or three sentences about one "
    "concept with a language drawn for each. The control's documents stay in one language. Everything below was measured "
    "on sentences that neither saw in training.",
)
_LINE_WIDTH = 110
_ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class DemoOutcome:
    """What the demo left.

    Attributes:
        store: Store of the model's checkpoints.
        control: Store of the control's.
        report: The HTML file.
        seconds: Phase -> seconds it took; phases of the two sides by ``"multi train"`` and so on, then report and total.
    """

    store: Path
    control: Path
    report: Path
    seconds: Mapping[str, float] = field(default_factory=dict)


def run_demo(out: Path | str = "demo-out", say: Say = lambda line: None, *, seed: int = 0) -> DemoOutcome:
    """Trains the demo's model and its control, extracts, scores and probes every checkpoint of both, and reports.

    A second call with the same folder reuses what is complete there.

    Args:
        out: Folder for the models, ``store.actlas``, ``control.actlas`` and ``report.html``.
        say: Called with every line of progress and of results.
        seed: Of weights, documents and held-out sentences.

    Returns:
        Where things are, and how long each phase took.

    Raises:
        ExtractionError: If one of the two sides fails; its last line is in the message.
    """
    out = Path(out)
    (out / "models").mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    say(f"Training a model and its control side by side, then extracting every checkpoint, into {out}")
    _run_sides(out, say, seed)
    at = time.perf_counter()
    stores = {LABELS[kind]: open_store(out / STORES[kind]) for kind in LABELS}
    for section in demo_sections(stores):
        say("")
        for line in section:
            say(line)
    report = write_report(stores, out / REPORT, title="The demo's model and its control", about=_ABOUT)
    seconds = {
        f"{kind} {phase}": spent for kind in LABELS for phase, spent in json.loads(seconds_file(out, kind).read_text()).items()
    }
    seconds |= {"report": time.perf_counter() - at, "total": time.perf_counter() - began}
    say("")
    say(f"Report: {report}")
    say(f'Ask more: actlas sql {out / STORES["multi"]} "SELECT ..."')
    return DemoOutcome(out / STORES["multi"], out / STORES["mono"], report, seconds)


def demo_sections(stores: Mapping[str, Atlas]) -> list[list[str]]:
    """The results as text: a heading and lines for each part.

    Args:
        stores: Label -> store; the model first.
    """
    sources = [measures.Labelled(label, store) for label, store in stores.items()]
    overlap = [(source.label, measures.overlap_over_training(source)) for source in sources]
    probes = [(source.label, measures.probe_accuracy(source)) for source in sources]
    ap = [(source.label, measures.expert_ap(source)) for source in sources]
    return [
        [
            f"Overlap of experts across languages, K = {K} (mean over language pairs and concepts)",
            *lines_of(_overlap_table(overlap)),
            *_wrapped(findings.overlap_findings(overlap) + findings.ap_findings(ap)),
        ],
        *(
            [f"Accuracy of a probe for the language, by layer and step: {label}", *lines_of(_probe_table(frame))]
            for label, frame in probes
        ),
        ["What the probes say", *_wrapped(findings.probe_findings(probes))],
        *([question.text, *lines_of(next(iter(stores.values())).sql(question.sql))] for question in QUESTIONS),
    ]


def _wrapped(sentences: Sequence[str]) -> list[str]:
    return [
        line
        for sentence in sentences
        for line in textwrap.wrap(sentence, _LINE_WIDTH, initial_indent="- ", subsequent_indent="  ")
    ]


def _overlap_table(overlap: Sequence[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    (_, first), *_ = overlap
    table = first.select(pl.col("axis").alias("step"))
    for label, frame in overlap:
        table = table.hstack(
            frame.select(
                pl.col("overlap").alias(label),
                pl.col("ratio").alias(f"{label}, of ceiling"),
                pl.col("other_concept").alias(f"{label}, other concept"),
            )
        )
    return table.hstack(first.select("shuffled", "chance"))


def _probe_table(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort("position", "place_order").pivot("place", index="axis", values="accuracy").rename({"axis": "step"})


def _run_sides(out: Path, say: Say, seed: int) -> None:
    """Both sides as processes of one thread each; their lines are passed on as they come."""
    environment = {**os.environ, **_ONE_THREAD}
    lines: queue.Queue[str] = queue.Queue()
    sides: dict[Kind, subprocess.Popen[str]] = {}
    try:
        for kind in LABELS:
            with error_file(out, kind).open("w") as stderr:
                sides[kind] = subprocess.Popen(
                    [sys.executable, "-m", "actlas.demo.condition", "--kind", kind, "--out", str(out), "--seed", str(seed)],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                )
        readers = [threading.Thread(target=_read, args=(side, lines), daemon=True) for side in sides.values()]
        for reader in readers:
            reader.start()
        while any(reader.is_alive() for reader in readers) or not lines.empty():
            _pass_on(lines, say)
            failed = [kind for kind, side in sides.items() if side.poll() not in (None, 0)]
            if failed:
                raise ExtractionError(_failure(failed[0], sides[failed[0]], error_file(out, failed[0])))
        for kind, side in sides.items():
            if side.wait() != 0:
                raise ExtractionError(_failure(kind, side, error_file(out, kind)))
    finally:
        for side in sides.values():
            if side.poll() is None:
                side.terminate()
            side.wait()
            if side.stdout is not None:
                side.stdout.close()


def _read(side: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    for line in side.stdout or ():
        lines.put(line.rstrip("\n"))


def _pass_on(lines: queue.Queue[str], say: Say) -> None:
    try:
        say(lines.get(timeout=0.2))
    except queue.Empty:
        return


def _failure(kind: Kind, side: subprocess.Popen[str], errors: Path) -> str:
    said = errors.read_text(errors="replace").strip().splitlines()
    return (
        f"the demo's {LABELS[kind]} stopped with status {side.returncode}: {said[-1] if said else 'no word'} (more in {errors})"
    )
