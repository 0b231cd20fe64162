"""Charts as SVG text: what is drawn where, gaps, and labels that stay few."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from actlas.report.svg import (
    Box,
    Line,
    colour_bar,
    colour_of,
    even_ticks,
    heat_map,
    legend,
    legend_height,
    line_chart,
    picture,
    text,
)

BOX = Box(10, 20, 112, 100)
NAN = float("nan")


def parsed(parts: list[str]) -> ElementTree.Element:
    return ElementTree.fromstring(picture("test", 200, 200, "a < b", "c & d", parts))


def test_a_line_is_drawn_to_scale_and_nan_leaves_a_gap() -> None:
    line = Line("x", (0, 1, 2, 3), (0.0, 1.0, NAN, 0.5), "#123456", is_marked=True)
    root = parsed(line_chart(BOX, "title", [line], ["0", "1", "2", "3"]))
    (path,) = [element for element in root.iter("path") if element.get("stroke") == "#123456"]
    assert path.get("d") == "M16.0 120.0L49.3 20.0M116.0 70.0"
    assert len(list(root.iter("circle"))) == 3


def test_a_band_goes_there_along_its_lower_ends_and_back_along_its_upper() -> None:
    line = Line("x", (0, 1, 2), (0.5, 0.5, NAN), "#123456", low=(0.0, 0.5, NAN), high=(0.5, 1.0, NAN))
    band, path = (
        element for element in parsed(line_chart(BOX, "t", [line], ["0", "1", "2"])).iter("path") if "M16" in element.get("d", "")
    )
    assert band.get("d") == "M16.0 120.0L66.0 70.0L66.0 20.0L16.0 70.0Z"
    assert (band.get("fill"), band.get("fill-opacity"), band.get("stroke")) == ("#123456", "0.15", None)
    assert path.get("fill") == "none"


def test_the_axis_reaches_to_the_top_of_bands() -> None:
    line = Line("x", (0, 1), (0.1, 0.1), low=(0.0, 0.0), high=(0.1, 0.9))
    labels = [element.text for element in parsed(line_chart(BOX, "t", [line], ["0", "1"])).iter("text")]
    assert "1" in labels


def test_one_step_and_no_value_at_all_can_be_drawn() -> None:
    root = parsed(line_chart(BOX, "title", [Line("x", (0,), (NAN,))], ["last"]))
    assert "last" in [element.text for element in root.iter("text")]


@pytest.mark.parametrize("highest", [1e-9, 0.02, 0.31, 0.5, 1.0, 7.0, 12345.0])
def test_ticks_cover_what_is_drawn_and_are_few(highest: float) -> None:
    ticks = even_ticks(highest)
    assert ticks[0] == 0
    assert ticks[-2] < highest <= ticks[-1] * (1 + 1e-9)
    assert 2 <= len(ticks) <= 8


def test_the_first_row_of_a_heat_map_lies_at_the_bottom() -> None:
    values = np.array([[0.0, NAN], [0.5, 1.0]])
    cells = list(parsed(heat_map(BOX, "t", values, (0.0, 1.0), ["low", "high"], ["0", "1"])).iter("rect"))
    assert [cell.get("fill") for cell in cells] == [colour_of(0), colour_of(0.5), colour_of(1)]
    assert float(cells[0].get("y", "")) > float(cells[1].get("y", ""))


def test_cells_of_a_large_heat_map_hold_no_numbers() -> None:
    few, many = (parsed(heat_map(BOX, "t", np.ones((n, n)), (0, 1), range(n), [""] * n)) for n in (3, 30))
    assert sum(element.text == "1.00" for element in few.iter("text")) == 9
    assert not any(element.text == "1.00" for element in many.iter("text"))


def test_a_legend_that_is_too_long_goes_on_below() -> None:
    lines = [Line("first label", (), ()), Line("", (), ()), Line("second label", (), ())]
    root = parsed(legend(5, 10, 120, lines))
    assert [(element.get("x"), element.get("y")) for element in root.iter("text")] == [("35.0", "10.0"), ("35.0", "27.0")]
    assert (legend_height(120, lines), legend_height(300, lines), legend_height(120, [])) == (17, 0, 0)


def test_two_bars_of_a_page_have_ids_of_their_own() -> None:
    assert 'id="a-scale"' in colour_bar("a", BOX, (0, 1), "ap")[0]
    assert 'id="b-scale"' in colour_bar("b", BOX, (0, 1), "ap")[0]


def test_words_are_escaped() -> None:
    assert text(0, 0, "<b> & 'c'") == '<text x="0.0" y="0.0">&lt;b&gt; &amp; &#x27;c&#x27;</text>'
