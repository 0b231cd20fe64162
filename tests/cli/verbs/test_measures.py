"""The verbs about spaces show what their functions return, and `measure` lists the measures."""

import json

from actlas.cli import run
from actlas.query import effective_rank, open_store, parameter_space
from actlas.query.measures.registry import MEASURES
from actlas.testing.planted import planted_store


def test_weights_shows_the_parameter_space(tmp_path, capsys):
    store = planted_store(tmp_path / "s")
    assert run(["weights", str(store), "--checkpoint", "planted-step64", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == parameter_space(store, checkpoints=["planted-step64"]).to_dicts()


def test_measure_shows_the_effective_rank_and_keeps_it_where_that_is_wanted(tmp_path, capsys):
    store = planted_store(tmp_path / "s")
    flags = ["--site", "resid", "--vectors", "30", "--splits", "2", "--seed", "3", "--format", "json"]
    assert run(["--quiet", "measure", "effective-rank", str(store), *flags, "--no-keep"]) == 0
    expected = effective_rank(store, sites=["resid"], n_vectors=30, n_splits=2, seed=3)
    assert json.loads(capsys.readouterr().out) == expected.to_dicts()
    assert "effective_rank" not in open_store(store).table_parts()
    assert run(["--quiet", "measure", "effective-rank", str(store), *flags]) == 0
    assert open_store(store).sql("FROM effective_rank").equals(expected)


def test_without_a_name_every_measure_is_listed(capsys):
    assert run(["measure"]) == 0
    shown = capsys.readouterr().out
    assert all(measure.name in shown and measure.source in shown for measure in MEASURES)
    assert run(["measure", "mxa", "store"]) == 2
