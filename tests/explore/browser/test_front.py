"""The front end in a browser, over planted answers of every kind."""

from __future__ import annotations

import pytest

LOOKS = [(width, theme) for width in (1280, 400) for theme in ("light", "dark")]


@pytest.mark.parametrize(("width", "theme"), LOOKS)
@pytest.mark.parametrize("view", ["store", "neuron", "concept", "sql"])
def test_every_kind_of_picture_is_drawn_and_accessible(window, view: str, width: int, theme: str) -> None:
    reader = window(width, theme)
    page = reader.open(f"/{view}")
    assert page.locator("section[data-done]").count() == page.locator("section").count() > 0
    assert page.locator("h1").count() == 1
    # nothing is wider than the window: what is scrolls by itself
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    reader.keep(f"planted-{view}-{width}-{theme}")
    assert not reader.findings()
