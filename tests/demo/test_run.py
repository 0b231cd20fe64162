import os
import shutil
import stat
import subprocess
import sys

import pytest

from actlas.cli import run
from actlas.demo import run as run_module
from actlas.demo.run import demo_sections, run_demo
from actlas.demo.settings import LABELS, STORES, seconds_file
from actlas.errors import ExtractionError
from actlas.query import (
    expert_overlap,
    open_store,
    overlap_controls,
    overlap_tests,
    score_neurons,
    top_experts,
    train_probes,
)
from actlas.testing.planted import Planting, planted_store
from tests.reproduce.made import with_generations

SITES = ("attn_out", "mlp_pre")


def answered(path, planting):
    store = open_store(planted_store(path, planting), mode="a")
    score_neurons(store, sites=SITES, stats=("ap", "median", "p90"))
    top_experts(store, k=6)
    expert_overlap(store, k=6)
    overlap_controls(store, k=6)
    overlap_tests(store, k=6, by="concept", checkpoints=["planted-step128"], n_repeats=99)
    train_probes(store, seeds=(0,), c=0.1)
    with_generations(store)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    out = tmp_path_factory.mktemp("planted")
    for condition, sharing in (("multi", (0.0, 0.5, 1.0)), ("mono", (0.0, 0.0, 0.0))):
        answered(out / STORES[condition], Planting(sharing=sharing))
    return out


@pytest.fixture
def planted_conditions(monkeypatch, planted):
    """Both conditions planted instead of trained."""

    def plant(out, progress, seed):
        for condition, store in STORES.items():
            shutil.copytree(planted / store, out / store)
            seconds_file(out, condition).write_text('{"train": 1.5}')
            progress(f"{condition}: planted with seed {seed}")

    monkeypatch.setattr(run_module, "run_conditions", plant)


def test_the_command_shows_both_conditions_and_writes_a_report(planted_conditions, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["demo", "--out", str(out), "--seed", "7"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert "multi: planted with seed 7" in lines
    for words in (
        "Overlap of experts across languages",
        "Accuracy of a probe for the language, by layer and step: model",
        "Accuracy of a probe for the language, by layer and step: control",
        "the intervals are apart, and experts are shared more in model",
        "model: at step 128, 4 of 4 concepts are shared more than labels without meaning give",
        "control: at step 128, 0 of 4 concepts are shared more",
        "Which neurons end as experts of one concept in every language",
        f"Report: {out / 'report.html'}",
    ):
        assert words in text
    assert all(len(line) <= 130 for line in lines if str(tmp_path) not in line)


def test_the_outcome_says_where_everything_is_and_how_long_it_took(planted_conditions, tmp_path):
    outcome = run_demo(tmp_path / "out")
    assert outcome.report.read_text().startswith("<!doctype html>")
    assert (outcome.store, outcome.control) == (tmp_path / "out" / "store.actlas", tmp_path / "out" / "control.actlas")
    assert outcome.seconds["multi train"] == 1.5
    assert outcome.seconds["total"] > 0


def test_what_is_shown_is_what_the_store_says(planted_conditions, tmp_path):
    outcome = run_demo(tmp_path / "out")
    stores = {label: open_store(tmp_path / "out" / STORES[condition]) for condition, label in LABELS.items()}
    overlap, *_ = demo_sections(stores)
    assert overlap.table is not None
    assert outcome.sections[0].table.equals(overlap.table)
    last = open_store(outcome.store).sql("SELECT avg(overlap) AS o FROM overlap WHERE checkpoint = 'planted-step128'")
    row = overlap.table.row(-1, named=True)
    assert row["step"] == "128"
    assert row["model"] == pytest.approx(last["o"][0], abs=1e-12)
    assert {"model", "model, null", "model, of ceiling", "control", "control, null", "chance"} <= row.keys()


@pytest.fixture
def fake_python(monkeypatch, tmp_path):
    """Makes the processes of the conditions a shell script, which gets ``-m actlas demo --condition NAME --out OUT ...``."""

    def install(body):
        script = tmp_path / "fake-python"
        script.write_text(f"#!/bin/sh\ncondition=$5\n{body}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(script))
        out = tmp_path / "out"
        (out / "models").mkdir(parents=True)
        return out

    return install


def test_lines_of_both_conditions_are_passed_on(fake_python):
    out = fake_python('echo "$condition: hello"; echo "$condition: threads $OMP_NUM_THREADS"')
    lines = []
    run_module.run_conditions(out, lines.append, 0)
    assert sorted(lines) == ["mono: hello", "mono: threads 1", "multi: hello", "multi: threads 1"]


def test_a_condition_that_fails_stops_the_other_and_says_why(fake_python):
    out = fake_python('[ "$condition" = multi ] && { echo "no room" >&2; exit 3; }; echo $$ > "$7/pid"; exec sleep 60')
    with pytest.raises(ExtractionError, match=r"the model stopped with status 3: no room \(more in .*multi.stderr\)"):
        run_module.run_conditions(out, lambda line: None, 0)
    if (out / "pid").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int((out / "pid").read_text()), 0)


def test_the_process_that_waits_loads_no_model_library():
    code = "import sys, actlas.demo.run; sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
