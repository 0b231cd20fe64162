import polars as pl

from actlas.demo.text import lines_of


def test_numbers_to_the_right_text_to_the_left():
    frame = pl.DataFrame({"concept": ["cow", "bread"], "n": [3, 1200], "overlap": [0.25, None]})
    assert lines_of(frame) == [
        "concept     n  overlap",
        "-------  ----  -------",
        "cow         3    0.250",
        "bread    1200        -",
    ]


def test_long_text_is_cut():
    assert lines_of(pl.DataFrame({"text": ["x" * 200]}))[-1] == "x" * 55 + "…"


def test_no_rows():
    assert lines_of(pl.DataFrame({"text": []}, schema={"text": pl.String})) == ["text", "----"]
