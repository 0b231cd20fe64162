"""The command line: exit status, one clear line, and formats that hold the same rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from actlas.cli import parser, run
from actlas.cli.output import FORMATS
from actlas.testing.planted import Planting, planted_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cli") / "s.actlas"
    planted_store(path)
    assert run(["--quiet", "score", str(path)]) == 0
    assert run(["--quiet", "experts", str(path), "--k", "5"]) == 0
    return str(path)


def test_bad_usage_is_two_and_help_is_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert run(["frobnicate"]) == 2
    assert run(["sql"]) == 2
    assert run(["--help"]) == 0
    assert run(["--version"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "nowhere"],
        ["verify", "nowhere"],
        ["sql", "nowhere", "SELECT 1"],
        ["corpus", "import", "nothing.csv", "--out", "c"],
        ["corpus", "parallel", "eng", "--out", "c"],
        ["corpus", "info", "nowhere"],
        ["report", "nowhere", "--out", "r.html"],
    ],
)
def test_a_refused_run_is_one_with_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("actlas: ")
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_import_says_what_it_read_and_what_became_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, corpus = tmp_path / "t.tsv", str(tmp_path / "c")
    file.write_text('text\tlanguage\twater\n"sea\ten\t1.0\n\n"sea\ten\t0\nsand\ten\t\n')
    assert run(["corpus", "import", str(file), "--out", corpus]) == 0
    said = capsys.readouterr().err
    line = "3 rows read, 3 texts kept, 1 repeated, 1 contradictory, 1 unlabelled, 0 dropped"
    assert f"{line}, 1 blank lines\n" in said
    assert "warning: en: 1 of 3 texts repeat another one ('\"sea' 2 times)" in said
    assert run(["corpus", "info", corpus]) == 0
    shown = capsys.readouterr()
    assert line in shown.out
    assert "labelled both true and false for a concept ('\"sea' for water)" in shown.err
    file.write_text('text\tlanguage\n"a ""b"""\ten\n"c\ten\n')
    assert run(["corpus", "import", str(file), "--out", corpus]) == 1
    assert "say which they are: --quoting csv or --quoting none" in capsys.readouterr().err
    assert run(["corpus", "import", str(file), "--out", corpus, "--quoting", "none"]) == 0
    (tmp_path / "c" / "texts.parquet").write_bytes(b"other")
    assert run(["corpus", "info", corpus]) == 1
    assert "texts.parquet holds 5 bytes" in capsys.readouterr().err


def read_markdown(file: io.BytesIO) -> pl.DataFrame:
    names, _, *rows = [line.strip("| ").split(" | ") for line in file.read().decode().splitlines()]
    return pl.read_csv(io.StringIO("\n".join(map(",".join, [names, *rows]))))


