"""What pictures and pages look like from afar, for fonts and edges differ from machine to machine.

Exact pictures would be written anew with every version of a browser or a font, and nobody would look at them. A picture that is
empty, black, cut off, or drawn somewhere else shows on a grid of a few hundred cells, which a person can read in a file. Of a
whole page, each part has a grid of its own: lines that break elsewhere make a part higher and move what is below it, no more.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

#: Name of a part -> how high it is, in pixels, and its grid.
Parts = Mapping[str, tuple[int, str]]

_COLUMNS, _ROWS = 48, 16
_SHRUNK = """async ([source, boxes, columns, rows]) => {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = new OffscreenCanvas(columns, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  return boxes.map((box) => {
    context.drawImage(image, ...(box ?? [0, 0, image.width, image.height]), 0, 0, columns, rows);
    const { data } = context.getImageData(0, 0, columns, rows);
    const grey = (_, cell) => (data[4 * cell] + data[4 * cell + 1] + data[4 * cell + 2]) / 3;
    return Array.from({ length: columns * rows }, grey);
  });
}"""

#: Cells of a part, and of which so many by so many greys a cell is the mean.
_ACROSS, _DOWN, _FINE = 12, 4, 8
_BOXES = """() => {
  const boxOf = (one) => {
    const { left, top, width, height } = one.getBoundingClientRect();
    return [left + scrollX, top + scrollY, width, height];
  };
  const partOf = (name, one) => {
    const picture = one.querySelector(".picture");
    return [name, one.offsetHeight, picture !== null, boxOf(picture ?? one)];
  };
  const parts = Array.from(document.querySelectorAll("main > section"), (one) => partOf(one.dataset.part ?? one.id, one));
  return [partOf("top", document.querySelector(".top, header")), ...parts];
}"""
#: A browser draws no picture of a page below this, in pixels.
_LOWEST = 16_000
#: What lies over something else, or is cut off: a person would see it, and a grid would not.
_CROWDED = """() => {
  const name = (one) => one.closest("section")?.dataset.part ?? one.className;
  const areas = [...document.querySelectorAll(".top, main > *, main section > *")].filter((one) => one.offsetHeight);
  const found = [];
  for (const one of areas) {
    const next = one.nextElementSibling;
    if (!next?.offsetHeight || one.parentElement.className === "choices") continue;
    const [above, below] = [one.getBoundingClientRect(), next.getBoundingClientRect()];
    if (above.bottom > below.top + 2 && above.right > below.left + 2) found.push(`${name(one)} lies over ${name(next)}`);
  }
  for (const one of document.querySelectorAll("main section, main .slot, main .picture, main .text, .top")) {
    const isCut = ["hidden", "clip"].includes(getComputedStyle(one).overflowY) && one.scrollHeight > one.clientHeight + 2;
    if (isCut) found.push(`${name(one)} is cut off below`);
  }
  for (const chart of document.querySelectorAll(".chart")) {
    const { left, right, width } = chart.getBoundingClientRect();
    for (const word of chart.querySelectorAll("text")) {
      const edge = word.getBoundingClientRect();
      const isCut = edge.left < left - 6 || (chart.scrollWidth <= chart.clientWidth && edge.right > right + 6);
      if (width && isCut) found.push(`${name(chart)}: ${word.textContent} is cut off`);
    }
  }
  return found;
}"""


def coarse(page: Page, picture: Locator) -> list[str]:
    """Rows of its grid, a hexadecimal digit for each grey: 0 is black, f white."""
    (greys,) = page.evaluate(_SHRUNK, [_address(picture.screenshot(), "png"), [None], _COLUMNS, _ROWS])
    digits = "".join(f"{min(round(grey / 17), 15):x}" for grey in greys)
    return [digits[start : start + _COLUMNS] for start in range(0, len(digits), _COLUMNS)]


def difference(seen: list[str], reference: list[str]) -> tuple[float, float]:
    """Steps of grey, of 16, that two grids are apart on average; and the share of cells that are more than 3 apart."""
    apart = [abs(int(a, 16) - int(b, 16)) for a, b in zip("".join(seen), "".join(reference), strict=True)]
    return sum(apart) / len(apart), sum(one > 3 for one in apart) / len(apart)


def parts_of(page: Page, screenshot: bytes) -> dict[str, tuple[int, str]]:
    """The parts of a page in a picture of all of it: how high each is, and how much is drawn in each cell of the picture in it.

    Args:
        page: What the picture was taken of.
        screenshot: As JPEG, of the whole page.
    """
    parts = page.evaluate(_BOXES)
    source = _address(screenshot, "jpeg")
    shrunk = page.evaluate(_SHRUNK, [source, [box for *_, box in parts], _ACROSS * _FINE, _DOWN * _FINE])
    found = {}
    for (name, height, is_picture, (_, top, _, below)), greys in zip(parts, shrunk, strict=True):
        grid = _inked(greys) if top + below < _LOWEST else ""
        # where words stand depends on the font: of a part without a picture only its ground is kept
        found[name] = height, grid if is_picture else grid[:1]
    return found


def crowded(page: Page) -> list[str]:
    """What lies over something else, or is cut off."""
    found: list[str] = page.evaluate(_CROWDED)
    return found


def _address(picture: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _inked(greys: list[float]) -> str:
    """A letter for the ground, l is light and d dark, then a digit per cell for how much lies on it."""
    ground = sorted(greys)[len(greys) // 2]
    cells = [0.0] * (_ACROSS * _DOWN)
    for place, grey in enumerate(greys):
        row, column = divmod(place, _ACROSS * _FINE)
        cells[row // _FINE * _ACROSS + column // _FINE] += abs(grey - ground) / _FINE**2
    return ("l" if ground > 127 else "d") + "".join(f"{_level(ink):x}" for ink in cells)


def _level(ink: float) -> int:
    """How often half a grey has to grow by half to be as much."""
    level = 0
    while ink > 0.5 * 1.5**level and level < 15:
        level += 1
    return level


def _gone(grid: str, reference: str) -> int:
    """Cells in which next to nothing is drawn where much was: as much as words are not, but what is painted is."""
    return sum(before in "cdef" and now in "01234" for now, before in zip(grid[1:], reference[1:], strict=True))


def unlike(seen: Parts, kept: Parts) -> list[str]:
    """How a page differs from what it looked like, beyond what fonts and versions of a browser do; empty if it is the same."""
    found = [f"{name} is not there" for name in kept if name not in seen]
    for name, (height, grid) in seen.items():
        if name not in kept:
            found.append(f"{name} is new")
            continue
        before, reference = kept[name]
        if grid[:1] != reference[:1]:
            found.append(f"{name} is {'light' if grid[0] == 'l' else 'dark'}")
        if not 0.75 * before - 24 <= height <= 1.33 * before + 24:
            found.append(f"{name} is {height} pixels high, not {before}")
        if not grid[1:] or not reference[1:]:
            continue
        mean, share = difference([grid[1:]], [reference[1:]])
        if mean > 1.8 or share > 0.2 or _gone(grid, reference) > 1 or _gone(reference, grid) > 1:
            found.append(f"{name} looks different, {mean:.2f} and {share:.2f} apart: {grid}, not {reference}")
    return found


class Looks:
    """What pages are kept to look like, in a file; written anew where ACTLAS_WRITE_PICTURES is set.

    Args:
        file: The file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def compare(self, name: str, seen: Parts) -> list[str]:
        """How a page differs from what is kept under a name."""
        kept = json.loads(self.file.read_text()) if self.file.exists() else {}
        if os.environ.get("ACTLAS_WRITE_PICTURES"):
            kept[name] = {part: f"{height} {grid}" for part, (height, grid) in seen.items()}
            self.file.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        if name not in kept:
            return [f"nothing is kept of {name}: ACTLAS_WRITE_PICTURES=1 pytest {self.file.parent} writes it"]
        before = {part: (int(line.split()[0]), line.partition(" ")[2]) for part, line in kept[name].items()}
        return unlike(seen, before)
