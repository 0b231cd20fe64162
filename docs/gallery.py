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
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/gallery.md"
PICTURES = ROOT / "docs/figures/gallery"
CONCEPT = "water"
#: A picture must not be larger.
MOST_BYTES = 60_000

_HEAD = """# What the pages look like

<!-- made by python docs/gallery.py; changes belong there -->

`actlas explore STORE` ([explore.md](explore.md)) over the store of the [demo](demo.md), from its first page to the tokens of a
text. Under every picture stand its rows, files of them, and its SQL.
"""
#: Turns a picture of the browser into a smaller file.
_WEBP = """async (source) => {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
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
    """

    name: str
    view: str
    part: str
    text: str
    theme: str = "light"
    width: int = 900
    tokens: int = 0


SHOTS = (
    Shot("store", "store", "concepts", "The first page says what there is; a concept is a link."),
    Shot("shared", "concept", "shared", f"The concept *{CONCEPT}*: the neurons that languages share for it, the best first."),
    Shot("overlap", "concept", "overlap", "What languages share of it over training, beside chance and the ceiling."),
    Shot("pairs", "concept", "pairs", "The same for every two languages; each cell tells its number."),
    Shot("precision", "neuron", "scores", "The best shared neuron, followed over the checkpoints in every language."),
    Shot("values", "neuron", "values", "What it has on texts with the concept, and on texts without it.", "dark"),
    Shot("tokens", "neuron", "top_texts", "Its strongest texts, coloured by what it has at each token.", tokens=3),
    Shot("narrow", "neuron", "concepts", "On a telephone: every concept that it could detect.", "dark", 400),
    Shot("sql", "sql", "", "A query of one's own. Its address is a link to the answer."),
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
        context = browser.new_context(viewport={"width": 900, "height": 700}, device_scale_factor=1.5)
        page = context.new_page()
        page.goto(address)
        site = "{0.scheme}://{0.netloc}".format(urlsplit(address))
        addresses = walk(page, site)
        for shot in SHOTS:
            take(page, shot, addresses[shot.view])
        browser.close()
    texts = [f"{shot.text}\n\n![{shot.text}](figures/gallery/{shot.name}.webp)\n" for shot in SHOTS]
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
    page.set_viewport_size({"width": shot.width, "height": 620})
    if page.url != address:
        page.goto(address)
    whole(page)
    settings: dict[str, Any] = {}
    area = page.locator(f"[data-part={shot.part}]") if shot.part else page.locator("body")
    if shot.part:
        notes = area.locator(".slot > .note").all_inner_texts()
        if notes:
            sys.exit(f"{shot.name}: nothing to show: {notes[0]}")
        area.scroll_into_view_if_needed()
        box = area.bounding_box() or {}
        settings["clip"] = {**box, "height": min(box["height"], 480.0)}
    for button in area.get_by_role("button", name="Tokens").all()[: shot.tokens]:
        button.click()
    if shot.tokens:
        area.locator(".heat").nth(shot.tokens - 1).wait_for()
    picture = page.screenshot(full_page=bool(shot.part), **settings)
    url = page.evaluate(_WEBP, f"data:image/png;base64,{base64.b64encode(picture).decode()}")
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
