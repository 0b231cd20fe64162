"""The front end in a browser, over planted answers of every kind."""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path

import pytest

from tests.explore.browser import planted
from tests.explore.browser.coarse import coarse, crowded, difference, parts_of
from tests.explore.browser.conftest import LOOKS_KEPT

#: How the planted pictures look from afar; written anew where ACTLAS_WRITE_PICTURES is set.
REFERENCE = Path(__file__).parent / "pictures.json"


@pytest.mark.parametrize("view", ["store", "neuron"])
def test_every_kind_of_picture_is_drawn_and_accessible(window, view: str) -> None:
    reader = window()
    page = reader.open(f"/{view}")
    assert page.locator("section[data-done]").count() == page.locator("section").count() > 0
    assert page.locator("h1").count() == 1
    reader.look_around(f"planted-{view}")
    assert reader.walk_by_keyboard() == []


def test_a_page_is_whole_when_it_is_twice_as_large_and_still_where_that_is_asked(window) -> None:
    # a browser that zooms to 200 % has half as many pixels of a page beside each other
    reader = window(640, device_scale_factor=2, reduced_motion="reduce")
    page = reader.open("/store")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert crowded(reader.settled()) == []
    assert page.evaluate("getComputedStyle(document.querySelector('main > section')).transitionDuration") == "0s"


def test_a_reader_with_keys_alone_comes_to_the_content_and_to_what_it_leads_to(window) -> None:
    reader = window()
    page = reader.open("/concept")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "concept"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('td a')"):
            break
    page.keyboard.press("Enter")
    page.locator("[data-part=texts]").wait_for()
    assert page.url.endswith("/neuron")
    assert page.evaluate("document.activeElement.tagName") == "H1"


@pytest.mark.slow
def test_pictures_look_from_afar_as_they_did(window) -> None:
    page = window(1000).open("/store")
    kept = json.loads(REFERENCE.read_text())
    for theme, name in product(("light", "dark"), ("lines", "matrix", "panels", "bars", "layers", "ranges", "histogram")):
        page.emulate_media(color_scheme=theme)
        seen = coarse(page, page.locator(f"[data-part={name}] .chart svg"))
        if os.environ.get("ACTLAS_WRITE_PICTURES"):
            kept[f"{name} {theme}"] = seen
            REFERENCE.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        mean, share = difference(seen, kept[f"{name} {theme}"])
        is_alike = mean < 0.6 and share < 0.02
        assert is_alike, f"{name} in {theme}, {mean:.2f} and {share:.3f} apart:\n" + "\n".join(seen)


def test_the_theme_is_switched_and_kept(window) -> None:
    reader = window(theme="light")
    page = reader.open("/store")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_label("Theme").select_option("dark")
    dark = page.evaluate(ground)
    assert dark != light
    reader.open("/concept")
    assert page.evaluate(ground) == dark
    page.get_by_label("Theme").select_option("auto")
    assert page.evaluate(ground) == light


def test_tables_are_sorted_by_mouse_and_by_keyboard(window) -> None:
    page = window().open("/store")
    rows = page.locator("[data-part=rows]")
    first = rows.locator("tbody tr").first.locator("td").first
    assert first.inner_text() == "0"
    head = rows.locator("th").first
    head.locator("button").click()
    assert (head.get_attribute("aria-sort"), first.inner_text()) == ("descending", "4999")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert (head.get_attribute("aria-sort"), first.inner_text()) == ("ascending", "0")
    rows.locator("th button").nth(1).focus()
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") is None
    assert rows.locator("tbody tr").first.locator("td").nth(1).inner_text() == "row 0"
    assert "Sorted by name" in page.get_by_role("status").inner_text()


def test_rows_that_are_left_out_are_said_and_more_are_shown_when_asked(window) -> None:
    page = window().open("/store")
    rows = page.locator("[data-part=rows]")
    assert "1,000 of 6,000 rows are left out here" in rows.inner_text()
    assert rows.locator("tbody tr").count() == 40
    rows.get_by_role("button", name="Show more").click()
    assert rows.locator("tbody tr").count() == 200
    # more at once would keep the page from answering: the next ones take their place
    rows.get_by_role("button", name="After").click()
    assert (rows.locator("tbody tr").count(), rows.locator("tbody td").first.inner_text()) == (200, "200")
    assert "201 to 400 of 5,000 rows" in rows.inner_text()
    rows.get_by_role("button", name="Before").click()
    assert rows.locator("tbody td").first.inner_text() == "0"


