"""A browser, and windows of it that note what must not happen: errors, and requests that leave the site."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.explore.browser.coarse import Looks, crowded, parts_of
from tests.explore.browser.planted import planted_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HERE = Path(__file__).parent
#: What windows looked like, to be seen after a test: a folder that git ignores.
SCREENSHOTS = HERE.parents[2] / ".cache" / "screenshots"
#: What pages are kept to look like from afar.
LOOKS_KEPT = Looks(HERE / "pages.json")
LOOKS = ((1280, "light"), (1280, "dark"), (400, "dark"), (400, "light"))
JUDGED = LOOKS[::2]
#: Milliseconds until a page must be whole.
PATIENCE = 30_000


_WALK = """() => {
  const all = document.querySelectorAll("a[href], button, select, input, textarea, summary, [tabindex]");
  const found = [];
  for (const one of all) {
    if (one.tabIndex < 0 || !one.checkVisibility()) continue;
    one.focus({ preventScroll: true });
    const { outlineStyle, outlineWidth } = getComputedStyle(one);
    const { width, height } = one.getBoundingClientRect();
    const name = one.outerHTML.slice(0, 120);
    if (document.activeElement !== one) found.push(`takes no focus: ${name}`);
    if (outlineStyle === "none" || parseFloat(outlineWidth) < 2) found.push(`shows no focus: ${name}`);
    if (!width || !height) found.push(`has no place: ${name}`);
    if (one.tabIndex > 0) found.push(`comes out of order: ${name}`);
  }
  document.activeElement.blur();
  return found;
}"""


class Window:
    """A page of a browser.

    Args:
        page: What the browser opened.
        site: Address of the site; nothing else may be asked.
    """

    def __init__(self, page: Page, site: str) -> None:
        self.page = page
        self.site = site
        self.faults: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: self._note(message.type in ("error", "warning"), f"console: {message.text}"))
        page.on("pageerror", lambda error: self._note(True, f"script: {error}"))
        page.on("dialog", lambda dialog: self._note(True, f"dialog: {dialog.message}"))
        page.on(
            "request", lambda request: self._note(not request.url.startswith((site, "data:", "blob:")), f"left to {request.url}")
        )

    def _note(self, is_fault: bool, line: str) -> None:
        if is_fault:
            self.faults.append(line)

    def expect_fault(self, part: str) -> None:
        """A fault that the test made itself: it must be there, and counts no more."""
        found = [fault for fault in self.faults if part in fault]
        assert found, f"no fault with {part!r} among {self.faults}"
        self.faults = [fault for fault in self.faults if part not in fault]

    def open(self, address: str) -> Page:
        """A page of the site with all its tables."""
        self.page.goto(self.site + address)
        return self.whole()

    def whole(self) -> Page:
        """The page, once all its tables have come."""
        self.page.wait_for_selector("main:not([aria-busy])")
        return self.page

    def look_around(self, name: str, is_kept: bool = True) -> None:
        """Look at the page in both themes at two widths.

        A screenshot of each is left, and compared with what the page is kept to look like; axe-core judges two of them.

        Args:
            name: Of the page.
            is_kept: Whether its looks are known.
        """
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for width, theme in LOOKS:
            self.page.set_viewport_size({"width": width, "height": 900})
            self.page.emulate_media(color_scheme=theme)
            # nothing is wider than the window: what is scrolls by itself
            assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"wider than {width}"
            # JPEG: the pages are long, and PNG takes half as long again
            picture = self.settled().screenshot(full_page=True, type="jpeg", quality=70)
            (SCREENSHOTS / f"{name}-{width}-{theme}.jpg").write_bytes(picture)
            found = crowded(self.page)
            if is_kept:
                found += LOOKS_KEPT.compare(f"{name} {width} {theme}", parts_of(self.page, picture))
            if (width, theme) in JUDGED:
                found += self.findings()
            assert not found, f"{name}, {width}, {theme}:\n" + "\n".join(found)

    def walk_by_keyboard(self) -> list[str]:
        """What the Tab key would reach and that is not seen to have the focus, has no place, or comes in another order."""
        self.page.keyboard.press("Tab")
        found: list[str] = self.page.evaluate(_WALK)
        return found

    def settled(self) -> Page:
        """The page, once its pictures have been drawn for its width."""
        self.page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))"
        )
        return self.page

    def findings(self) -> list[str]:
        """What axe-core calls serious or critical, each as a rule and the first element that breaks it."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate((HERE / "vendor" / "axe.min.js").read_text(encoding="utf-8"))
        found: dict[str, Any] = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary']}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of a file: while it runs, no other test of this process could run a loop of events."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the pages are tested where playwright is installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("the pages are tested where there is a program called chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(chromium: Browser) -> Iterator[str]:
    """Address of a site of planted answers."""
    with planted_site() as address:
        yield address


@pytest.fixture
def window(chromium: Browser, site: str) -> Iterator[Callable[..., Window]]:
    """Opens windows of a width and a theme; at the end of the test none of them may have noted anything."""
    opened: list[Window] = []

    def open_window(width: int = 1280, theme: str = "light", site: str = site, **settings: Any) -> Window:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, **settings)
        opened.append(Window(context.new_page(), site))
        return opened[-1]

    yield open_window
    for one in opened:
        one.page.context.close()
    faults = [fault for one in opened for fault in one.faults]
    assert not faults, "\n".join(faults)
