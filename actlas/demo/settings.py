"""What the demo makes and where: its two sides, their folders and their numbers. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["multi", "mono"]

#: What the report calls each side. The first is the one under study.
LABELS: dict[Kind, str] = {"multi": "model", "mono": "control"}
STORES: dict[Kind, str] = {"multi": "store.actlas", "mono": "control.actlas"}
REPORT = "report.html"
#: Experts per concept and language.
K = 50


def model_folder(out: Path, kind: Kind) -> Path:
    """Folder of a side's checkpoints."""
    return out / "models" / kind


def seconds_file(out: Path, kind: Kind) -> Path:
    """Where a side notes how long each of its phases took."""
    return out / "models" / f"{kind}-seconds.json"


def error_file(out: Path, kind: Kind) -> Path:
    """Where a side's standard error goes."""
    return out / "models" / f"{kind}.stderr"