def test_every_table_has_its_files_and_its_query(window) -> None:
    page = window().open("/store?checkpoint=first")
    part = page.locator("[data-part=lines]")
    for kind in ("json", "csv", "parquet"):
        address = part.get_by_role("link", name=f".{kind}").get_attribute("href")
        assert f"/data/store/lines.{kind}?" in address
        assert "checkpoint=first" in address
    part.get_by_text("SQL", exact=True).click()
    assert "AS overlap" in part.locator("pre").inner_text()
    part.get_by_text("Table", exact=True).click()
    part.locator("tbody tr").nth(19).wait_for()
    part.get_by_role("link", name="Change this query").click()
    page.wait_for_selector("textarea")
    assert "AS overlap" in page.locator("textarea").input_value()
    page.locator("[data-part=answer] tbody tr").first.wait_for()


def test_what_was_not_computed_is_a_line_with_the_command_that_does_it(window) -> None:
    page = window().open("/store")
    assert "compute it: actlas overlap STORE" in page.locator("[data-part=missing] .note").inner_text()
    assert "No row" in page.locator("[data-part=none] .note").inner_text()


def test_one_of_many_values_is_found_by_typing_and_the_address_says_it(window) -> None:
    reader = window()
    page = reader.open("/store")
    field = page.get_by_role("combobox", name="neuron")
    field.click()
    options = page.get_by_role("listbox", name="neuron").get_by_role("option")
    assert options.count() == 201
    field.fill("299")
    assert options.all_inner_texts() == ["299", "1299", "2299", "2990", *(f"{number}" for number in range(2991, 3000))]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**neuron=1299**")
    reader.whole()
    assert page.evaluate("document.activeElement.name") == "neuron"
    assert page.get_by_role("combobox", name="neuron").input_value() == "1299"
    page.get_by_label("sentence").fill("مرحبا")
    page.keyboard.press("Enter")
    page.wait_for_url("**sentence=%D9**")
    assert "neuron=1299" in page.url
    page.go_back()
    page.wait_for_url("**sentence=")
    reader.whole()
    page.go_back()
    reader.whole()
    assert page.get_by_role("combobox", name="neuron").input_value() == "0"


def test_a_choice_that_the_new_one_does_not_allow_is_made_again(window) -> None:
    reader = window()
    page = reader.open("/concept?concept=water&word=water2")
    page.get_by_label("concept").select_option("fire")
    page.wait_for_url("**concept=fire**")
    reader.whole()
    assert page.get_by_label("word").input_value() == "fire1"
    reader.expect_fault("400")


def test_a_picture_is_read_with_the_pointer_and_with_the_arrow_keys(window) -> None:
    reader = window()
    page = reader.open("/store")
    chart = page.get_by_role("group", name="Lines over steps")
    chart.hover()
    assert "step 512" in page.locator(".tip").inner_text()
    assert page.locator(".tip").inner_text().count("chance 0.1") == 4
    page.mouse.move(0, 0)
    chart.focus()
    page.keyboard.press("ArrowRight")
    assert "step 0" in page.get_by_role("status").inner_text()
    page.keyboard.press("ArrowRight")
    assert "step 64" in page.get_by_role("status").inner_text()
    # a series that is taken out is not drawn
    lines = page.locator("[data-part=lines] svg .line")
    before = lines.count()
    page.locator("[data-part=lines]").get_by_role("button", name="fr").click()
    assert lines.count() == before - 1
    # a cell leads on
    matrix = page.get_by_role("group", name="Languages by language")
    matrix.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    page.wait_for_url("**/concept?**")


def test_levels_to_hold_values_against_are_drawn_named_and_told(window) -> None:
    page = window().open("/store")
    for part, n_rows in (("layers", 12), ("ranges", 8)):
        assert page.locator(f"[data-part={part}] svg .level").count() == n_rows
        assert "chance" in page.locator(f"[data-part={part}] .legend").inner_text()
    page.get_by_role("group", name="Bars over numbers").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("status").inner_text() == "layer 0, share -20 (-29 to -11), chance 30"
    # steps that are not to scale say so
    assert "step, evenly spaced" in page.locator("[data-part=lines] .chart svg").text_content()


def test_texts_are_shown_as_they_are_and_harm_nothing(window) -> None:
    page = window().open("/neuron")
    shown = page.locator(".text").all_inner_texts()
    assert shown[0] == planted.MARKUP
    assert shown[1] == "userU+202Egnp.exe"
    assert shown[2] == "red U+001B[31m alertU+0007 and a nul U+0000"
    assert shown[3:9] == list(planted.TEXTS[3:9])
    assert page.title() != "taken"
    directions = page.locator(".text").evaluate_all("found => found.map((each) => getComputedStyle(each).direction)")
    assert [planted.TEXTS[place] for place, found in enumerate(directions) if found == "rtl"] == [planted.ARABIC]


