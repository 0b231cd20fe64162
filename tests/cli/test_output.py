"""Frames in every format, and progress for a terminal and for a file."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from actlas.cli import output
from actlas.cli.output import (
    PrintableLines,
    ProgressLine,
    as_table,
    bullet,
    folder_bytes,
    n_bytes,
    say,
    show_frame,
    step_progress,
    tell,
)
from actlas.errors import QueryError

FRAME = pl.DataFrame({"concept": ["cow", "bread"], "overlap": [0.25, None], "places": [[1, 2], None]})


def test_a_table_is_cut_and_says_so() -> None:
    table = as_table(FRAME.select("concept", "overlap"), 1)
    assert table.splitlines() == [
        " concept  overlap",
        " cow      0.2500",
        "(1 of 2 rows; --rows 0 shows all, --format csv writes all)",
    ]
    assert "bread" in as_table(FRAME, 0)


def test_every_column_of_a_wide_table_is_shown() -> None:
    wide = pl.DataFrame({f"column_{number}": [number] for number in range(60)})
    assert as_table(wide).splitlines()[0].split() == wide.columns


def test_formats_keep_lists_and_missing_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("csv", "json", "parquet"):
        show_frame(FRAME, kind, str(tmp_path / kind))
    assert pl.read_csv(tmp_path / "csv")["places"].to_list() == ["[1, 2]", None]
    assert json.loads((tmp_path / "json").read_text())[1] == {"concept": "bread", "overlap": None, "places": None}
    assert pl.read_parquet(tmp_path / "parquet").equals(FRAME)
    assert f"2 rows in {tmp_path / 'csv'}" in capsys.readouterr().err


def test_json_has_no_nan(tmp_path: Path) -> None:
    show_frame(pl.DataFrame({"ap": [float("nan")]}), "json", str(tmp_path / "json"))
    assert json.loads((tmp_path / "json").read_text()) == [{"ap": None}]


def test_sentences_are_wrapped_as_items() -> None:
    first, second = bullet("word " * 30).splitlines()
    assert first.startswith("- word")
    assert second.startswith("  word")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_rewrites_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=iter(range(100, 200)).__next__))
    line = ProgressLine()
    line.update("a long line of progress")
    line.update("done", final=True)
    line.end()
    assert screen.getvalue() == "\ra long line of progress\rdone                   \n"


def test_in_a_file_there_is_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=iter(range(100, 200, 4)).__next__))
    line = ProgressLine()
    for number in range(6):
        line.update(f"step {number}")
    line.update("the last one", final=True)
    assert capsys.readouterr().err.splitlines() == ["step 0", "step 3", "the last one"]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine(quiet=True)
    step_progress(line, "neurons")(5, 5, "here")
    line.end()
    assert capsys.readouterr().err == ""


def test_the_speed_of_each_checkpoint_is_its_own(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("actlas.cli.output.time.monotonic", lambda: now[0])
    show = step_progress(ProgressLine(), "texts")
    for seconds, done, where in ((5, 50, "a"), (10, 100, "a"), (12, 100, "b"), (20, 20, "c"), (32, 100, "c")):
        now[0] = seconds
        show(done, 100, where)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(", ")[1] for line in lines if "100 of" in line] == ["10/s", "50/s", "5/s"]


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x" * 1500)
    assert n_bytes(folder_bytes(tmp_path)) == "1.5 KB"
    assert [n_bytes(size) for size in (0, 999, 1e15)] == ["0 B", "999 B", "1000.0 TB"]


NASTY = pl.DataFrame(
    {
        "text": ["\x1b]0;x\x07cow\r\n=1", "=cmd|' /C calc'!A0"],
        "names": [["a\x9b", "\u202eb"], []],
        "at": [{"x": "\n"}, {"x": ""}],
    }
)


def test_a_table_shows_no_character_that_a_terminal_obeys() -> None:
    lines = as_table(NASTY.rename({"text": "te\nxt"}), 0).splitlines()
    assert len(lines) == 3
    assert "\\x1b]0;x\\x07cow\\r\\n=1" in lines[1]
    assert '["a\\x9b", "\\u202eb"]' in lines[1]
    assert "te\\nxt" in lines[0]


def test_json_escapes_and_csv_keeps_but_for_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show_frame(NASTY, "json", str(tmp_path / "json"))
    written = (tmp_path / "json").read_text()
    assert json.loads(written) == NASTY.to_dicts()
    assert not set(written) & set("\x1b\x07\r\x9b\u202e")
    show_frame(NASTY.select("text"), "csv", str(tmp_path / "csv"))
    assert pl.read_csv(tmp_path / "csv").equals(NASTY.select("text"))
    screen = SimpleNamespace(isatty=lambda: True, buffer=io.BytesIO(), flush=lambda: None)
    monkeypatch.setattr(sys, "stdout", screen)
    show_frame(NASTY, "csv")
    assert b"\\x1b]0;x\\x07cow\\r\\n=1" in screen.buffer.getvalue()
    assert b"\x1b" not in screen.buffer.getvalue()
    with pytest.raises(QueryError, match="parquet is bytes that no terminal shows; write it to a file with --out FILE"):
        show_frame(NASTY, "parquet")


def test_safe_csv_has_no_formulas(tmp_path: Path) -> None:
    cells = ["=cmd|x", "+1", "-a", "@SUM", "\tx", "cow", "", None]
    frame = pl.DataFrame({"=cell": cells, "n": [-1] * len(cells)})
    show_frame(frame, "csv", str(tmp_path / "csv"), is_safe=True)
    back = pl.read_csv(tmp_path / "csv")
    assert back["'=cell"].to_list() == ["'=cmd|x", "'+1", "'-a", "'@SUM", "'\tx", "cow", "", None]
    assert back["n"].to_list() == [-1] * len(cells)


def test_lines_for_people_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    tell("a\x1bb\n")
    say("a\x07")
    ProgressLine().update("lang\ruage", final=True)
    record = logging.LogRecord("actlas", logging.INFO, "", 0, "kept %s", ("\x1bx",), None)
    assert PrintableLines().format(record) == "kept \\x1bx"
    said = capsys.readouterr()
    assert (said.out, said.err) == ("a\\x07\n", "a\\x1bb\\n\nlang\\ruage\n")


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full here")
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        show_frame(FRAME, "csv", "/dev/full")
