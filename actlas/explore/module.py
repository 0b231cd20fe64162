"""The front end as text, for pages and notebooks that carry it inside."""

from __future__ import annotations

from functools import cache
from pathlib import Path

#: Its files.
FOLDER = Path(__file__).parent / "front"


@cache
def module() -> str:
    """The ES module that draws views and figures, and is what a widget runs."""
    return (FOLDER / "actlas.js").read_text(encoding="utf-8")


@cache
def style() -> str:
    """Its style sheet: everything in it stands below the class ``actlas``."""
    return (FOLDER / "style.css").read_text(encoding="utf-8")
