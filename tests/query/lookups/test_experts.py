"""Experts by layer, shared, lowest and at random, against plain Python; more than are kept are ranked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from actlas.errors import QueryError, TableNotFound
from actlas.query import (
    Atlas,
    alike_neurons,
    anti_experts,
    experts_by_layer,
    open_store,
    overlap_at,
    random_experts,
    score_neurons,
    shared_experts,
    steering_mask,
    top_experts,
)
from actlas.query.sql.macro import macros

CK, EN, SALT = "planted-step64", "en", "salt"


def test_the_lowest_neurons_are_those_of_plain_python(asked: Atlas, plain: Any) -> None:
    _, is_positive = plain.labels(EN, SALT)
    below = {neuron: ap for neuron, ap in plain.ap(CK, EN, SALT).items() if ap < is_positive.mean() - 1e-9}
    wanted = sorted(below, key=lambda neuron: (round(below[neuron], 12), neuron))
    found = anti_experts(asked, CK, EN, SALT, n=1000)
    assert list(found.select("site", "layer", "neuron").iter_rows()) == wanted
    assert found["guess"].unique().to_list() == [is_positive.mean()]
    assert found["ap"].to_list() == pytest.approx([below[neuron] for neuron in wanted])


def test_alike_neurons_are_those_of_plain_python(asked: Atlas) -> None:
    roles: dict[tuple[str, int, int], dict[tuple[str, str], float]] = {}
    for *neuron, concept, language, ap in (
        asked.scan("experts")
        .filter(checkpoint=CK)
        .select("site", "layer", "neuron", "concept", "language", "ap")
        .collect()
        .iter_rows()
    ):
        roles.setdefault(tuple(neuron), {})[concept, language] = ap
    most = max(roles, key=lambda one: (len(roles[one]), one))
    own = roles.pop(most)

    def similarity(other: dict[tuple[str, str], float]) -> float:
        either = own.keys() | other.keys()
        pairs = [(own.get(role, 0.0), other.get(role, 0.0)) for role in either]
        return sum(map(min, pairs)) / sum(map(max, pairs))

    found = alike_neurons(asked, CK, *most, n=1000)
    alike = {neuron: similarity(other) for neuron, other in roles.items() if own.keys() & other.keys()}
    wanted = sorted(alike, key=lambda neuron: (-round(alike[neuron], 12), neuron))
    assert list(found.select("site", "layer", "neuron").iter_rows()) == wanted
    assert found["similarity"].to_list() == pytest.approx([alike[neuron] for neuron in wanted])
    assert found["n_common"].to_list() == [len(own.keys() & roles[neuron].keys()) for neuron in wanted]
    assert found["n_roles"].to_list() == [len(roles[neuron]) for neuron in wanted]
    assert set(found["n_own"]) == {len(own)}
    nothing = next((site, layer, 0) for site, layer in (("attn_out", 0), ("attn_out", 1)) if (site, layer, 0) not in roles)
    assert alike_neurons(asked, CK, *nothing).is_empty()


def test_random_experts_can_be_experts_and_are_drawn_again(asked: Atlas, plain: Any) -> None:
    drawn = random_experts(asked, CK, EN, SALT, k=1000)
    scores = plain.ap(CK, EN, SALT)
    assert {row: ap for *row_, ap in drawn.select("site", "layer", "neuron", "ap").iter_rows() for row in [tuple(row_)]} == (
        pytest.approx(scores)
    )
    assert random_experts(asked, CK, EN, SALT, k=7).equals(drawn.head(7))
    firsts = {random_experts(asked, CK, EN, SALT, k=1, seed=seed).row(0)[4:7] for seed in range(8)}
    assert len(firsts) > 4
    counts = Counter(row for seed in range(30) for row in random_experts(asked, CK, EN, SALT, k=32, seed=seed).select(
        "site", "layer", "neuron"
    ).iter_rows())  # fmt: skip
    # chi-square with 127 degrees of freedom: 184 is the 99.9th percentile of independent draws
    assert sum((counts[neuron] - 7.5) ** 2 / 7.5 for neuron in scores) < 184
    assert drawn.head(20)["ap"].mean() == pytest.approx(sum(scores.values()) / len(scores), abs=0.15)


@pytest.mark.parametrize("k", [3, 20])
def test_layers_and_shared_sets_at_any_k(asked: Atlas, plain: Any, k: int) -> None:
    """Six are kept: three come out of the table, twenty are ranked."""
    best = {language: plain.experts(CK, language, SALT, k) for language in ("fr", "en", "es")}
    counted = experts_by_layer(asked, CK, k=k).filter(concept=SALT)
    for row in counted.iter_rows(named=True):
        here = [n for n in best[row["language"]] if n[:2] == (row["site"], row["layer"])]
        assert (row["n_experts"], row["k"]) == (len(here), k)
    assert counted.height == 3 * 4
    shared = shared_experts(asked, CK, SALT, k=k)
    wanted = {neuron for neuron, n in Counter(n for own in best.values() for n in own).items() if n >= 2}
    assert set(shared.select("site", "layer", "neuron").iter_rows()) == wanted
    for site, layer, neuron, n_languages, languages in shared.iter_rows():
        assert languages == [name for name in asked.corpus.languages if (site, layer, neuron) in best[name]]
        assert n_languages == len(languages)


def test_what_is_not_kept_is_refused_in_sql_and_ranked_by_the_function(asked: Atlas, scored: Atlas) -> None:
    for call in (f"experts_by_layer('{CK}', k := 7)", f"shared_experts('{CK}', 'salt', k := 7)", "stability_at(7)"):
        with pytest.raises(
            QueryError, match="holds the 6 best neurons of .*, not 7: ask for fewer, or rank more with actlas exp"
        ):
            asked.sql(f"FROM {call}")
    with pytest.raises(QueryError, match="not 8"):
        asked.ask("next_experts", checkpoint=CK, language=EN, concept=SALT, k=4, skip=4)
    assert steering_mask(asked, CK, EN, SALT, n=9).height == 9
    assert experts_by_layer(scored, CK, k=6).equals(experts_by_layer(asked, CK))
    with pytest.raises(TableNotFound, match="actlas experts"):
        experts_by_layer(scored, CK)


def test_more_than_are_kept_are_ranked_among_the_same_sites(bare: Path) -> None:
    store = open_store(bare, "a")
    score_neurons(store, sites=["attn_out", "mlp_pre"], stats=("ap", "median", "p90"))
    top_experts(store, k=3, sites=["mlp_pre"])
    for k in (3, 8):
        assert experts_by_layer(store, CK, k=k)["site"].unique().to_list() == ["mlp_pre"]
        assert set(shared_experts(store, CK, SALT, m=1, k=k)["site"]) == {"mlp_pre"}
        assert set(steering_mask(store, CK, EN, SALT, n=k)["site"]) == {"mlp_pre"}
        assert overlap_at(store, CK, SALT, k=k)["n_rankable"].max() <= 80


@pytest.mark.parametrize("name", ["random_experts", "anti_experts"])
def test_the_linear_sites_are_those_of_the_names(name: str) -> None:
    from actlas.names import LINEAR_SITES

    assert f"site IN ({', '.join(map(repr, sorted(LINEAR_SITES)))})" in macros()[name].sql
