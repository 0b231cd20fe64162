from xml.etree import ElementTree

import pytest

from actlas.report import figures, measures

DRAWN = {
    "overlap": (figures.overlap_figure, measures.overlap_over_training),
    "probe": (figures.probe_figure, measures.probe_accuracy),
    "places": (figures.places_figure, measures.expert_places),
}


@pytest.fixture(params=DRAWN)
def drawn(request, shared, apart):
    draw, measure = DRAWN[request.param]
    return request.param, draw([(source.label, measure(source)) for source in (shared, apart)], "What it <shows> & why.")


def test_svg_is_well_formed_and_described(drawn):
    name, svg = drawn
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{name}-title {name}-text"
    assert root.find("desc").text == "What it <shows> & why."
    assert root.find("title").get("id") == f"{name}-title"


def test_svg_follows_the_page_and_reaches_for_nothing(drawn):
    _, svg = drawn
    assert "currentColor" in svg
    assert "http" not in svg
    assert not any(placeholder in svg for placeholder in ("#010203", "#040506", "#070809"))
    assert "DejaVu" not in svg
    assert "<text" in svg


def test_figures_are_reproducible_and_their_ids_differ(shared):
    frame = [("model", measures.overlap_over_training(shared))]
    assert figures.overlap_figure(frame, "x") == figures.overlap_figure(frame, "x")
    ids = {
        name: {e.get("id") for e in ElementTree.fromstring(svg.replace("xlink:href", "href")).iter("clipPath")}
        for name, svg in (
            ("overlap", figures.overlap_figure(frame, "x")),
            ("probe", figures.probe_figure([("model", measures.probe_accuracy(shared))], "x")),
        )
    }
    assert ids["overlap"].isdisjoint(ids["probe"])


def test_many_checkpoints_get_few_ticks(shared):
    import polars as pl

    frame = measures.overlap_over_training(shared)
    long = pl.concat(
        [frame.head(1).with_columns(pl.lit(at).alias("position"), pl.lit(str(at)).alias("axis")) for at in range(44)]
    )
    svg = figures.overlap_figure([("model", long)], "x")
    assert svg.count(">step</text>") == 2
    assert ">43<" not in svg
    assert ">40<" in svg
