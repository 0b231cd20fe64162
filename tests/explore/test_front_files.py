"""The files of the front end: no way for data to become markup, and colours that can be read in both themes."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

import actlas.explore
from actlas.query.formats import as_csv

FRONT = Path(actlas.explore.__file__).parent / "front"
SCRIPT, STYLE = ((FRONT / name).read_text(encoding="utf-8") for name in ("actlas.js", "style.css"))
#: Name of a colour -> what it is in the light theme, and in the dark one.
COLOURS = {name: (light, dark) for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", STYLE)}
SERIES = [name for name in COLOURS if re.fullmatch(r"s\d", name)]


@pytest.mark.parametrize(
    "way", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser", "srcdoc"]
)
def test_the_module_knows_no_way_from_text_to_markup(way: str) -> None:
    assert way not in SCRIPT


def test_the_module_sets_no_style_that_the_policy_refuses() -> None:
    assert not re.search(r"""["']?style["']?\s*:\s*["'`]|setAttribute\(["']style""", SCRIPT)


def test_files_that_a_page_writes_defuse_what_those_of_the_server_do() -> None:
    (inside,) = re.findall(r"const safe = .*?/\^\[(.*?)\]/", SCRIPT)
    starts = re.compile(f"[{inside}]")
    for begin in map(chr, [*range(1, 127), *map(ord, "＝＋－＠＂«")]):
        written = as_csv(pl.DataFrame({"text": [f"{begin}1+1"]}), is_safe=True).decode()
        assert bool(starts.match(begin)) == ("'" + begin in written), begin


def test_the_scale_below_a_legend_is_that_of_the_pictures() -> None:
    scale = re.search(r'const SCALE = "([^"]+)"', SCRIPT)[1].split()  # type: ignore[index]
    shown = re.search(r"\.scalebar \{[^}]*gradient\(to right, ([^)]*)\)", STYLE)[1]  # type: ignore[index]
    assert re.split(r",\s*", shown) == scale


def luminance(colour: str) -> float:
    """Relative luminance of sRGB, as WCAG 2 defines it."""
    shares = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_black_and_white_are_as_far_apart_as_can_be() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("ink", ["ink", "soft", "link"])
def test_words_can_be_read_on_every_ground(theme: int, ink: str) -> None:
    for ground in ("page", "panel"):
        assert contrast(COLOURS[ink][theme], COLOURS[ground][theme]) >= 4.5, f"{ink} on {ground}"


@pytest.mark.parametrize("theme", [0, 1])
def test_words_can_be_read_on_the_hottest_token(theme: int) -> None:
    for ground in ("heat", "cold"):
        assert contrast(COLOURS["ink"][theme], COLOURS[ground][theme]) >= 4.5, ground


@pytest.mark.parametrize("theme", [0, 1])
def test_lines_and_edges_of_controls_stand_out_from_the_page(theme: int) -> None:
    assert len(SERIES) == int(re.search(r"const N_COLOURS = (\d+)", SCRIPT)[1])  # type: ignore[index]
    for name in (*SERIES, "edge"):
        assert contrast(COLOURS[name][theme], COLOURS["page"][theme]) >= 3, name


def mixed(scale: list[str], share: float) -> str:
    """The colour at a place of a scale, between its neighbours."""
    first = min(int(share * (len(scale) - 1)), len(scale) - 2)
    part = share * (len(scale) - 1) - first
    ends = [[int(colour[start : start + 2], 16) for start in (1, 3, 5)] for colour in scale[first : first + 2]]
    return "#" + "".join(f"{round(low + (high - low) * part):02x}" for low, high in zip(*ends, strict=True))


def test_the_scale_grows_lighter_and_numbers_can_be_read_on_it() -> None:
    scale = re.search(r'const SCALE = "([^"]+)"', SCRIPT)[1].split()  # type: ignore[index]
    dark = float(re.search(r"const DARK = ([\d.]+)", SCRIPT)[1])  # type: ignore[index]
    shares = [number / 200 for number in range(201)]
    colours = [mixed(scale, share) for share in shares]
    lights = [luminance(colour) for colour in colours]
    assert lights == sorted(lights)
    for share, colour in zip(shares, colours, strict=True):
        assert contrast("#ffffff" if share < dark else "#000000", colour) >= 4.5, share
