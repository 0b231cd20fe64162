"""The gallery shows parts of views that there are, in pictures that are there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from actlas.explore.views import VIEWS

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))
gallery = __import__("gallery")


def test_every_picture_is_of_a_part_that_there_is() -> None:
    for shot in gallery.SHOTS:
        names = [part.name for part in VIEWS[shot.view].parts]
        assert not shot.part or shot.part in names, f"{shot.name}: {shot.view} has {', '.join(names)}"


def test_the_page_shows_the_pictures_and_they_are_small() -> None:
    shown = re.findall(r"\]\((figures/gallery/[\w-]+\.webp)\)", gallery.PAGE.read_text())
    assert shown == [f"figures/gallery/{shot.name}.webp" for shot in gallery.SHOTS]
    files = [ROOT / "docs" / name for name in shown]
    assert sorted(files) == sorted(gallery.PICTURES.iterdir())
    assert all(file.read_bytes()[8:12] == b"WEBP" for file in files)
    assert max(file.stat().st_size for file in files) <= gallery.MOST_BYTES
