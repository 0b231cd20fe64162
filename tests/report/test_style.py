"""The style sheet: what contrast its colours have, that it needs no file, and what it says about paper."""

import re

import pytest

from actlas.report.figures import STORE_COLOURS
from actlas.report.style import STYLE

COLOURS = {name: (light, dark) for name, light, dark in re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", STYLE)}


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_words_are_read_and_lines_are_seen_in_both_themes(theme):
    for ink in ("ink", "soft", "link"):
        for ground in ("page", "panel"):
            assert contrast(COLOURS[ink][theme], COLOURS[ground][theme]) >= 4.5, (ink, ground)
    for colour in STORE_COLOURS:
        assert contrast(colour, COLOURS["page"][theme]) >= 3, colour


def test_braces_are_even_and_nothing_is_fetched():
    assert STYLE.count("{") == STYLE.count("}")
    for word in ("url(", "@import", "<"):
        assert word not in STYLE


def test_on_paper_everything_is_open_and_rows_are_whole():
    paper = STYLE.rpartition("@media print")[2]
    assert "details::details-content { content-visibility: visible" in paper
    assert re.search(r"\.themes \{ display: none", paper)
    assert re.search(r"\.actlas tr \{ break-inside: avoid", paper)
    # heads of tables and legends are buttons, but what they say is wanted on paper, too
    assert "button" not in paper
