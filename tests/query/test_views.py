"""Every table of every view: the same rows on a page, in Python and on the command line, and a plain line where it cannot be."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import actlas.query
from actlas.cli import run
from actlas.explore.view import answer, as_answer, chosen, describe, filled, parts_of
from actlas.explore.views import VIEWS
from actlas.explore.views.sql import SAVED
from actlas.query import Atlas, import_scores, open_store, score_neurons, top_experts
from actlas.testing import Planting, planted_store

PARTS = {f"{view.name}/{part.name}": (view, part) for view, part in parts_of(VIEWS)}
CK, NEURON = "planted-step64", {"site": "mlp_pre", "layer": "0", "neuron": "36"}
#: View -> what is chosen where the first choice is not the one with most to see.
GIVEN: dict[str, dict[str, str]] = {
    "concept": {"concept": "salt", "checkpoint": CK},
    "neuron": {"checkpoint": CK, "concept": "salt", **NEURON},
    "probe": {"site": "embed", "checkpoint": CK},
    "languages": {"language": "fr", "checkpoint": CK},
    "interventions": {"concept": "salt", "language": "fr", "checkpoint": CK},
}
#: Kind of a picture -> what tells its marks apart, beside x.
WHERE = {
    "lines": ("series",),
    "bars": ("series",),
    "matrix": ("y", "facet"),
    "ranges": ("label",),
    "histogram": ("low", "series"),
}
#: Tables without rows on the planted store: nothing to warn of, no proofs, and what other labels and languages would show.
EMPTY = {"store/site_proofs", "languages/experts", "languages/published", "probe/transfer"}


@pytest.fixture(scope="module")
def params(asked: Atlas) -> dict[str, dict[str, Any]]:
    """What is chosen in every view."""
    return {name: chosen(view, GIVEN.get(name, {}), asked.sql) for name, view in VIEWS.items()}


@pytest.mark.parametrize("name", PARTS)
def test_page_and_python_give_the_same_rows(
    asked: Atlas, params: dict[str, dict[str, Any]], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    view, part = PARTS[name]
    shown = answer(part, params[view.name], asked.sql)
    assert shown["error"] is None
    assert (shown["n_rows"] == 0) == (name in EMPTY)
    frame = asked.sql(filled(part.sql, params[view.name]))
    assert not caplog.records, "a query compares with a name that the store does not have"
    columns = [column["name"] for column in shown["columns"]]
    assert columns == frame.columns
    again = as_answer(frame)
    assert [_rounded(values) for values in shown["values"]] == [_rounded(values) for values in again["values"]]
    given = {key: of for key, of in (part.picture.columns if part.picture else {}).items() if key != "x_label"}
    drawn = [one for of in given.values() for one in ([of] if isinstance(of, str) else of)]
    assert {*drawn, *part.links} <= {*columns}
    where = (
        [name for key in ("x", *WHERE.get(part.picture.kind, ())) if (name := part.picture.columns.get(key))]
        if part.picture
        else []
    )
    if where:
        named = [one for of in where for one in ([of] if isinstance(of, str) else of)]
        assert frame.select(named).is_unique().all(), f"{name} draws several rows at one place"
    for address in part.links.values():
        target, _, query = address.partition("?")
        named = [pair.partition("=")[0] for pair in query.split("&")]
        assert {*named} <= {choice.name for choice in VIEWS[target].choices}, address
        assert set(re.findall(r"{(\w+)}", query)) <= {*columns, *params[view.name]}, address


def _rounded(value: Any) -> Any:
    """Threads add up means in any order, so their last digits differ from call to call."""
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


#: A table of every view; ACTLAS_ALL_VIEWS=1 for all of them.
ON_COMMAND_LINE = (
    [*PARTS] if os.environ.get("ACTLAS_ALL_VIEWS") else [f"{name}/{view.parts[0].name}" for name, view in VIEWS.items()]
)


@pytest.mark.parametrize("name", ON_COMMAND_LINE)
def test_the_command_line_gives_the_same_rows(
    asked: Atlas, params: dict[str, dict[str, Any]], name: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    view, part = PARTS[name]
    asked_for = part.params(params[view.name])
    given = [word for key, value in asked_for.items() for word in ("--param", f"{key}={value}")]
    assert run(["--quiet", "sql", str(asked.path), part.sql, *given, "--format", "arrow"]) == 0
    printed = pl.read_ipc_stream(io.BytesIO(capfdbinary.readouterr().out))
    assert_frame_equal(printed, asked.sql(part.sql, asked_for), rel_tol=1e-9)


#: Table -> the function that answers the same.
FUNCTIONS: dict[str, Callable[[Atlas, Mapping[str, Any]], pl.DataFrame]] = {
    "concept/pairs": lambda store, p: actlas.query.overlap_at(store, p["checkpoint"], p["concept"], k=p["k"]),
    "concept/shared": lambda store, p: actlas.query.shared_experts(store, p["checkpoint"], p["concept"], k=p["k"]).drop(
        "languages"
    ),
    "concept/evidence": lambda store, p: actlas.query.overlap_evidence(store, p["checkpoint"]).filter(concept=p["concept"]),
    "concept/stability": lambda store, p: actlas.query.rank_stability(store, k=6).filter(concept=p["concept"]).drop("step"),
    "neuron/top_texts": lambda store, p: actlas.query.neuron_texts(store, p["checkpoint"], *_place(p), n=20),
    "neuron/scores": lambda store, p: actlas.query.neuron_scores(store, *_place(p), p["concept"]).drop("step"),
    "neuron/alike": lambda store, p: actlas.query.alike_neurons(store, p["checkpoint"], *_place(p), n=20),
    "neuron/concepts": lambda store, p: (
        actlas.query.neuron_trajectory(store, *_place(p)).filter(checkpoint=p["checkpoint"]).drop("step")
    ),
    "probe/accuracy": lambda store, p: actlas.query.probe_intervals(store).filter(label=p["label"]).drop("step"),
    "probe/by_checkpoint": lambda store, p: actlas.query.probe_by_checkpoint(store).filter(label=p["label"]).drop("step"),
    "probe/classes": lambda store, p: actlas.query.probe_class_accuracy(store).filter(
        label=p["label"], checkpoint=p["checkpoint"]
    ),
    "languages/neurons": lambda store, p: actlas.query.language_mask(store, p["checkpoint"], p["language"]),
    "languages/overlap": lambda store, p: actlas.query.lape_overlap(store, p["other"], p["checkpoint"]),
    "languages/effects": lambda store, p: actlas.query.language_effects(store, p["checkpoint"], p["intervention"]),
    "languages/set_effects": lambda store, p: actlas.query.set_effects(store, p["checkpoint"]),
    "interventions/concept_rate": lambda store, p: actlas.query.concept_rate(store).filter(
        checkpoint=p["checkpoint"], language=p["language"]
    ),
    "interventions/language_shift": lambda store, p: (
        actlas.query.language_shift(store)
        .filter(checkpoint=p["checkpoint"], language=p["language"])
        .with_columns(pl.col("concept").fill_null("all together"))
    ),
    "interventions/patching": lambda store, p: _patched(store, p).filter(pl.col("language") == pl.col("language_out")),
    "interventions/patching_languages": lambda store, p: _patched(store, p),
    "compare/weights": lambda store, p: (
        actlas.query.parameter_space(store)
        .filter(checkpoint=p["checkpoint"])
        .select("module", "n_weights", "norm", "stable_rank")
    ),
}


def _patched(store: Atlas, params: Mapping[str, Any]) -> pl.DataFrame:
    found = actlas.query.patching_by_layer(store.scan("patches").collect())
    return found.filter(pl.col("checkpoint") == params["checkpoint"], pl.col("layer").is_not_null())


def _place(params: Mapping[str, Any]) -> tuple[str, int, int]:
    return params["site"], params["layer"], params["neuron"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_give_the_same_rows(asked: Atlas, params: dict[str, dict[str, Any]], name: str) -> None:
    view, part = PARTS[name]
    wanted = FUNCTIONS[name](asked, params[view.name])
    shown = asked.sql(part.sql, part.params(params[view.name]))
    if name == "concept/pairs":  # a page has every pair both ways
        shown = shown.filter(pl.col("language_a") < pl.col("language_b"))
    common = [column for column in wanted.columns if column in shown.columns]
    assert len(common) >= min(3, wanted.width)
    in_order = [column for column in common if not wanted[column].dtype.is_float()]
    first, second = (frame.select(common).sort(in_order, nulls_last=True) for frame in (shown, wanted))
    assert_frame_equal(first, second, rel_tol=1e-9, check_dtypes=False)


def test_values_and_texts_of_a_neuron_are_those_of_the_cube(asked: Atlas, params: dict[str, dict[str, Any]]) -> None:
    view = VIEWS["neuron"]
    values = asked.cube(CK, "mlp_pre").read(layer=0, neurons=[36])[0].astype(np.float64)
    labels = {row["text_id"]: row["is_concept"] for row in asked.corpus.labels.filter(concept="salt").to_dicts()}
    language = dict(asked.corpus.texts.select("text_id", "language").iter_rows())

    def shown(name: str) -> pl.DataFrame:
        return asked.sql(view.part(name).sql, view.part(name).params(params["neuron"]))

    for row in shown("values").to_dicts():
        own = [
            values[i]
            for i, is_concept in labels.items()
            if language[i] == row["language"] and is_concept == (row["label"] == "positive")
        ]
        assert row["n_texts"] == len(own)
        found = [row[column] for column in ("lowest", "q25", "middle", "q75", "highest", "mean_value")]
        assert found == pytest.approx([*np.quantile(own, [0, 0.25, 0.5, 0.75, 1]), np.mean(own)], abs=1e-6)
    counted = shown("histogram")
    for label, is_concept in (("positive", True), ("negative", False)):
        own = [values[i] for i in labels if labels[i] == is_concept]
        bins = counted.filter(label=label)
        assert bins["n_texts"].sum() == len(own)
        assert bins["share"].sum() == pytest.approx(1)
        for low, high, n in bins.select("bin_low", "bin_high", "n_texts").iter_rows():
            assert n <= sum(low - 1e-9 <= value <= high + 1e-9 for value in own)
    drawn = shown("quantiles")
    assert drawn["tenth"].value_counts()["count"].to_list() == [3] * 10
    ranks = {text_id: rank for rank, text_id in enumerate(sorted(range(values.size), key=lambda i: (-values[i], i)))}
    sizes = np.cumsum([len(part) for part in np.array_split(np.arange(values.size), 10)])
    assert all(
        np.searchsorted(sizes, ranks[i], side="right") == tenth - 1 for i, tenth in drawn.select("text_id", "tenth").iter_rows()
    )
    alike = shown("alike_values").row(0, named=True)
    other = asked.cube(CK, alike["site"]).read(layer=alike["layer"], neurons=[alike["neuron"]])[0].astype(np.float64)
    assert alike["correlation"] == pytest.approx(np.corrcoef(values, other)[0, 1])


def test_what_two_checkpoints_share_is_that_of_plain_sets(asked: Atlas) -> None:
    part = VIEWS["compare"].part("experts")
    other = "planted-step128"
    shown = asked.sql(part.sql, {"checkpoint": CK, "other": other})
    experts = asked.scan("experts").collect()
    for row in shown.to_dicts():
        own = experts.filter(concept=row["concept"], language=row["language"])
        sets = [set(own.filter(checkpoint=one).select("site", "layer", "neuron").iter_rows()) for one in (CK, other)]
        assert (row["n_common"], row["k"]) == (len(sets[0] & sets[1]), 6)
    assert shown.height == experts.filter(checkpoint=CK, rank=1).height


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, scored_path: Path, twinned: Atlas) -> dict[str, Atlas]:
    """Stores that lack something."""
    folder = tmp_path_factory.mktemp("lacking")
    small = Planting(n_groups=12, steps=(64,), sharing=(1.0,), languages=("en",), concepts=("salt", "water"), token_sites={})
    odd = Planting(
        n_groups=12, steps=(64,), sharing=(1.0,), languages=("l'en", 'zh"x'), concepts=('cow\'s "milk"; --', "$k {k}", "a\u202eb")
    )
    made = {
        "only extracted": planted_store(folder / "bare", small),
        "one language, one checkpoint": planted_store(folder / "one", small),
        "odd names": planted_store(folder / "odd", odd),
    }
    import_scores(folder / "imported", open_store(scored_path).sql(
        "SELECT checkpoint, language, concept, site, layer, neuron, ap FROM scores WHERE checkpoint = 'planted-step64'"
    ), provenance="a test")  # fmt: skip
    for path in (made["one language, one checkpoint"], made["odd names"]):
        score_neurons(path)
        top_experts(open_store(path, "a"), k=4)
    top_experts(open_store(folder / "imported", "a"), k=4)
    return {"only scored": open_store(scored_path), "imported": open_store(folder / "imported"), "with a twin": twinned} | {
        name: open_store(path) for name, path in made.items()
    }


@pytest.mark.parametrize(
    "name", ["only extracted", "only scored", "one language, one checkpoint", "imported", "with a twin", "odd names"]
)
def test_what_is_missing_is_a_line_with_its_command(stores: dict[str, Atlas], name: str) -> None:
    store = stores[name]
    n_answered = 0
    described = {view.name: describe(view, {}, store.sql) for view in VIEWS.values()}
    json.dumps(described, allow_nan=False)
    for view, part in PARTS.values():
        shown = answer(part, described[view.name]["params"], store.sql)
        json.dumps(shown, allow_nan=False)
        n_answered += shown["error"] is None
        if shown["error"]:
            assert shown["error"]["kind"] in ("TableNotFound", "QueryError"), (part.name, shown["error"])
            said = shown["error"]["text"]
            assert re.search(r"actlas [a-z-]+|holds imported scores only|; it has ", said), (part.name, said)
    assert n_answered >= len(VIEWS["store"].parts)


def test_odd_names_are_only_ever_parameters(stores: dict[str, Atlas]) -> None:
    store = stores["odd names"]
    concepts = describe(VIEWS["concept"], {}, store.sql)["choices"][0]["values"]
    assert len(concepts) == 3
    for concept in concepts:
        params = chosen(VIEWS["concept"], {"concept": concept}, store.sql)
        part = VIEWS["concept"].part("experts")
        shown = answer(part, params, store.sql)
        assert shown["n_rows"] == top_experts(store, k=4, concepts=[concept], keep=False).height
        assert as_answer(store.sql(filled(part.sql, params))) == shown


def test_a_neuron_is_looked_at_first_that_most_languages_share(asked: Atlas) -> None:
    for concept in ("salt", "water"):
        given = chosen(VIEWS["concept"], {"concept": concept}, asked.sql)
        shared = VIEWS["concept"].part("shared")
        first = asked.sql(shared.sql, shared.params(given)).row(0, named=True)
        found = chosen(VIEWS["neuron"], {"concept": concept}, asked.sql)
        assert {name: first[name] for name in ("site", "layer", "neuron")}.items() <= found.items()
        assert found["checkpoint"] == given["checkpoint"]


def test_saved_queries_are_answered(asked: Atlas) -> None:
    for query in SAVED.values():
        assert asked.sql(query).height > 0


def test_a_store_warns_of_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = planted_store(tmp_path / "store", Planting(n_groups=12, steps=(8,), sharing=(1.0,), token_sites={}))
    score_neurons(path)
    top_experts(open_store(path, "a"), k=4)
    score_neurons(path, sites=["mlp_pre"], stats=("ap", "median"), overwrite=True)
    store = open_store(path)
    said = {(kind, name): warning for kind, name, warning in store.sql(VIEWS["store"].part("warnings").sql).iter_rows()}
    assert said["table", "experts"].startswith("is not current at planted-step8")
    assert said["concept", "yeast"] == "has no scores in es: no positive or no negative text"
    shown = answer(VIEWS["concept"].part("shared"), chosen(VIEWS["concept"], {}, store.sql), store.sql)
    assert shown["error"]["kind"] == "StaleTable"
    assert f"actlas experts {path} --k 4" in shown["error"]["text"]
