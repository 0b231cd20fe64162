"""What a picture looks like from afar: greys of a coarse grid, for fonts and edges differ from machine to machine.

Exact pictures would be written anew with every version of a browser or a font, and nobody would look at them. A picture that is
empty, black, cut off, or drawn somewhere else shows on a grid of a few hundred cells, which a person can read in a file.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

_COLUMNS, _ROWS = 48, 16
_SHRUNK = f"""async (source) => {{
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = new OffscreenCanvas({_COLUMNS}, {_ROWS});
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, {_COLUMNS}, {_ROWS});
  const {{ data }} = context.getImageData(0, 0, {_COLUMNS}, {_ROWS});
  const grey = (_, cell) => (data[4 * cell] + data[4 * cell + 1] + data[4 * cell + 2]) / 3;
  return Array.from({{ length: {_COLUMNS * _ROWS} }}, grey);
}}"""


def coarse(page: Page, picture: Locator) -> list[str]:
    """Rows of its grid, a hexadecimal digit for each grey: 0 is black, f white."""
    content = base64.b64encode(picture.screenshot()).decode()
    greys = page.evaluate(_SHRUNK, f"data:image/png;base64,{content}")
    digits = "".join(f"{min(round(grey / 17), 15):x}" for grey in greys)
    return [digits[start : start + _COLUMNS] for start in range(0, len(digits), _COLUMNS)]


def difference(seen: list[str], reference: list[str]) -> tuple[float, float]:
    """Steps of grey, of 16, that two grids are apart on average; and the share of cells that are more than 3 apart."""
    apart = [abs(int(a, 16) - int(b, 16)) for a, b in zip("".join(seen), "".join(reference), strict=True)]
    return sum(apart) / len(apart), sum(one > 3 for one in apart) / len(apart)
