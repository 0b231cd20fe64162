"""Every page of `actlas explore` in a browser, served over a store by the command itself."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from actlas.explore.view import chosen
from actlas.explore.views import VIEWS
from actlas.query import open_store
from actlas.query.keep import Keeper
from actlas.query.schema import TABLES
from tests.explore.server.conftest import TOKEN, Started


@pytest.fixture(scope="module")
def store(example_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planted store where token values of the best shared neuron are kept; or the one that ACTLAS_EXPLORED names."""
    if "ACTLAS_EXPLORED" in os.environ:
        return Path(os.environ["ACTLAS_EXPLORED"])
    path = tmp_path_factory.mktemp("explored") / "run.actlas"
    shutil.copytree(example_store, path)
    opened = open_store(path, "a")
    shared = VIEWS["concept"].part("shared")
    params = chosen(VIEWS["concept"], {"concept": "water"}, opened.sql)
    checkpoint, best = params["checkpoint"], opened.sql(shared.sql, shared.params(params)).row(0, named=True)
    place = {name: best[name] for name in ("site", "layer", "neuron")}
    texts = opened.sql("FROM neuron_texts($checkpoint, $site, $layer, $neuron, n := 10)", {"checkpoint": checkpoint, **place})
    values, tokens = [], []
    for row in texts.iter_rows(named=True):
        words = list(re.finditer(r"\s*\S+", row["text"]))
        by_token = [row["value"] * (number + 1) / len(words) for number in range(len(words))]
        values.append({**place, "rank": row["rank"], "text_id": row["text_id"], "value": row["value"], "by_token": by_token})
        for number, word in enumerate(words):
            where = {"text_id": row["text_id"], "position": number, "token_id": number, "piece": word[0]}
            tokens.append({**where, "char_start": word.start(), "char_end": word.end(), "is_special": False})
    kept = {"token_places": pl.DataFrame(tokens), "token_values": pl.DataFrame(values)}
    with Keeper(opened, True) as keeper:
        frames = {name: TABLES[name].conform(rows.with_columns(checkpoint=pl.lit(checkpoint))) for name, rows in kept.items()}
        settings = {"of": "experts", "texts": 10, "languages": None, "concepts": None, "k": 6, "neurons": "planted"}
        keeper.put(checkpoint, frames, settings)
    opened.close()
    return path


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


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_whole_in_both_themes_at_two_widths(reader: Any, view: str) -> None:
    page = reader.open(f"/{view}")
    assert page.locator("section[data-done]").count() == page.locator("section").count() == len(VIEWS[view].parts)
    assert page.locator("[role=alert]").count() == 0
    reader.look_around(view, is_kept="ACTLAS_EXPLORED" not in os.environ)
    assert reader.walk_by_keyboard() == []


def test_three_clicks_lead_from_the_store_to_the_tokens_of_the_best_shared_neuron(reader: Any) -> None:
    page = reader.open("/?token=" + TOKEN)
    assert TOKEN not in page.url
    page.get_by_role("link", name="water", exact=True).first.click()
    page.wait_for_url("**/concept?*concept=water*")
    page.locator("[data-part=shared] tbody tr").first.get_by_role("link").first.click()
    page.wait_for_url("**/neuron?*concept=water*")
    texts = page.locator("[data-part=top_texts] li")
    texts.first.get_by_role("button", name="Tokens").click()
    tokens = texts.first.locator(".token")
    tokens.first.wait_for()
    assert "".join(tokens.all_inner_texts()).startswith(texts.first.locator(".heat").inner_text()[:5])
    shares = tokens.evaluate_all("found => found.map((each) => each.style.getPropertyValue('--share'))")
    assert "100%" in shares
    assert len(set(shares)) > 1
    assert not reader.findings()
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
