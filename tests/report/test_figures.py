from xml.etree import ElementTree

import polars as pl
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
    assert "<text" in svg


def test_figures_are_reproducible_and_their_ids_differ(shared):
    frame = [("model", measures.overlap_over_training(shared))]
    assert figures.overlap_figure(frame, "x") == figures.overlap_figure(frame, "x")
    ids = {
        name: {e.get("id") for e in ElementTree.fromstring(svg).iter()} - {None}
        for name, svg in (
            ("overlap", figures.overlap_figure(frame, "x")),
            ("probe", figures.probe_figure([("model", measures.probe_accuracy(shared))], "x")),
        )
    }
    assert ids["overlap"].isdisjoint(ids["probe"])


def test_many_checkpoints_get_few_ticks(shared):
    frame = measures.overlap_over_training(shared)
    long = pl.concat(
        [frame.head(1).with_columns(pl.lit(at).alias("position"), pl.lit(str(at)).alias("axis")) for at in range(44)]
    )
    svg = figures.overlap_figure([("model", long)], "x")
    assert svg.count(">step</text>") == 2
    assert ">43<" not in svg
    assert ">40<" in svg


def test_deep_models_get_few_rows(shared):
    frame = measures.probe_accuracy(shared).filter(pl.col("place") == "embed")
    deep = pl.concat(
        [frame.with_columns(pl.lit(f"layer{at}").alias("place"), pl.lit(at, pl.Int64).alias("place_order")) for at in range(60)]
    )
    svg = figures.probe_figure([("model", deep)], "x")
    assert ">layer57<" in svg
    assert ">layer58<" not in svg


def test_a_site_or_checkpoint_that_one_store_lacks_stays_empty(shared, apart):
    places = measures.expert_places(apart).filter(pl.col("site") == "mlp_pre")
    svg = figures.places_figure([("model", measures.expert_places(shared)), ("control", places)], "x")
    assert ">model: attn_out<" in svg
    assert ">control: attn_out<" not in svg
    probe = measures.probe_accuracy(shared)
    missing = probe.filter((pl.col("place") != "embed") | (pl.col("axis") != "64"))
    assert ">nan<" not in figures.probe_figure([("model", missing)], "x")
