"""What the time of one checkpoint was spent on, stage by stage, and what bounds the run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from actlas.timing import StageTimes

#: Stages in the order in which a block meets them -> what their threads wait for; the threads of "transpose" are those of
#: "encode", of "file" and "accumulate" that of "write", of "commit" that of "sync".
STAGES = {
    "load": "files of the checkpoint",
    "check": "",
    "forward": "room: as many blocks were on their way as fit into memory",
    "collect": "blocks of the model",
    "write": "blocks on the host",
    "transpose": "",
    "encode": "chunks",
    "file": "",
    "accumulate": "",
    "sync": "written files",
    "commit": "",
    "weights": "",
}
#: What a run is bound by -> the part of its time that says so. These follow one another in the thread that runs the model, and
#: together they are the whole: a stage that waits there waits for what is named.
_ONE_AFTER_ANOTHER = {
    "the files of the checkpoint": ("waits", "load"),
    "loading": ("seconds", "load"),
    "checks": ("seconds", "check"),
    "the model": ("seconds", "forward"),
    "writing": ("waits", "forward"),
}


@dataclass(frozen=True)
class Profile:
    """Seconds that each stage worked, and that its threads stood still, while one checkpoint was extracted.

    Attributes:
        busy: "load", "check" and "forward" of the model; beside these
            "collect" (from the device), "write" (from a block to its files; in it "transpose" and "encode", each added up over
            all encoding threads, "file", handing bytes to the operating system, and "accumulate", adding to states), "sync" (to
            the disk) and "commit"; and "weights", describing them, beside a GPU in a thread of its own.
        waits: Of the stages with threads of their own; `STAGES` says for what.
    """

    busy: StageTimes = field(default_factory=StageTimes)
    waits: StageTimes = field(default_factory=StageTimes)

    def add_idle(self, began: float, threads: Mapping[str, tuple[int, tuple[str, ...]]]) -> None:
        """Note what was left of the time since `began` to threads that did nothing else.

        Args:
            began: `time.perf_counter()` when they were started, with nothing in `busy` yet.
            threads: Stage -> how many threads it has, and all stages that these worked on.
        """
        span = time.perf_counter() - began
        for stage, (n_threads, stages) in threads.items():
            self.waits.add(stage, max(0.0, n_threads * span - sum(self.busy[name] for name in stages)))

    def to_json(self) -> dict[str, object]:
        """What a checkpoint's record says."""
        busy, waits = self.busy.rounded(), self.waits.rounded()
        return {"seconds": busy, "waits": waits, "bound_by": bound_by(busy, waits)}


def bound_by(seconds: Mapping[str, float], waits: Mapping[str, float]) -> str:
    """What would have to be faster for the run to be faster: the longest of the parts that follow one another.

    Example:
        >>> bound_by({"load": 1.0, "check": 0.5, "forward": 6.0}, {"forward": 8.0})
        'writing'
    """
    given = {"seconds": seconds, "waits": waits}
    longest = max(_ONE_AFTER_ANOTHER, key=lambda name: given[_ONE_AFTER_ANOTHER[name][0]].get(_ONE_AFTER_ANOTHER[name][1], 0.0))
    if longest == "writing" and seconds.get("collect", 0.0) > seconds.get("write", 0.0) + seconds.get("sync", 0.0):
        return "copies from the device"
    return longest