def test_tokens_are_coloured_without_breaking_a_character(window) -> None:
    page = window().open("/neuron")
    for button in page.get_by_role("button", name="Tokens").all():
        button.click()
    heats = page.locator(".heat")
    heats.nth(9).wait_for()
    pieces = heats.evaluate_all(
        "found => found.map((each) => [...each.querySelectorAll('.token')].map((one) => one.textContent))"
    )
    # the mark of the beginning is a piece by itself; the family, the accents and the vowel signs stay with what they belong to
    assert all(found[0] == "<s>" for found in pieces)
    assert "".join(pieces[4][1:]) == planted.ARABIC
    assert pieces[7][1] == "👩‍👩‍👧"
    assert {"e\u0301", "n\u0303"} <= set(pieces[8])
    assert "दी" in pieces[5]
    first = heats.nth(6)
    first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.get_by_role("status").inner_text() == "<0>: 2.5; <1>: 3"
    # both colours are told what they mean: values of this text lie below 0, too
    assert page.locator("[data-part=texts] .legend").first.inner_text().split()[:2] == ["-5", "5"]
    # in a text from right to left the next piece lies to the left
    heats.nth(4).focus()
    told = []
    for key in ("Down", "Left", "Left", "Right"):
        page.keyboard.press(f"Arrow{key}")
        told.append(page.get_by_role("status").inner_text().partition(":")[0])
    assert told == ["<s>", *("<0>",) * 3]
    assert heats.nth(4).locator(".picked").inner_text() == planted.ARABIC[0]
    page.get_by_role("button", name="Tokens").first.click()
    assert page.locator(".heat").count() == 9
    assert "planted" in page.locator("[data-part=texts] .legend").first.inner_text()


def test_a_typed_sentence_is_read_or_it_is_said_what_is_missing(window) -> None:
    page = window().open("/neuron")
    page.get_by_text("Read a sentence of your own").click()
    page.get_by_label("In any language").fill("agua")
    page.get_by_role("button", name="This neuron").click()
    page.get_by_text("a typed text has to be read").first.wait_for()


def test_stretches_know_offsets_in_characters(window) -> None:
    page = window().open("/neuron")
    found = page.evaluate(
        """async () => {
          const { stretches } = await import("/front/actlas.js");
          const tokens = [[0, 1], [1, 2], [1, 2], [2, 4], [4, 4]].map(([start, end]) => ({ start, end }));
          return [stretches("a😀bc", tokens), stretches("", []), stretches("", [{ start: 0, end: 0 }]), stretches("ab", [])];
        }"""
    )
    assert [(one["text"], one["tokens"]) for one in found[0]] == [("a", [0]), ("😀", [1, 2]), ("bc", [3]), ("", [4])]
    assert [len(one) for one in found[1:]] == [0, 1, 1]


def test_sql_is_completed_run_by_keyboard_and_kept_as_a_link(window) -> None:
    reader = window()
    page = reader.open("/sql")
    field = page.get_by_label("Query", exact=True)
    field.press_sequentially("FROM pl")
    page.get_by_role("option", name="planted_texts").wait_for()
    page.keyboard.press("Tab")
    assert field.input_value() == "FROM planted_texts"
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/sql?query=FROM+planted_texts")
    reader.whole()
    assert page.locator("[data-part=answer] tbody tr").count() == len(planted.TEXTS)
    page.get_by_label("Name of the query to keep").fill("mine")
    page.get_by_role("button", name="Keep").click()
    field.fill("SELECT 'not'\nFROM nowhere")
    page.keyboard.press("Control+Enter")
    page.get_by_text("no table of this name").wait_for()
    page.get_by_role("link", name="mine").click()
    page.locator("[data-part=answer] tbody tr").first.wait_for()
    assert page.get_by_label("Query", exact=True).input_value() == "FROM planted_texts"


def test_what_cannot_be_shown_is_one_line(window) -> None:
    reader = window()
    page = reader.open("/nowhere")
    assert page.get_by_role("alert").inner_text() == "'nowhere'"
    reader.expect_fault("400")
    reader.open("/store?checkpoint=middle")
    assert "no checkpoint 'middle'" in page.get_by_role("alert").inner_text()
    reader.expect_fault("400")
    page.get_by_role("link", name="concept").click()
    page.locator("[data-part=chosen]").wait_for()


def test_what_was_asked_before_does_not_come_after(window) -> None:
    reader = window()
    page = reader.open("/concept")
    page.get_by_label("concept").select_option(planted.SLOW)
    page.get_by_label("concept").select_option("en")
    page.wait_for_url("**concept=en**")
    reader.whole()
    page.wait_for_timeout(600)
    assert "concept=en" in page.url
    assert page.locator("[data-part=chosen] tbody td").first.inner_text() == "en"
    # the word that belonged to the other concept
    reader.expect_fault("400")


