"""LAPE against the definition, written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from actlas.errors import CubeNotFound
from actlas.query import TABLES, Atlas, language_neurons, open_store


def by_definition(store: Atlas, checkpoint: str, share: float, quantile: float) -> list[tuple[Any, ...]]:
    counts = store.token_counts(checkpoint)
    p = {}
    for language, layer, neuron in np.ndindex(counts.active.shape):
        p.setdefault((layer, neuron), {})[counts.languages[language]] = (
            counts.active[language, layer, neuron] / counts.n_tokens[language]
        )
    values = sorted(value for row in p.values() for value in row.values())
    bar = values[round(quantile * len(values)) - 1]
    entropies = {}
    for neuron, row in p.items():
        total = sum(row.values())
        if total and max(row.values()) > bar:
            entropies[neuron] = -sum(v / total * np.log(v / total) for v in row.values() if v)
    chosen = sorted(entropies, key=lambda neuron: (round(entropies[neuron], 12), neuron))[: round(share * len(p))]
    rows = ((*neuron, language, value) for neuron in chosen for language, value in p[neuron].items() if value > bar)
    return sorted(rows)


@pytest.mark.parametrize(("share", "quantile"), [(0.05, 0.95), (0.2, 0.5), (0.5, 0.9)])
def test_language_neurons_by_definition(scored: Atlas, share: float, quantile: float) -> None:
    frame = language_neurons(scored, share=share, bar_quantile=quantile)
    assert frame.schema == pl.Schema(dict(TABLES["lape"].columns))
    for checkpoint in scored.checkpoints:
        part = frame.filter(checkpoint=checkpoint)
        assert part["entropy"].is_sorted()
        wanted = by_definition(scored, checkpoint, share, quantile)
        got = sorted(part.select("layer", "neuron", "language", "p_active").rows())
        assert [row[:3] for row in got] == [row[:3] for row in wanted]
        assert [row[3] for row in got] == pytest.approx([row[3] for row in wanted])


def test_activity_of_every_neuron_is_kept(asked: Atlas) -> None:
    frame = asked.sql("FROM token_activity")
    assert frame.height == 3 * 80
    counts = asked.token_counts("planted-step64")
    part = frame.filter(checkpoint="planted-step64")
    p = np.array(part["p_active"].to_list()).T.reshape(counts.active.shape)
    np.testing.assert_allclose(p, counts.active / counts.n_tokens[:, None, None])
    assert part["p_max"].to_numpy() == pytest.approx(p.max(axis=0).reshape(-1))
    dead = part.row(0, named=True)
    assert (dead["entropy"], dead["p_max"]) == (None, 0.0)
    assert asked.table_settings("lape", "planted-step0")["threshold"] == 0.0


def test_selection_in_sql_from_the_wide_table(asked: Atlas) -> None:
    bar = asked.table_settings("lape", "planted-step64")["bar"]
    wide = asked.sql(
        f"SELECT layer, neuron FROM token_activity WHERE checkpoint = 'planted-step64' AND p_max > {bar!r} "
        "ORDER BY entropy, layer, neuron LIMIT 4"
    )
    table = asked.sql("SELECT DISTINCT layer, neuron FROM lape WHERE checkpoint = 'planted-step64'")
    assert sorted(wide.rows()) == sorted(table.rows())


def test_sets_of_two_checkpoints(asked: Atlas) -> None:
    frame = asked.sql("FROM lape_overlap('planted-step0', 'planted-step0')")
    lape = asked.sql("SELECT * FROM lape WHERE checkpoint = 'planted-step0'")
    sizes = dict(lape.group_by("language").len().rows())
    assert frame["language"].to_list() == ["fr", "en", "es"]
    for row in frame.iter_rows(named=True):
        n = sizes.get(row["language"], 0)
        assert (row["n_a"], row["n_b"], row["shared"]) == (n, n, n)
        assert row["jaccard"] == (1.0 if n else None)


def test_a_site_without_counts_is_refused(bare: Path) -> None:
    with pytest.raises(CubeNotFound, match="were not counted at mlp_pre"):
        language_neurons(open_store(bare), site="mlp_pre")
