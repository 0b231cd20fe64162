"""Reports while a run goes on, and results at its end."""

from __future__ import annotations

from dataclasses import asdict

import msgspec
import pytest

from actlas.extract.results import CheckpointProgress, CheckpointResult, ExtractSummary, Progress, TotalProgress
from actlas.names import Checkpoint


def test_a_checkpoint_reports_texts_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 12.0])
    monkeypatch.setattr("actlas.extract.results.time.perf_counter", lambda: next(clock))
    seen: list[Progress] = []
    progress = CheckpointProgress(seen.append, Checkpoint("m", "m"), 1, 2, 100)
    progress.begin(20, bytes_per_text=8)
    progress.add(40)
    assert (seen[0].texts_done, seen[0].texts_per_s, seen[0].seconds_left) == (20, 0.0, None)
    # 40 texts in 2 s; 40 are left here and 100 of the next checkpoint
    assert (seen[1].texts_done, seen[1].texts_per_s, seen[1].bytes_per_s, seen[1].seconds_left) == (60, 20.0, 160.0, 7.0)


def report(texts_done: int, stage: str = "extract", **more: object) -> Progress:
    return Progress("m", 1, 1, stage, texts_done, 100, **more)


def test_reports_of_several_processes_are_one() -> None:
    seen: list[Progress] = []
    total = TotalProgress(seen.append)
    total.add("a", report(0))
    total.add("b", report(0))
    total.add("a", report(30, texts_per_s=10.0, bytes_per_s=80.0))
    total.add("b", report(20, texts_per_s=5.0, bytes_per_s=40.0))
    assert (seen[-1].texts_done, seen[-1].texts_per_s, seen[-1].bytes_per_s) == (50, 15.0, 120.0)
    assert seen[-1].seconds_left == pytest.approx(50 / 15)
    total.add("b", report(20, warning="broken"))
    assert seen[-1].warning == "broken"
    n_seen = len(seen)
    total.add("a", report(100, stage="done"))
    assert len(seen) == n_seen, "a process that is done does not end the work of the others"


def test_results_go_to_another_process_and_come_back_equal() -> None:
    result = CheckpointResult("m", "extracted", 5, 1.5, 2.0, None, {"load": 1.0}, {"load": 0.5})
    summary = ExtractSummary("s", (result,), 5, 1, ("one",))
    assert msgspec.json.decode(msgspec.json.encode(summary), type=ExtractSummary) == summary
    assert msgspec.convert(asdict(summary), ExtractSummary) == summary
    one = report(3, seconds_left=None, disk_bytes=10)
    assert msgspec.json.decode(msgspec.json.encode(one), type=Progress) == one
