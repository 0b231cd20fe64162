import os
import shutil
import stat
import subprocess
import sys

import polars as pl
import pytest

from actlas.demo import run as run_module
from actlas.demo.run import demo_sections, run_demo
from actlas.demo.settings import LABELS, STORES, seconds_file
from actlas.errors import ExtractionError
from actlas.query import expert_overlap, open_store, overlap_controls, score_neurons, top_experts, train_probes
from actlas.testing.planted import Planting, planted_store

SITES = ("attn_out", "mlp_pre")


def answered(path, planting):
    store = open_store(planted_store(path, planting), mode="a")
    score_neurons(store, sites=SITES, stats=("ap", "median", "p90"))
    top_experts(store, k=6)
    expert_overlap(store, k=6)
    overlap_controls(store, k=6)
    train_probes(store, seeds=(0,), c=0.1)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    out = tmp_path_factory.mktemp("planted")
    for kind, sharing in (("multi", (0.0, 0.5, 1.0)), ("mono", (0.0, 0.0, 0.0))):
        answered(out / STORES[kind], Planting(sharing=sharing))
    return out


@pytest.fixture
def planted_sides(monkeypatch, planted):
    """Both sides planted instead of trained."""

    def plant(out, say, seed):
        for kind, store in STORES.items():
            shutil.copytree(planted / store, out / store)
            seconds_file(out, kind).write_text('{"train": 1.5}')
            say(f"{kind}: planted with seed {seed}")

    monkeypatch.setattr(run_module, "_run_sides", plant)


def test_the_demo_shows_both_sides_and_writes_a_report(planted_sides, tmp_path):
    lines = []
    outcome = run_demo(tmp_path / "out", lines.append, seed=7)
    text = "\n".join(lines)
    assert "multi: planted with seed 7" in lines
    for words in (
        "Overlap of experts across languages",
        "Accuracy of a probe for the language, by layer and step: model",
        "Accuracy of a probe for the language, by layer and step: control",
        "experts are shared clearly more in model",
        "Which neurons end as experts of one concept in every language",
        f"Report: {outcome.report}",
    ):
        assert words in text
    assert all(len(line) <= 130 for line in lines if str(tmp_path) not in line)
    assert outcome.report.read_text().startswith("<!doctype html>")
    assert (outcome.store, outcome.control) == (tmp_path / "out" / "store.actlas", tmp_path / "out" / "control.actlas")
    assert outcome.seconds["multi train"] == 1.5
    assert outcome.seconds["total"] > 0


def test_what_is_shown_is_what_the_store_says(planted_sides, tmp_path):
    outcome = run_demo(tmp_path / "out")
    stores = {label: open_store(tmp_path / "out" / STORES[kind]) for kind, label in LABELS.items()}
    overlap, *_ = demo_sections(stores)
    last = open_store(outcome.store).sql("SELECT avg(overlap) AS o FROM overlap WHERE checkpoint = 'planted-step128'")
    assert overlap[5].split()[:2] == ["128", f"{last['o'][0]:.3f}"]
    assert pl.Series(["model", "control"]).is_in(overlap[1].replace(",", " ").split()).all()


@pytest.fixture
def fake_python(monkeypatch, tmp_path):
    """Lets the processes of the two sides be a shell script, which gets ``-m actlas.demo.condition --kind KIND ...``."""

    def install(body):
        script = tmp_path / "fake-python"
        script.write_text(f"#!/bin/sh\nkind=$4\n{body}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(script))
        out = tmp_path / "out"
        (out / "models").mkdir(parents=True)
        return out

    return install


def test_lines_of_both_sides_are_passed_on(fake_python):
    out = fake_python('echo "$kind: hello"; echo "$kind: threads $OMP_NUM_THREADS"')
    lines = []
    run_module._run_sides(out, lines.append, 0)
    assert sorted(lines) == ["mono: hello", "mono: threads 1", "multi: hello", "multi: threads 1"]


def test_a_side_that_fails_stops_the_other_and_says_why(fake_python):
    out = fake_python('[ "$kind" = multi ] && { echo "no room" >&2; exit 3; }; echo $$ > "$6/pid"; exec sleep 60')
    with pytest.raises(ExtractionError, match=r"the demo's model stopped with status 3: no room \(more in .*multi.stderr\)"):
        run_module._run_sides(out, lambda line: None, 0)
    if (out / "pid").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int((out / "pid").read_text()), 0)


def test_the_process_that_waits_loads_no_model_library():
    code = "import sys, actlas.demo.run; sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
