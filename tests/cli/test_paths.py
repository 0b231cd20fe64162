"""A store answers the same in a folder of any name: no part of a path is a pattern, a partition, a home folder or an option."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actlas.cli import run
from actlas.testing.planted import Planting, planted_store
from actlas.words import printable

#: Folders that a store lies in, and the name of the store itself.
NASTY = (
    "language=xx/k=9/settings=1/run.actlas",
    "checkpoint=zz",
    "run[12]",
    "[!a]*/**",
    "q?/[",
    'it\'s "so" $HOME %20 # ;--/new\nline',
    "~",
    "a\\b/{x,y}/file:/c/0",
)

VERBS = (
    ("experts", "STORE", "--k", "4"),
    ("experts", "STORE", "--k", "3", "--site", "mlp_pre"),
    ("overlap", "STORE", "--k", "4", "--seed", "1"),
    ("lape", "STORE", "--share", "0.05"),
    ("trajectory", "STORE", "--k", "4"),
    ("trajectory", "STORE", "--neuron", "mlp_pre/1/3"),
    ("probe", "STORE", "--seeds", "1"),
    ("top-texts", "STORE", "--neuron", "mlp_pre/1/3", "--n", "3"),
    ("top-texts", "STORE", "--site", "attn_out", "--n", "2"),
    *(
        ("sql", "STORE", query)
        for query in (
            "SELECT * FROM experts ORDER BY ALL",
            "SELECT * FROM experts_by_settings ORDER BY ALL",
            "SELECT * FROM overlap ORDER BY ALL",
            "SELECT checkpoint, count(*) FROM probe GROUP BY ALL ORDER BY ALL",
            "SELECT * FROM texts ORDER BY ALL",
            "SELECT * FROM labels ORDER BY ALL",
            "SELECT * FROM tokens ORDER BY ALL LIMIT 50",
            "SELECT * FROM sampled_tokens ORDER BY ALL LIMIT 50",
            "SELECT * FROM settings ORDER BY ALL",
            "SELECT * FROM score_sources ORDER BY ALL",
            "SELECT * FROM scores WHERE concept = 'salt' AND language = 'en' ORDER BY ALL",
            "SELECT * FROM activations WHERE site = 'mlp_pre' AND layer = 1 AND neuron = 3 ORDER BY ALL",
            "SHOW TABLES",
        )
    ),
    ("info", "STORE"),
    ("--quiet", "verify", "STORE"),
    ("corpus", "info", "CORPUS"),
)


def answers(store: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> list[tuple[int, str]]:
    """Exit status and output of every verb, the store's own name left out."""
    said = []
    for verb in VERBS:
        places = {"STORE": str(store), "CORPUS": str(corpus)}
        output = () if verb[0] in ("info", "--quiet", "corpus") else ("--format", "csv")
        status = run([*(places.get(part, part) for part in verb), *output])
        text = capsys.readouterr().out
        said.append((status, text.replace(str(store), "STORE").replace(printable(str(store)), "STORE")))
    said.append((run(["report", str(store), "--out", str(store.with_name("report.html")), "--title", "T"]), ""))
    capsys.readouterr()
    return said


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A scored store with kept tables and a corpus, and one with other texts and scores to be mistaken for it."""
    folder = tmp_path_factory.mktemp("paths")
    made = []
    for name, seed in (("right", 0), ("wrong", 1)):
        planting = Planting(languages=("en", "es"), concepts=("salt", "water"), steps=(0, 64), sharing=(0.0, 1.0), seed=seed)
        store = planted_store(folder / name / "store", planting)
        assert run(["--quiet", "score", str(store), "--stats", "ap,mean"]) == 0
        assert run(["--quiet", "experts", str(store), "--k", "5", "--out", str(folder / "out.csv")]) == 0
        (folder / "t.csv").write_text(f"text,language,salt\nsea {seed},en,1\nsand,en,0\n")
        assert run(["corpus", "import", str(folder / "t.csv"), "--out", str(folder / name / "corpus")]) == 0
        made.append(folder / name)
    return made[0], made[1]


def put(folder: Path, at: Path) -> None:
    shutil.copytree(folder / "store", at, dirs_exist_ok=True)
    shutil.copytree(folder / "corpus", at.with_name(at.name + "-corpus"), dirs_exist_ok=True)


@pytest.mark.parametrize("name", NASTY)
def test_every_verb_answers_as_in_a_plain_folder(
    folders: tuple[Path, Path],
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    known: list[list[tuple[int, str]]],
) -> None:
    right, wrong = folders
    if not known:
        put(right, tmp_path / "plain")
        known.append(answers(tmp_path / "plain", tmp_path / "plain-corpus", capsys))
        failed = [verb for verb, (status, _) in zip((*VERBS, ("report",)), known[0], strict=True) if status]
        assert not failed
    for decoy in ("run1", "aXb", "$HOME", "q!/x"):
        put(wrong, tmp_path / decoy)
    put(right, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert answers(Path(name), Path(f"{name}-corpus"), capsys) == known[0]


@pytest.fixture(scope="module")
def known() -> list[list[tuple[int, str]]]:
    """What every verb says in a plain folder, once it was asked."""
    return []


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_tables_are_imported_from_folders_of_any_name(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import polars as pl

    frame = pl.DataFrame({"text": ["sea", "sand"], "language": ["en", "en"], "salt": [True, False]})
    prints = set()
    for name in ("plain", "run[12]", "language=xx", "~", "new\nline", "q?*"):
        for folder, rows in ((tmp_path / "run1", frame.reverse()), (tmp_path / name, frame)):
            folder.mkdir(exist_ok=True)
            file = folder / f"t.{suffix}"
            if suffix == "parquet":
                with file.open("wb") as opened:
                    rows.write_parquet(opened)
            elif suffix in ("csv", "tsv"):
                file.write_text(rows.write_csv(separator="," if suffix == "csv" else "\t"))
            else:
                file.write_text(rows.write_json() if suffix == "json" else rows.write_ndjson())
        assert run(["corpus", "import", str(file), "--out", str(tmp_path / name / "corpus")]) == 0
        prints.add(capsys.readouterr().err.rpartition("fingerprint ")[2])
    assert len(prints) == 1
