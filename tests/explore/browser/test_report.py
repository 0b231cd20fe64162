"""The report in a browser: drawn by its script, readable without it, whole on paper, and deaf to what a corpus would like."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.hostile import HOSTILE, hostile_report

GROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def address(chromium: object, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a report on a corpus that means harm, as a file."""
    return hostile_report(tmp_path_factory.mktemp("report")).as_uri()


@pytest.fixture
def opened(window: Callable, address: str) -> Callable:
    def open_report(width: int = 1280, theme: str = "light", **settings: object) -> object:
        reader = window(width, theme, site=address, **settings)
        reader.page.goto(address)
        return reader

    return open_report


@pytest.mark.slow
def test_figures_are_drawn_and_accessible(opened: Callable) -> None:
    reader = opened()
    reader.page.locator("figure[data-actlas=overlap] .chart svg .line").first.wait_for()
    assert reader.page.locator(".fallback").count() == 0
    reader.look_around("report")


def test_what_a_corpus_would_like_does_not_happen(opened: Callable) -> None:
    reader = opened()
    page = reader.page
    assert page.title() == HOSTILE[0]
    assert page.locator("img").count() == 0
    cells = page.locator("figure[data-actlas=question-1] td").all_inner_texts()
    assert cells[:4] == [f"{text} {at}" for at, text in enumerate(HOSTILE[:4])]
    # a script that came in otherwise would not run: the page's policy names its own by its hash
    run = "const one = document.createElement('script'); one.textContent = 'window.taken = 1'; document.body.append(one)"
    with page.expect_event("console", lambda message: "Content Security Policy" in message.text):
        page.evaluate(f"() => {{ {run}; }}")
    assert page.evaluate("window.taken") is None
    reader.expect_fault("Content Security Policy")


def test_numbers_are_taken_along_as_files(opened: Callable) -> None:
    page = opened().page
    figure = page.locator("figure[data-actlas=question-1]")
    taken = {}
    for kind in ("json", "csv"):
        with page.expect_download() as download:
            figure.get_by_role("link", name=f".{kind}").click()
        taken[kind] = Path(download.value.path()).read_text(encoding="utf-8")
    assert [row["text"] for row in json.loads(taken["json"])][:8] == [f"{text} {at}" for at, text in enumerate(HOSTILE)]
    rows = list(csv.reader(io.StringIO(taken["csv"], newline="")))
    # a spreadsheet would run the last one
    assert [row[0] for row in rows][1:9] == [f"{text} {at}" for at, text in enumerate(HOSTILE[:7])] + [f"'{HOSTILE[7]} 7"]


def test_tables_are_sorted_by_keys(opened: Callable) -> None:
    page = opened().page
    figure = page.locator("figure[data-actlas=overlap]")
    figure.locator("summary").first.press("Enter")
    head = figure.locator("th", has_text="step")
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") in ("ascending", "descending")
    once = figure.locator("td:nth-child(2)").all_inner_texts()
    head.get_by_role("button").press("Enter")
    assert figure.locator("td:nth-child(2)").all_inner_texts() == once[::-1]


def test_the_theme_is_switched_with_and_without_a_script(opened: Callable) -> None:
    for settings in ({}, {"java_script_enabled": False}):
        page = opened(theme="dark", **settings).page
        dark = page.evaluate(GROUND)
        page.get_by_label("light").check()
        assert page.evaluate(GROUND) != dark
        page.get_by_label("auto").check()
        assert page.evaluate(GROUND) == dark


def test_it_is_read_without_a_script(opened: Callable) -> None:
    page = opened(java_script_enabled=False).page
    drawn = page.locator("figure[data-actlas=overlap] .fallback svg")
    assert drawn.bounding_box()["height"] > 100
    page.locator("figure[data-actlas=overlap] summary").first.click()
    assert page.locator("figure[data-actlas=overlap] td").first.is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_paper_everything_is_there_and_nothing_is_cut(opened: Callable, theme: str) -> None:
    # as wide as a page of A4 between its margins
    page = opened(688, theme).page
    page.emulate_media(media="print", color_scheme=theme)
    assert page.evaluate(GROUND) == "rgb(255, 255, 255)"
    assert page.locator("details:not([open]) table").first.is_visible()
    assert page.locator("details:not([open]) pre").last.is_visible()
    assert not page.locator(".themes").is_visible()
    wide = "[...document.querySelectorAll('table, pre, svg')].filter((one) => one.getBoundingClientRect().right > 689)"
    assert page.evaluate(f"{wide}.map((one) => one.outerHTML.slice(0, 300))") == []
    # nor where every number of the widest table has all its digits
    page.evaluate("document.querySelectorAll('td.number').forEach((one) => (one.textContent = '-0.01234'))")
    assert page.evaluate(f"{wide}.map((one) => one.outerHTML.slice(0, 300))") == []
    assert page.pdf().startswith(b"%PDF-")


def test_heads_of_tables_are_words_alone_while_it_is_printed(opened: Callable) -> None:
    page = opened().page
    heads = page.locator("figure[data-actlas=overlap] th")
    buttons, names = page.locator("th button").count(), heads.all_text_contents()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    # a browser repeats heads on every page only where no control is in them
    assert page.locator("th button").count() == 0
    assert heads.all_text_contents() == names
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("th button").count() == buttons > 0
    assert page.locator("details[open]").count() == 0
    heads.first.locator("button").dispatch_event("click")
    assert heads.first.get_attribute("aria-sort")
