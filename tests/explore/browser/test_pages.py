"""Every page of `actlas explore` in a browser, served over a store by the command itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actlas.explore.views import VIEWS
from tests.explore.server.conftest import TOKEN, Started


@pytest.fixture(scope="module")
def store(example_store: Path) -> Path:
    """A planted store, or the one that ACTLAS_EXPLORED names, such as the demo's."""
    return Path(os.environ.get("ACTLAS_EXPLORED", example_store))


@pytest.fixture(scope="module")
def site(chromium: Any, store: Path) -> Iterator[str]:
    """Address of the pages of the store."""
    started = Started(f"shown={store}")
    yield f"http://127.0.0.1:{started.port}"
    started.end()


@pytest.fixture
def reader(window: Any, site: str) -> Any:
    """A window of someone who was given the address with the token."""
    one = window()
    one.page.context.add_cookies([{"name": f"actlas-{site.rpartition(':')[2]}", "value": TOKEN, "url": site}])
    return one


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_whole_in_both_themes_at_two_widths(reader: Any, view: str) -> None:
    page = reader.open(f"/{view}")
    assert page.locator("section[data-done]").count() == page.locator("section").count() == len(VIEWS[view].parts)
    assert page.locator("[role=alert]").count() == 0
    reader.look_around(view)


def test_three_clicks_lead_from_the_store_to_the_texts_of_the_best_shared_neuron(reader: Any) -> None:
    page = reader.open("/?token=" + TOKEN)
    assert TOKEN not in page.url
    page.get_by_role("link", name="water", exact=True).first.click()
    page.wait_for_url("**/concept?*concept=water*")
    page.locator("[data-part=shared] tbody tr").first.get_by_role("link").first.click()
    page.wait_for_url("**/neuron?*concept=water*")
    texts = page.locator("[data-part=top_texts] .text")
    texts.first.wait_for()
    assert texts.count() == 10
    assert page.evaluate("document.activeElement.tagName") == "H1"
    page.go_back()
    page.wait_for_url("**/concept?*concept=water*")


def test_a_query_is_asked_and_shared_as_an_address(reader: Any, window: Any, site: str) -> None:
    page = reader.open("/sql")
    page.get_by_label("Query", exact=True).fill("SELECT count(*) AS n FROM texts")
    page.keyboard.press("Control+Enter")
    cell = page.locator("[data-part=answer] tbody td")
    cell.wait_for()
    n_texts = cell.inner_text()
    reader.open(page.url.removeprefix(site))
    assert cell.inner_text() == n_texts
    page.get_by_label("Query", exact=True).fill("SELECT nothing FROM texts")
    page.keyboard.press("Control+Enter")
    note = page.locator("[data-part=answer] .note")
    note.wait_for()
    assert "nothing" in note.inner_text()
    with page.expect_download() as download:
        page.locator("[data-part=tables]").get_by_role("link", name=".csv").click()
    assert "experts" in download.value.path().read_text()