def test_every_format_holds_the_same_rows(store: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    query = "SELECT language, concept, rank, site, layer, neuron, ap FROM experts ORDER BY ALL"
    expected = None
    readers: dict[str, Callable[[io.BytesIO], pl.DataFrame]] = {
        "json": lambda file: pl.DataFrame(json.load(file)),
        "jsonl": pl.read_ndjson,
        "csv": pl.read_csv,
        "parquet": pl.read_parquet,
        "arrow": pl.read_ipc_stream,
        "markdown": read_markdown,
    }
    assert {*readers, "table"} == set(FORMATS)
    for fmt, read in readers.items():
        assert run(["sql", store, query, "--format", fmt]) == 0
        frame = read(io.BytesIO(capfdbinary.readouterr().out))
        rows = frame.with_columns(pl.col("ap").round(9)).rows()
        expected = rows if expected is None else expected
        assert rows == expected
    assert run(["sql", store, query, "--rows", "3"]) == 0
    table = capfdbinary.readouterr().out.decode()
    assert f"(3 of {len(expected or [])} rows" in table
    assert run(["sql", store, query, "--format", "csv", "--out", str(tmp_path / "x.csv")]) == 0
    assert pl.read_csv(tmp_path / "x.csv").height == len(expected or [])


def test_info_and_verify_of_a_whole_and_a_damaged_store(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    assert run(["info", store]) == 0
    shown = capsys.readouterr().out
    assert "corpus " in shown
    assert "recipe " in shown
    assert run(["--quiet", "verify", store]) == 0
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    shard = next(path for path in sorted((copy / "cubes").rglob("c/*/*/*")) if path.is_file())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 8
    shard.write_bytes(data)
    capsys.readouterr()
    assert run(["--quiet", "verify", str(copy)]) == 1
    assert str(shard.relative_to(copy)) in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["experts", "--k", "5"],
        ["overlap", "--k", "5"],
        ["overlap", "--k", "5", "--controls"],
        ["overlap", "--k", "5", "--no-halves"],
        ["trajectory", "--k", "5"],
        ["trajectory", "--k", "5", "--first"],
        ["trajectory", "--k", "5", "--stability"],
    ],
)
def test_questions_answer(arguments: list[str], store: str, capfd: pytest.CaptureFixture[str]) -> None:
    verb, *rest = arguments
    assert run(["--quiet", verb, store, *rest, "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)


def test_a_neuron_is_named_by_site_layer_and_number(store: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", store, "SELECT site, layer, neuron FROM experts LIMIT 1", "--format", "json"]) == 0
    (best,) = json.loads(capfd.readouterr().out)
    name = f"{best['site']}/{best['layer']}/{best['neuron']}"
    assert run(["trajectory", store, "--neuron", name, "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["ap"] > 0
    assert run(["top-texts", store, "--neuron", name, "--n", "3", "--format", "json"]) == 0
    assert [row["rank"] for row in json.loads(capfd.readouterr().out)][:3] == [1, 2, 3]
    assert run(["top-texts", store, "--neuron", "mlp_pre-3"]) == 2
    assert run(["top-texts", store]) == 1


def test_a_store_of_states_is_shown_scored_and_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(planted_store(tmp_path / "s", Planting(states=("moments", "histogram"))))
    assert run(["info", path]) == 0
    assert "mlp_pre (states)" in capfd.readouterr().out
    assert run(["--quiet", "score", path]) == 0
    assert run(["--quiet", "overlap", path, "--k", "5", "--no-halves"]) == 0
    capfd.readouterr()
    assert run(["sql", path, "SELECT DISTINCT exactness FROM score_sources WHERE statistic = 'ap'", "--format", "csv"]) == 0
    assert capfd.readouterr().out.split("\n")[1] == "of 8-bit codes"
    assert run(["--quiet", "overlap", path, "--k", "5"]) == 1
    assert "--no-halves" in capfd.readouterr().err


def test_upgrade_gives_an_old_store_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    old = shutil.copytree(Path(__file__).resolve().parents[1] / "data" / "store_v1", tmp_path / "old")
    assert run(["--quiet", "verify", str(old)]) == 0
    before = capsys.readouterr()
    assert "this store has no log" in before.err
    assert run(["upgrade", str(old)]) == 0
    said = capsys.readouterr()
    assert "reading 22 of 22 shards" in said.err
    assert said.out == before.out.replace("whole", f"{old} has a log now")
    assert run(["--quiet", "verify", str(old)]) == 0
    whole = capsys.readouterr()
    assert (whole.err, whole.out.endswith("whole\n")) == ("", True)
    assert run(["upgrade", str(old)]) == 0
    assert capsys.readouterr().out == f"{old} has a log already; there is nothing to do\n"
    next(iter(sorted(old.glob("scores/*/*/ap/c/0/0/0/0")))).unlink()
    assert run(["--quiet", "verify", str(old)]) == 1


def test_verify_takes_out_what_can_be_made_again(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    copy = Path(shutil.copytree(store, tmp_path / "copy"))
    shard = sorted(copy.glob("scores/planted-step64/mlp_pre.max/ap/c/0/0/*/0"))[0]
    shard.write_bytes(b"")
    assert run(["--quiet", "verify", str(copy)]) == 1
    capsys.readouterr()
    assert run(["--quiet", "verify", str(copy), "--repair"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith(f"damaged: {shard.relative_to(copy)}: 0 bytes")
    assert f"taken out: scores/planted-step64/mlp_pre.max (actlas score {copy} makes it again)\n0 faults are left\n" in said.out
    assert run(["--quiet", "score", str(copy)]) == 0
    assert run(["--quiet", "verify", str(copy)]) == 0
    values = sorted(path for path in copy.glob("cubes/*/mlp_pre.max/value/c/0/0/0"))[0]
    values.unlink()
    assert run(["--quiet", "verify", str(copy), "--repair"]) == 1
    assert "1 faults are left: what they are in has to be extracted again" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("sql", "S", "--explain", "FROM x"),
        ("sql", "--format", "csv", "S", "--param", "a=1", "FROM x"),
        ("sql", "S", "FROM x", "--explain"),
        ("ask", "S", "--format", "csv", "best_experts", "n=1"),
        ("ask", "S", "best_experts", "--format", "csv", "n=1"),
        ("extract", "M", "--corpus", "C", "--store", "S", "N"),
    ],
)
def test_options_stand_anywhere(words: tuple[str, ...]) -> None:
    options = vars(parser().parse_args(words))
    if words[0] == "sql":
        assert options["query"] == "FROM x"
    elif words[0] == "ask":
        assert options["question"] == "best_experts"
        assert len(options["arguments"]) == 1
    else:
        assert options["models"] == ["M", "N"]


def test_what_is_missing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql"]) == 2
    assert run(["extract", "--corpus", "C", "--store", "S"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("actlas sql: the following arguments are required: ")
    assert "MODEL" in said[1]
    assert run(["sql", "S", "FROM x", "more"]) == 2
    assert capsys.readouterr().err == "actlas: unrecognized arguments: more; actlas --help says more\n"
