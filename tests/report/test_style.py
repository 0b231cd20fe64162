"""The style sheet: what contrast its colours have, that it needs no file, and what it says about paper."""

import re

import pytest

from actlas.report.style import STYLE


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "soft", "link"])
@pytest.mark.parametrize("ground", ["page", "panel"])
def test_words_are_read_in_both_themes(scheme, ink, ground):
    (block,) = {found for found in re.findall(r"\{ (--page[^}]*)\}", STYLE) if f"color-scheme: {scheme}" in found}
    colours = dict(re.findall(r"--(\w+): (#\w{6})", block))
    assert contrast(colours[ink], colours[ground]) >= 4.5


def test_braces_are_even_and_nothing_is_fetched():
    assert STYLE.count("{") == STYLE.count("}")
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert "<" not in STYLE


def test_on_paper_everything_is_open_and_nothing_can_be_pressed():
    _, _, paper = STYLE.partition("@media print")
    assert "details-content" in paper
    assert re.search(r"button \{ display: none", paper)
    assert "break-inside: avoid" in paper