def test_a_server_that_is_gone_is_one_line_and_the_way_back_stays(window) -> None:
    reader = window()
    page = reader.open("/concept")
    page.context.set_offline(True)
    page.get_by_role("link", name="neuron", exact=True).click()
    page.get_by_text("the server does not answer").wait_for()
    page.context.set_offline(False)
    page.go_back()
    page.locator("[data-part=chosen] tbody td").first.wait_for()
    reader.expect_fault("ERR_INTERNET_DISCONNECTED")


def test_a_report_is_drawn_from_what_it_carries(window) -> None:
    reader = window()
    page = reader.open("/report")
    figure = page.locator("figure")
    figure.locator(".chart svg .bar").first.wait_for()
    assert figure.locator("svg.fallback").count() == 0
    with page.expect_download() as download:
        figure.get_by_role("link", name=".csv").click()
    assert download.value.path().read_text().splitlines()[:2] == ["language,label,n_experts", "en,a,2"]
    head = page.locator("main > table th").nth(1)
    head.get_by_role("button").click()
    cells = page.locator("main > table td:first-child")
    assert (head.get_attribute("aria-sort"), cells.all_inner_texts()) == ("descending", ["a", "b", "c"])
    assert not reader.findings()


def test_the_widget_asks_its_model(window) -> None:
    reader = window()
    page = reader.open("/report")
    page.evaluate(
        """async () => {
          const { default: widget } = await import("/front/actlas.js");
          const state = { view: "concept", params: { concept: "fire" } };
          let heard;
          const model = {
            get: (name) => state[name],
            set: (name, value) => (state[name] = value),
            save_changes: () => (window.saved = { ...state }),
            on: (name, listen) => name === "msg:custom" && (heard = listen),
            off: () => {},
            async send({ id, ask, view, part, params }) {
              const query = new URLSearchParams(params);
              const path = ask === "describe" ? `/data/${view}.json` : `/data/${view}/${part}.json`;
              const response = await fetch(`${path}?${query}`);
              heard(response.ok ? { id, answer: await response.json() } : { id, error: { text: await response.text() } });
            },
          };
          const el = document.body.appendChild(document.createElement("div"));
          el.id = "widget";
          widget.render({ model, el });
        }"""
    )
    widget = page.locator("#widget")
    widget.get_by_role("button", name="fire").wait_for()
    widget.get_by_label("concept").select_option("water")
    widget.get_by_role("button", name="water").wait_for()
    # the word that belonged to the other concept is chosen anew
    reader.expect_fault("400")
    assert page.evaluate("saved") == {"view": "concept", "params": {"concept": "water"}}
    widget.get_by_role("button", name="water").click()
    widget.locator(".text").first.wait_for()


#: What a person would see at once -> how it is done to a page that is right.
HARM = {
    "a picture is missing": "document.querySelector('[data-part=lines] .picture').remove()",
    "a picture is empty": "document.querySelectorAll('[data-part=matrix] .chart svg *').forEach((one) => one.remove())",
    "a part is missing": "document.querySelector('[data-part=bars]').remove()",
    "it has no style": "document.querySelector('link[rel=stylesheet]').disabled = true",
    "parts lie over each other": "document.querySelector('[data-part=bars]').style.marginTop = '-160px'",
    "a part is cut off": "document.querySelector('[data-part=bars]').style.cssText = 'overflow: hidden; height: 120px'",
    "labels are cut off": "document.querySelector('[data-part=bars] .chart svg').style.marginLeft = '-30px'",
    "it is dark": "document.documentElement.dataset.theme = 'dark'",
}
#: Makes the page as it was.
UNDO = """() => {
  const main = document.querySelector("main");
  window.whole ??= main.cloneNode(true);
  main.replaceWith(window.whole.cloneNode(true));
  document.documentElement.dataset.theme = "";
  document.querySelector("link[rel=stylesheet]").disabled = false;
}"""


def _unlike(reader, name: str) -> list[str]:
    picture = reader.settled().screenshot(full_page=True, type="jpeg", quality=70)
    return crowded(reader.page) + LOOKS_KEPT.compare(name, parts_of(reader.page, picture))


def test_a_page_that_is_not_right_is_told_from_one_that_is(window) -> None:
    reader = window()
    page = reader.open("/store")
    missed = []
    for harm, script in HARM.items():
        page.evaluate(UNDO)
        page.evaluate(script)
        if not _unlike(reader, "planted-store 1280 light"):
            missed.append(harm)
    assert missed == []
    page.evaluate(UNDO)
    assert _unlike(reader, "planted-store 1280 light") == []


@pytest.mark.parametrize(("font", "width"), [("DejaVu Serif", 1280), ("DejaVu Sans Mono", 400), ("Noto Serif", 400)])
def test_a_page_looks_the_same_from_afar_in_another_font(window, font: str, width: int) -> None:
    reader = window(width)
    page = reader.open("/store")
    page.evaluate(f"document.querySelector('.actlas').style.fontFamily = {font!r}")
    assert _unlike(reader, f"planted-store {width} light") == []
