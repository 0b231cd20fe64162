"""`actlas neuron-sets`: the two verbs on a planted store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from actlas.cli import run
from actlas.query import neuron_set_overlap, open_store
from actlas.testing import Planting, planted_store


def test_sets_are_imported_shown_and_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = planted_store(tmp_path / "s.actlas", Planting(steps=(0, 64), sharing=(0.0, 1.0)))
    file = tmp_path / "x.neuron.pth"
    torch.save([[torch.tensor([16, 22]), torch.tensor([3])], [torch.tensor([16]), torch.tensor([]).long()]], file)
    command = ["neuron-sets", "import", str(store), str(file), "--name", "published", "--languages", "fr,en"]
    assert run([*command, "--checkpoint", "planted-step64", "--format", "json"]) == 0
    shown = capfd.readouterr()
    assert [(row["language"], row["site"], row["n_neurons"]) for row in json.loads(shown.out)] == [
        ("fr", "mlp_hidden", 3),
        ("en", "mlp_hidden", 1),
    ]
    assert "3 neurons of published beside planted-step64, at mlp_hidden" in shown.err
    asked = ["neuron-sets", "overlap", str(store), "--share", "0.1", "--checkpoint", "planted-step64", "--format", "json"]
    assert run(asked) == 0
    rows = json.loads(capfd.readouterr().out)
    assert rows == neuron_set_overlap(open_store(store), share=0.1, checkpoints=["planted-step64"]).to_dicts()
    assert {row["name_b"] for row in rows} == {"published", "lape"}
    assert run([*command[:-1], "fr"]) == 1
    assert "holds sets of 2 languages, and 1 are named (fr)" in capfd.readouterr().err
