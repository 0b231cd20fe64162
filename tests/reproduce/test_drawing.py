from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import polars as pl

from actlas.query import open_store
from actlas.reproduce.compression import OVERLAP, TRAJECTORIES
from actlas.reproduce.drawing import _looks, draw, standalone
from actlas.reproduce.gather import gather

SVG = "{http://www.w3.org/2000/svg}"


def drawn(figure, runs, *sides):
    answer = gather(figure, *([open_store(runs[name]) for name in side] for side in sides))
    return ElementTree.fromstring(standalone(draw(answer, "What it says.")))


def texts(svg):
    return [element.text for element in svg.iter(f"{SVG}text")]


def test_a_figure_alone_is_a_whole_document(runs):
    svg = drawn(OVERLAP, runs, ["model"], ["control"])
    assert svg.find(f"{SVG}title").text == OVERLAP.title
    assert svg.find(f"{SVG}desc").text == "What it says."
    assert ".rule" in svg.find(f"{SVG}style").text


def test_model_and_control_stand_beside_each_other_on_one_scale(runs):
    words = texts(drawn(OVERLAP, runs, ["model"], ["control"]))
    assert {"model: overlap", "control: overlap", "null: translations together", "chance"} <= set(words)
    # the control's overlap is small, and its axis reaches as far as the model's
    assert words.count("0.8") == 2


def test_a_figure_of_two_parts_has_a_row_of_panels_each(runs):
    words = texts(drawn(TRAJECTORIES, runs, ["model"], ["control"]))
    assert {"model: neurons per concept", "control: neurons per concept", "model: lowest ap over languages"} <= set(words)


def test_what_lines_are_held_against_is_thin():
    named = ["texts in es", "es, nothing forced", "es, random neurons", "random", "next"]
    thin = {name for name, (_, width, _) in _looks(named).items() if width == 1}
    assert thin == set(named[1:])


def test_lines_stay_in_their_panel_where_checkpoints_are_left_out(runs):
    answer = gather(OVERLAP, [open_store(runs["model"])], [])
    # as of checkpoints that wrote no texts: positions count all of them
    moved = {side: frame.with_columns(pl.col("position") * 3 + 2) for side, frame in answer.sides.items()}
    assert draw(replace(answer, sides=moved), "") == draw(answer, "")


def test_without_a_control_there_is_one_panel(runs):
    assert not any(word.startswith("control") for word in texts(drawn(OVERLAP, runs, ["model"], [])))
