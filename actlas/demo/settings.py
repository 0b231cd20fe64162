"""What the demo makes and where: its two conditions, their folders and their numbers. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

#: "multi": the model, whose documents mix languages. "mono": its control, whose documents stay in one.
Condition = Literal["multi", "mono"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)

#: What the report calls each condition. The first is the one under study.
LABELS: dict[Condition, str] = {"multi": "model", "mono": "control"}
STORES: dict[Condition, str] = {"multi": "store.actlas", "mono": "control.actlas"}
REPORT = "report.html"
#: Experts per concept and language.
K = 50
#: Whose experts are forced when the demo steers, how many texts of each arm, and their tokens: about a sentence.
STEERED_LANGUAGE = "es"
STEERED_SEEDS = 36
STEERED_TOKENS = 14


def model_folder(out: Path, condition: Condition) -> Path:
    """Folder of a condition's checkpoints."""
    return out / "models" / condition


def seconds_file(out: Path, condition: Condition) -> Path:
    """File in which a condition notes how long each of its phases took."""
    return out / "models" / f"{condition}-seconds.json"


def error_file(out: Path, condition: Condition) -> Path:
    """File that receives the standard error of a condition's process."""
    return out / "models" / f"{condition}.stderr"
