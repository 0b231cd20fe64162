"""What is reported while a run goes on, and what is said at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from actlas.names import Checkpoint


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        checkpoint: Id of the checkpoint.
        number: Which one it is, from 1.
        n_checkpoints: How many there are.
        stage: "locate", "load", "check", "extract", "weights" (waiting until they are described) or "done".
        texts_done: Texts of this checkpoint that the model has read, or that were already there.
        n_texts: Texts per checkpoint.
        texts_per_s: Since this checkpoint's first text.
        bytes_per_s: The same in bytes of values, before compression.
        seconds_left: For all checkpoints; None while nothing is known.
        disk_bytes: Upper bound of what is still to be written, for all checkpoints; None before the first is loaded.
        warning: Something to be said now, before more time is spent: weights that are there already, a broken checkpoint.
        note: Something to be said now that is no reason to stop: which dtypes were chosen.
    """

    checkpoint: str
    number: int
    n_checkpoints: int
    stage: str
    texts_done: int = 0
    n_texts: int = 0
    texts_per_s: float = 0.0
    bytes_per_s: float = 0.0
    seconds_left: float | None = None
    disk_bytes: int | None = None
    warning: str | None = None
    note: str | None = None


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class CheckpointResult:
    """What became of one checkpoint.

    Attributes:
        checkpoint: Its id.
        status: "extracted", "there" (complete before, nothing was loaded), "shared" (others still write parts of it) or "skipped"
            (a duplicate or broken checkpoint that was to be left out).
        n_texts: Texts that this run computed.
        seconds: Time it took, loading included.
        sanity_loss: Mean next-token loss in nats; None for encoders, or if the checkpoint is not complete.
        fidelity: Difference between batched values and texts run alone, of the worst neuron and relative to its size; None if not
            checked.
        seconds_by_stage: How long each stage worked; see `profile.Profile.busy`.
        waits_by_stage: How long its threads stood still; see `profile.Profile.waits`.
    """

    checkpoint: str
    status: str
    n_texts: int = 0
    seconds: float = 0.0
    sanity_loss: float | None = None
    fidelity: float | None = None
    seconds_by_stage: dict[str, float] = field(default_factory=dict)
    waits_by_stage: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ExtractSummary:
    """What a run did.

    Attributes:
        store: Folder of the store.
        checkpoints: One result each, by step.
        n_texts: Length of the text axis.
        n_over_long: Texts that were longer than allowed, and truncated or dropped.
        warnings: One line each: duplicate weights, a loss that is no better than chance.
    """

    store: str
    checkpoints: tuple[CheckpointResult, ...]
    n_texts: int
    n_over_long: int
    warnings: tuple[str, ...] = ()


@dataclass
class CheckpointProgress:
    """What is reported about the checkpoint that is worked on.

    Attributes:
        tell: Where reports go.
        checkpoint: Which checkpoint it is.
        number: Its place among all, from 1.
        n_checkpoints: How many there are.
        n_texts: Texts per checkpoint.
        disk_bytes: Upper bound of what is still to be written.
        texts_before: Texts that were committed by earlier runs.
        texts_read: Texts that this run has put through the model.
        bytes_per_text: Bytes of values per text.
        began: When the first block started.
    """

    tell: ProgressCallback
    checkpoint: Checkpoint
    number: int
    n_checkpoints: int
    n_texts: int
    disk_bytes: int | None = None
    texts_before: int = 0
    texts_read: int = 0
    bytes_per_text: int = 0
    began: float = 0.0

    def begin(self, texts_before: int, bytes_per_text: int) -> None:
        """The first block starts now."""
        self.texts_before, self.bytes_per_text, self.began = texts_before, bytes_per_text, time.perf_counter()
        self.report("extract", texts_before)

    def add(self, n_texts: int) -> None:
        """More texts went through the model."""
        self.texts_read += n_texts
        self.report("extract", self.texts_before + self.texts_read)

    def report(self, stage: str, texts_done: int = 0, warning: str | None = None, note: str | None = None) -> None:
        """Tell the caller."""
        rate, left = 0.0, None
        if self.texts_read:
            rate = self.texts_read / max(time.perf_counter() - self.began, 1e-9)
            left = (self.n_texts - texts_done + self.n_texts * (self.n_checkpoints - self.number)) / rate
        self.tell(
            Progress(
                self.checkpoint.id,
                self.number,
                self.n_checkpoints,
                stage,
                texts_done,
                self.n_texts,
                texts_per_s=rate,
                bytes_per_s=rate * self.bytes_per_text,
                seconds_left=left,
                disk_bytes=self.disk_bytes,
                warning=warning,
                note=note,
            )
        )


@dataclass
class TotalProgress:
    """Reports of several processes as one: texts of a checkpoint are those of all, rates add up."""

    tell: ProgressCallback
    _first: dict[tuple[str, str], int] = field(default_factory=dict)
    _last: dict[tuple[str, str], Progress] = field(default_factory=dict)

    def add(self, who: str, report: Progress) -> None:
        """One more report of a process."""
        if report.stage != "extract" or report.warning is not None or report.note is not None:
            if report.stage != "done":
                self.tell(report)
            return
        key = (report.checkpoint, who)
        self._first.setdefault(key, report.texts_done)
        self._last[key] = report
        same = [key for key in self._last if key[0] == report.checkpoint]
        done = min(self._first[key] for key in same) + sum(self._last[key].texts_done - self._first[key] for key in same)
        rate = sum(self._last[key].texts_per_s for key in same)
        left = report.n_texts - done + report.n_texts * (report.n_checkpoints - report.number)
        self.tell(
            replace(
                report,
                texts_done=min(done, report.n_texts),
                texts_per_s=rate,
                bytes_per_s=sum(self._last[key].bytes_per_s for key in same),
                seconds_left=left / rate if rate else None,
            )
        )
