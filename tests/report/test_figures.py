from xml.etree import ElementTree

import polars as pl
import pytest

from actlas.report import figures, measures


def without_twins(frames, description):
    return figures.overlap_figure(frames, [(label, NO_TWIN) for label, _ in frames], description)


NO_TWIN = pl.DataFrame(schema=["checkpoint", "control", *measures.OVERLAP])
TWINNED = (measures.overlap_over_training, measures.overlap_of_twins)
DRAWN = {
    "overlap": (without_twins, measures.overlap_over_training),
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
    assert without_twins(frame, "x") == without_twins(frame, "x")
    ids = {
        name: {e.get("id") for e in ElementTree.fromstring(svg).iter()} - {None}
        for name, svg in (
            ("overlap", without_twins(frame, "x")),
            ("probe", figures.probe_figure([("model", measures.probe_accuracy(shared))], "x")),
        )
    }
    assert ids["overlap"].isdisjoint(ids["probe"])


def test_overlap_is_drawn_with_its_interval_and_both_nulls(shared, apart):
    svg = without_twins([(source.label, measures.overlap_over_training(source)) for source in (shared, apart)], "x")
    root = ElementTree.fromstring(svg)
    words = [element.text for element in root.iter("text")]
    for label in ("model", "control", "chance", "labels moved, translations together", "labels moved in each language by itself"):
        assert words.count(label) == 1
    assert "Disjoint halves: share of the ceiling, less the null" in words
    # a line and a null of each kind per store, and one of each kind in the legend; a band per store
    dashes = [element.get("stroke-dasharray") for element in root.iter("path")]
    assert (dashes.count("5 3"), dashes.count("1 2")) == (3, 3)
    assert sum(element.get("fill-opacity") == "0.15" for element in root.iter("path")) == 2
    assert "twin" not in svg


def test_a_random_twin_is_drawn_across_beside_its_model(twinned_store, apart):
    sources = (measures.Labelled("model", twinned_store), apart)
    frames, twins = ([(source.label, measure(source)) for source in sources] for measure in TWINNED)
    root = ElementTree.fromstring(figures.overlap_figure(frames, twins, "x"))
    assert [element.text for element in root.iter("text")].count("model: random-weights twin") == 1
    across = [element for element in root.iter("path") if element.get("stroke-dasharray") == "9 3 2 3"]
    assert {element.get("stroke") for element in across} == {figures.STORE_COLOURS[0]}
    start, end = (point.split(" ") for point in across[0].get("d").removeprefix("M").split("L"))
    assert start[1] == end[1]
    assert sum(element.get("fill-opacity") == "0.15" for element in root.iter("path")) == 3
    assert float(root.get("viewBox").split()[3]) == 262 + 17


def test_a_ratio_below_nothing_is_drawn_at_nothing(shared):
    frame = measures.overlap_over_training(shared).with_columns(pl.lit(-0.5).alias("corrected_ratio"))
    assert "200.0L" in without_twins([("model", frame)], "x")


def test_many_checkpoints_get_few_ticks(shared):
    frame = measures.overlap_over_training(shared)
    long = pl.concat(
        [frame.head(1).with_columns(pl.lit(at).alias("position"), pl.lit(str(at)).alias("axis")) for at in range(44)]
    )
    svg = without_twins([("model", long)], "x")
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
