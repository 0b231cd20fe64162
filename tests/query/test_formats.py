"""A frame as bytes: every format holds the same rows, and what a spreadsheet or a terminal would act on is told from text."""

from __future__ import annotations

import io
import json

import polars as pl

from actlas.query.formats import as_arrow, as_csv, as_json, as_jsonl, as_parquet, escaped, file_parts, printable_frame

FRAME = pl.DataFrame({"concept": ["cow", "bread"], "overlap": [0.25, None], "places": [[1, 2], None]})


def test_every_format_holds_the_same_rows() -> None:
    assert pl.read_parquet(io.BytesIO(as_parquet(FRAME))).equals(FRAME)
    assert pl.read_ipc_stream(as_arrow(FRAME)).equals(FRAME)
    assert json.loads(as_json(FRAME)) == FRAME.to_dicts()
    assert [json.loads(line) for line in as_jsonl(FRAME).splitlines()] == FRAME.to_dicts()
    csv = pl.read_csv(as_csv(FRAME))
    assert csv.drop("places").equals(FRAME.drop("places"))
    assert [one and json.loads(one) for one in csv["places"]] == FRAME["places"].to_list()


def test_json_has_no_number_that_is_none_at_any_depth() -> None:
    nan, inf = float("nan"), float("inf")
    frame = pl.DataFrame({"ap": [nan, inf], "list": [[nan, 1.0], [-inf]], "struct": [{"x": nan}, {"x": 2.0}]})
    plain = [{"ap": None, "list": [None, 1.0], "struct": {"x": None}}, {"ap": None, "list": [None], "struct": {"x": 2.0}}]
    assert json.loads(as_json(frame), parse_constant=lambda name: name) == plain
    assert json.loads(pl.read_csv(as_csv(frame.select("list")))["list"][0], parse_constant=lambda name: name) == [None, 1.0]


def test_safe_csv_has_no_formula_in_cells_headings_and_fixed_lists() -> None:
    cells = ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "＝1", "＠a", "a=1", "", None]
    frame = pl.DataFrame({"=head": cells, "fixed": pl.Series(["=1"] * 12, dtype=pl.Enum(["=1"])), "n": [-1] * 12})
    back = pl.read_csv(as_csv(frame, is_safe=True))
    assert back.columns == ["'=head", "fixed", "n"]
    assert back["'=head"].to_list() == [f"'{cell}" for cell in cells[:9]] + ["a=1", "", None]
    assert set(back["fixed"]) == {"'=1"}
    assert set(back["n"]) == {-1}
    assert as_csv(frame).startswith(b"=head,fixed,n\n=1,=1,-1\n")


def test_what_a_terminal_acts_on_is_written_out() -> None:
    frame = pl.DataFrame({"a\x1b": ["\u202eb"], "list": [["\x07"]], "fixed": pl.Series(["\x9b"], dtype=pl.Enum(["\x9b"]))})
    assert printable_frame(frame).rows(named=True) == [{"a\\x1b": "\\u202eb", "list": ["\\x07"], "fixed": "\\x9b"}]
    assert json.loads(escaped('"\u202e"')) == "\u202e"
    assert "\u202e" not in escaped('"\u202e"')


def test_files_in_parts_hold_the_same_rows_and_are_never_whole() -> None:
    large = pl.DataFrame({"n": range(1_000_000), "fixed": pl.Series(["=a", "b"] * 500_000, dtype=pl.Enum(["=a", "b"]))})
    for kind, read in (("parquet", pl.read_parquet), ("arrow", pl.read_ipc_stream), ("csv", pl.read_csv)):
        parts = list(file_parts([large[:600_000], large[600_000:]], kind))
        assert max(map(len, parts)) < 8_000_000
        back = read(io.BytesIO(b"".join(parts)))
        assert back["n"].equals(large["n"])
        assert set(back["fixed"]) == ({"'=a", "b"} if kind == "csv" else {"=a", "b"})
    assert [b"".join(file_parts([FRAME[:0]], kind)) for kind in ("csv", "jsonl")] == [b"concept,overlap,places\n", b""]
