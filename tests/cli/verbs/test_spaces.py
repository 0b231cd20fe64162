"""The verbs about spaces show what their functions return."""

import json

from actlas.cli import run
from actlas.query import parameter_space
from actlas.testing.planted import planted_store


def test_weights_shows_the_parameter_space(tmp_path, capsys):
    store = planted_store(tmp_path / "s")
    assert run(["weights", str(store), "--checkpoint", "planted-step64", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == parameter_space(store, checkpoints=["planted-step64"]).to_dicts()
