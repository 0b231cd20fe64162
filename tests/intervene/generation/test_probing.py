"""Probes are trained where they are asked to read, and one that knows nothing is said to."""

from __future__ import annotations

import logging

import pytest

from actlas.intervene.generation.probing import ProbeAt
from actlas.query import Atlas, train_concept_probe


def test_a_probe_at_another_place_has_to_be_asked() -> None:
    records = {"salt": {"en": {"site": "resid", "layer": 3}, "fr": {"site": "resid", "layer": 2}}}
    pairs = [("salt", "en"), ("salt", "fr"), ("milk", "en")]
    assert ProbeAt("resid", 3).unasked(pairs, records) == pairs[1:]
    assert ProbeAt("mlp_pre", 3).unasked(pairs, records) == pairs
    assert ProbeAt("resid", 3).unasked([], records) == []


def test_every_concept_has_its_probe_and_those_at_chance_are_named(store: Atlas, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    probes = ProbeAt("mlp_pre", 1).train(store, "tiny-step8", ["salt", "bread"])
    for concept, probe in probes.items():
        assert probe.to_json() == train_concept_probe(store, "tiny-step8", concept, site="mlp_pre", layer=1).to_json()
        assert (f"texts about {concept} from others" in caplog.text) == (not probe.is_above_chance)
