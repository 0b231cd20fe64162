"""Texts of groups of neurons against plain loops over every text."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from actlas.errors import CheckpointNotFound, CubeNotFound, QueryError
from actlas.names import COMBINATIONS, METRICS
from actlas.query import Atlas, group_texts, nearest_texts, open_store, top_experts
from actlas.store.cube import Cube
from actlas.testing.planted import Planting, planted_store

CK = "planted-step64"
COMBINED: dict[str, Callable[[list[float]], float]] = {
    "mean": lambda values: sum(values) / len(values),
    "sum": sum,
    "min": min,
    "max": max,
    "l2": lambda values: math.sqrt(sum(value * value for value in values)),
}


def _apart(a: list[float], b: list[float], metric: str) -> float:
    if metric == "cosine":
        norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
        return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else math.nan
    steps = [abs(x - y) for x, y in zip(a, b, strict=True)]
    return sum(steps) if metric == "l1" else math.sqrt(sum(step * step for step in steps))


def _plain(plain: Any, group: pl.DataFrame) -> list[list[float]]:
    """The values of every text, text by text."""
    cubes = {site: plain.values(CK, site) for site in group["site"].unique()}
    rows = [cubes[site][layer, neuron] for site, layer, neuron in group.rows()]
    return [[float(row[text]) for row in rows] for text in range(len(rows[0]))]


def _group(seed: int, n: int) -> pl.DataFrame:
    """Neurons at random out of every layer of two sites, in any order."""
    rng = np.random.default_rng(seed)
    places = [("attn_out", layer, neuron) for layer in range(2) for neuron in range(24)]
    places += [("mlp_pre", layer, neuron) for layer in range(2) for neuron in range(40)]
    chosen = [places[at] for at in rng.permutation(len(places))[:n]]
    return pl.DataFrame(chosen, schema=["site", "layer", "neuron"], orient="row")


@pytest.mark.parametrize("combine", COMBINATIONS)
@pytest.mark.parametrize("n_neurons", [1, 3, 90])
def test_the_highest_by_a_plain_sort(scored: Atlas, plain: Any, combine: Any, n_neurons: int) -> None:
    group = _group(n_neurons, n_neurons)
    values = [COMBINED[combine](own) for own in _plain(plain, group)]
    for languages in (None, ["es", "fr"]):
        frame = group_texts(scored, CK, group, n=90, combine=combine, languages=languages)
        ids = [text for text in range(144) if languages is None or scored.corpus.texts["language"][text] in languages]
        wanted = sorted(ids, key=lambda text: (-round(values[text], 9), text))[:90]
        assert frame["text_id"].to_list() == wanted
        assert frame["value"].to_list() == pytest.approx([values[text] for text in wanted], rel=1e-12)
        assert frame["rank"].to_list() == list(range(1, 91))
        assert frame.columns == ["rank", "value", "language", "text_id", "text"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n_neurons", [1, 3, 90])
def test_the_nearest_by_a_plain_sort(scored: Atlas, plain: Any, metric: Any, n_neurons: int) -> None:
    group = _group(n_neurons + 1, n_neurons)
    values = _plain(plain, group)
    # sums of eighths are exact in any order
    other = np.random.default_rng(5).integers(-20, 20, n_neurons) / 8
    for to, target in ((50, values[50]), (np.int64(143), values[143]), (other, other.tolist())):
        apart = {text: _apart(own, target, metric) for text, own in enumerate(values)}
        ids = [text for text in apart if not math.isnan(apart[text]) and not (np.ndim(to) == 0 and text == to)]
        wanted = sorted(ids, key=lambda text: (round(apart[text], 9), text))[:60]
        frame = nearest_texts(scored, CK, to, group, n=60, metric=metric)
        assert frame["distance"].to_list() == pytest.approx([apart[text] for text in wanted], rel=1e-9, abs=1e-12)
        if metric != "cosine":
            assert frame["text_id"].to_list() == wanted
        assert frame.columns == ["rank", "distance", "language", "text_id", "text"]


def test_the_text_may_be_of_another_language(scored: Atlas) -> None:
    frame = nearest_texts(scored, CK, 0, _group(0, 4), n=48, languages=["es"])
    assert frame["text_id"].sort().to_list() == list(range(96, 144))
    assert nearest_texts(scored, CK, 0, _group(0, 4), n=48, languages=["fr"]).height == 47


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_other_dtypes_are_read_exactly(tmp_path: Any, dtype: str) -> None:
    planting = Planting(sites={"mlp_pre": (2, 40)}, steps=(64,), sharing=(0.5,), token_sites={}, dtype=dtype, grid=0)
    store = open_store(planted_store(tmp_path / "other.actlas", planting))
    cube = store.cube(CK, "mlp_pre").read().astype(np.float64)
    group = pl.DataFrame({"site": "mlp_pre", "layer": [1, 0], "neuron": [3, 39]})
    values = cube[1, 3] + cube[0, 39]
    frame = group_texts(store, CK, group, n=20, combine="sum")
    assert frame["text_id"].to_list() == np.argsort(-values, kind="stable")[:20].tolist()
    assert frame["value"].to_list() == values[frame["text_id"].to_numpy()].tolist()


def test_a_text_without_a_value_is_left_out(scored: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    group = pl.DataFrame({"site": "mlp_pre", "layer": 0, "neuron": [4, 7]})
    everything = group_texts(scored, CK, group, n=144)
    original = Cube.read

    def read(self: Cube, *args: Any, **named: Any) -> Any:
        values = original(self, *args, **named)
        if values.shape[-1] == 144:
            values[0, everything["text_id"][0]] = np.nan
        return values

    monkeypatch.setattr(Cube, "read", read)
    store = open_store(scored.path)
    columns = ["value", "language", "text_id", "text"]
    for combine in COMBINATIONS:
        assert everything["text_id"][0] not in group_texts(store, CK, group, n=144, combine=combine)["text_id"].to_list()
    assert group_texts(store, CK, group, n=144).select(columns).equals(everything.select(columns)[1:])
    assert nearest_texts(store, CK, [0.5, 0.5], group, n=144).height == 143


def test_only_the_chunks_of_the_group_are_decoded(scored: Atlas, count_chunks: Callable[[], int]) -> None:
    count_chunks()
    group_texts(scored, CK, pl.DataFrame({"site": "mlp_pre", "layer": [0, 0, 1], "neuron": [1, 30, 2]}))
    assert count_chunks() == 2 * 3
    group_texts(scored, CK, pl.DataFrame({"site": "mlp_pre", "layer": 0, "neuron": [1]}), languages=["en"])
    assert count_chunks() == 2


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_experts_in_sql(asked: Atlas, combine: Any) -> None:
    experts = top_experts(asked, k=6, checkpoints=[CK], languages=["fr"], concepts=["water"], keep=False)
    in_sql = asked.ask("group_texts", checkpoint=CK, language="fr", concept="water", k=6, n=144, combine=combine)
    own = group_texts(asked, CK, experts, n=144, combine=combine)
    assert in_sql.schema == own.schema
    assert in_sql["value"].to_list() == pytest.approx(own["value"].to_list(), rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_near_by_experts_in_sql(asked: Atlas, metric: Any) -> None:
    experts = top_experts(asked, k=6, checkpoints=[CK], languages=["fr"], concepts=["water"], keep=False)
    given = {"checkpoint": CK, "text_id": 7, "language": "fr", "concept": "water", "k": 6, "n": 144, "metric": metric}
    own = nearest_texts(asked, CK, 7, experts, n=144, metric=metric)
    in_sql = asked.ask("nearest_texts", **given)
    assert in_sql.schema == own.schema
    assert in_sql["distance"].to_list() == pytest.approx(own["distance"].to_list(), rel=1e-9, abs=1e-12)


def test_what_is_not_there_is_refused(scored: Atlas) -> None:
    group = pl.DataFrame({"site": "mlp_pre", "layer": 0, "neuron": [4, 7]})
    with pytest.raises(QueryError, match="no neuron 40 in layer 1"):
        group_texts(scored, CK, pl.DataFrame({"site": "mlp_pre", "layer": [0, 1], "neuron": [3, 40]}))
    with pytest.raises(QueryError, match="mlp_pre/0/4 is in the group more than once"):
        group_texts(scored, CK, pl.concat([group, group]))
    with pytest.raises(QueryError, match="neurons names nothing"):
        group_texts(scored, CK, group.clear())
    with pytest.raises(QueryError, match="columns site, layer, neuron; this one has site, layer$"):
        group_texts(scored, CK, group.select("site", "layer"))
    with pytest.raises(CubeNotFound):
        group_texts(scored, CK, group.with_columns(site=pl.lit("resid")))
    with pytest.raises(CheckpointNotFound, match="did you mean 'planted-step64'"):
        group_texts(scored, "planted-step46", group)
    with pytest.raises(QueryError, match="no language 'xx'"):
        group_texts(scored, CK, group, languages=["xx"])
    with pytest.raises(QueryError, match="n = 145, but the corpus"):
        group_texts(scored, CK, group, n=145)
    with pytest.raises(QueryError, match="combine 'most' is not known; choose one of mean, sum, min, max, l2"):
        group_texts(scored, CK, group, combine="most")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="no text 144 in .* go from 0 to 143"):
        nearest_texts(scored, CK, 144, group)
    with pytest.raises(QueryError, match="2 neurons have 2 values, not 3"):
        nearest_texts(scored, CK, [1.0, 2.0, 3.0], group)
