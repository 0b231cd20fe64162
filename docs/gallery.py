"""Makes docs/gallery.md and its pictures: what pages of `actlas explore` look like over a store.

    python docs/gallery.py [STORE]      the demo's store, unless told otherwise; needs the extra [dev], and chromium

Nothing is drawn by hand: the pages are opened in a browser, one link after the other as a reader would follow them, and parts of
them are kept as small pictures. A part that has nothing to show ends the script.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/gallery.md"
PICTURES = ROOT / "docs/figures/gallery"
CONCEPT = "water"
#: A picture must not be larger.
MOST_BYTES = 60_000
#: Dots of a picture for each of the page's.
SHARPNESS = 1.25

_HEAD = """# What the pages look like

<!-- made by python docs/gallery.py; changes belong there -->

`actlas explore STORE` ([explore.md](explore.md)) over the store of the [demo](demo.md), from its first page to the tokens of a
text. Under every picture stand its rows, files of them, and its SQL.
"""
#: Turns a picture of the browser into a smaller file, without what is further down.
_WEBP = """async ([source, highest]) => {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, Math.min(image.height, highest)];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/webp", 0.85);
}"""


@dataclass(frozen=True)
class Shot:
    """One picture.

    Attributes:
        name: Of its file.
        view: The view that it is taken of.
        part: The table that is shown; "" for the top of the page.
        text: What stands above the picture.
        theme: light or dark.
        width: Of the window.
        tokens: How many texts are opened to show their tokens.
        height: Of the picture; what is further down is left out.
    """

    name: str
    view: str
    part: str
    text: str
    theme: str = "light"
    width: int = 900
    tokens: int = 0
    height: int = 460

    @property
    def title(self) -> str:
        """What stands for the picture where it is not seen."""
        from actlas.explore.views import VIEWS

        view = VIEWS[self.view]
        return f"{view.title}: {view.part(self.part).title}" if self.part else view.title


SHOTS = (
    Shot("store", "store", "concepts", "The first page says what there is; a concept is a link."),
    Shot("shared", "concept", "shared", f"The concept *{CONCEPT}*: the neurons that languages share for it, the best first."),
    Shot("overlap", "concept", "overlap", "What languages share of it over training, beside chance and the ceiling."),
    Shot("pairs", "concept", "pairs", "The same for every two languages; each cell tells its number."),
    Shot("precision", "neuron", "scores", "The best shared neuron, followed over the checkpoints in every language."),
    Shot("values", "neuron", "values", "What it has on texts with the concept, and on texts without it.", "dark"),
    Shot("tokens", "neuron", "top_texts", "Its strongest texts, coloured by what it has at each token.", tokens=3),
    Shot("narrow", "neuron", "concepts", "On a telephone: every concept that it could detect.", "dark", 400),
    Shot("sql", "sql", "", "A query of one's own. Its address is a link to the answer.", height=720),
)
QUERY = f"""SELECT language, rank, site, layer, neuron, ap
FROM experts
WHERE concept = '{CONCEPT}' AND rank <= 2 ORDER BY ap DESC LIMIT 5"""


@contextmanager
def explored(store: Path) -> Iterator[str]:
    """The address of its pages, with the token, while they are served."""
    command = [sys.executable, "-m", "actlas", "--quiet", "explore", str(store)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield (process.stdout or sys.stdin).readline().strip()
        finally:
            process.send_signal(signal.SIGINT)


def main() -> None:
    from playwright.sync_api import sync_playwright

    store = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "demo-out/store.actlas")
    browser_path = shutil.which("chromium")
    if browser_path is None:
        sys.exit("the pictures are taken with chromium, which is not installed")
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    with explored(store) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 900, "height": 700}, device_scale_factor=SHARPNESS)
        page = context.new_page()
        page.goto(address)
        site = "{0.scheme}://{0.netloc}".format(urlsplit(address))
        addresses = walk(page, site)
        for shot in SHOTS:
            take(page, shot, addresses[shot.view])
        browser.close()
    texts = [f"{shot.text}\n\n![{shot.title}](figures/gallery/{shot.name}.webp)\n" for shot in SHOTS]
    PAGE.write_text("\n".join([_HEAD, *texts]), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(SHOTS)} pictures, {sum(path.stat().st_size for path in PICTURES.iterdir()):,} bytes")


def walk(page: Page, site: str) -> dict[str, str]:
    """Addresses of the views, found by following links."""
    whole(page)
    found = {"store": page.url}
    page.locator("[data-part=concepts]").get_by_role("link", name=CONCEPT, exact=True).first.click()
    page.wait_for_url("**/concept?**")
    whole(page)
    found["concept"] = page.url
    page.locator("[data-part=shared] tbody a").first.click()
    page.wait_for_url("**/neuron?**")
    whole(page)
    found["neuron"] = page.url
    page.goto(f"{site}/sql")
    whole(page)
    page.get_by_label("Query", exact=True).fill(QUERY)
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/sql?**")
    found["sql"] = page.url
    return found


def take(page: Page, shot: Shot, address: str) -> None:
    """Keep a part of a page as a picture."""
    page.emulate_media(color_scheme=shot.theme)
    page.set_viewport_size({"width": shot.width, "height": shot.height})
    if page.url != address:
        page.goto(address)
    whole(page)
    area = page.locator(f"[data-part={shot.part}]") if shot.part else page.locator("body")
    notes = area.locator(".slot > .note").all_inner_texts() if shot.part else []
    if notes:
        sys.exit(f"{shot.name}: nothing to show: {notes[0]}")
    for button in area.get_by_role("button", name="Tokens").all()[: shot.tokens]:
        button.click()
    if shot.tokens:
        area.locator(".heat").nth(shot.tokens - 1).wait_for()
    picture = base64.b64encode(area.screenshot() if shot.part else page.screenshot()).decode()
    url = page.evaluate(_WEBP, [f"data:image/png;base64,{picture}", shot.height * SHARPNESS])
    content = base64.b64decode(url.partition(",")[2])
    if len(content) > MOST_BYTES:
        sys.exit(f"{shot.name} has {len(content):,} bytes; show less of it")
    (PICTURES / f"{shot.name}.webp").write_bytes(content)


def whole(page: Page) -> None:
    """Wait until all tables have come."""
    page.wait_for_selector("main:not([aria-busy])", timeout=60_000)


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
