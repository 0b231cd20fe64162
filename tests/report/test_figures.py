from xml.etree import ElementTree

import polars as pl
import pytest

from actlas.explore.view import Part, picture
from actlas.report import figures, parts
from actlas.report.measures import gathered

DRAWN = {"overlap": parts.OVERLAP, "probe": parts.PROBE, "steering": parts.STEERING}
MATRIX = Part("m", "A matrix", "", picture("matrix", x="step", y="place", value="accuracy", facet="store"))


def drawn_of(part, *sources):
    return figures.draw(part, gathered(part, sources, label=None), "What it <shows> & why.")


def words(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("text")]


@pytest.fixture(params=DRAWN)
def drawn(request, shared, apart):
    return request.param, drawn_of(DRAWN[request.param], shared, apart)


def test_svg_is_well_formed_and_described(drawn):
    name, svg = drawn
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{name}-title {name}-text"
    assert root.find("desc").text == "What it <shows> & why."
    assert root.find("title").get("id") == f"{name}-title"


def test_svg_follows_the_page_and_reaches_for_nothing(drawn):
    _, svg = drawn
    assert "currentColor" in svg
    assert "http" not in svg
    assert "font-family" not in svg
    assert "style=" not in svg
    assert "<text" in svg


def test_figures_are_reproducible_and_their_ids_differ(shared):
    assert drawn_of(parts.OVERLAP, shared) == drawn_of(parts.OVERLAP, shared)
    ids = [
        {element.get("id") for element in ElementTree.fromstring(drawn_of(part, shared)).iter()} - {None}
        for part in (parts.OVERLAP, parts.PROBE)
    ]
    assert ids[0].isdisjoint(ids[1])


def test_overlap_is_drawn_with_its_interval_and_both_nulls(shared, apart):
    svg = drawn_of(parts.OVERLAP, shared, apart)
    for label in ("model", "control", "chance", "null", "null_independent"):
        assert words(svg).count(label) == 1
    # a null of each kind per store, and one of each kind in the legend; a band per store
    dashes = [element.get("stroke-dasharray") for element in ElementTree.fromstring(svg).iter("path")]
    assert (dashes.count("5 3"), dashes.count("1 2")) == (3, 3)
    assert svg.count('fill-opacity="0.15"') == 2
    # no twin, no line of it
    assert "twin" not in words(svg)


def test_a_random_twin_is_drawn_across_beside_its_model(twinned_store):
    frame = twinned_store.sql(parts.OVERLAP.sql).select(pl.lit("model").alias("store"), pl.all())
    svg = figures.draw(parts.OVERLAP, frame, "x")
    assert words(svg).count("twin") == 1
    dashed = [one for one in ElementTree.fromstring(svg).iter("path") if one.get("stroke-dasharray") == "9 3 2 3"]
    (across,) = [one for one in dashed if "L" in one.get("d")]
    assert across.get("stroke") == figures.STORE_COLOURS[0]
    start, end = (point.split(" ") for point in across.get("d").removeprefix("M").split("L"))
    assert start[1] == end[1]


def test_a_ratio_below_nothing_is_drawn_at_nothing(shared):
    frame = gathered(parts.RATIO, [shared]).with_columns(pl.lit(-0.5).alias("corrected_ratio"))
    assert "244.0L" in figures.draw(parts.RATIO, frame, "x")


def test_many_checkpoints_get_few_ticks_and_numbers_are_in_their_order(shared):
    frame = gathered(parts.RATIO, [shared]).head(1)
    long = pl.concat([frame.with_columns(pl.lit(str(at)).alias("step")) for at in range(43, -1, -1)])
    shown = words(figures.draw(parts.RATIO, long, "x"))
    assert shown.count("step") == 1
    assert "43" not in shown
    assert shown.index("0") < shown.index("40")


def test_deep_models_get_few_rows(shared):
    frame = gathered(parts.PROBE, [shared], label=None).filter(pl.col("place") == "embed")
    deep = pl.concat([frame.with_columns(pl.lit(f"layer{at}").alias("place")) for at in range(60)])
    shown = words(figures.draw(MATRIX, deep, "x"))
    assert "layer57" in shown
    assert "layer58" not in shown


def test_what_one_panel_lacks_stays_empty(shared, apart):
    probe = gathered(parts.PROBE, [shared, apart], label=None)
    missing = probe.filter((pl.col("store") == "control") | (pl.col("place") != "embed") | (pl.col("step") != "64"))
    whole, less = (figures.draw(MATRIX, frame, "x") for frame in (probe, missing))
    assert less.count("<rect") == whole.count("<rect") - 1
    assert "nan" not in less


def test_bars_hang_below_nothing(shared):
    part = Part("b", "Bars", "", picture("bars", x="concept", y="excess", series=["store"]))
    frame = pl.DataFrame({"store": ["a", "a", "b"], "concept": ["cow", "salt", "cow"], "excess": [0.2, -0.1, None]})
    root = ElementTree.fromstring(figures.draw(part, frame, "x"))
    above, below = (rect for rect in root.iter("rect"))
    assert float(above.get("y")) + float(above.get("height")) == pytest.approx(float(below.get("y")), abs=0.11)
    assert "-0.1" in words(ElementTree.tostring(root, encoding="unicode"))


def test_a_table_without_a_picture_or_without_rows_is_not_drawn(shared):
    assert figures.draw(parts.TWINS, gathered(parts.CHECKPOINTS, [shared]), "x") == ""
    assert figures.draw(parts.OVERLAP, gathered(parts.OVERLAP, [shared]).clear(), "x") == ""


def test_names_in_a_figure_are_escaped():
    part = Part("b", "Bars", "", picture("bars", x="concept", y="n"))
    svg = figures.draw(part, pl.DataFrame({"concept": ["<script>\x1b[2J\u202e"], "n": [1.0]}), "x")
    assert "<script" not in svg
    assert "\x1b" not in svg
    assert "\u202e" not in svg
