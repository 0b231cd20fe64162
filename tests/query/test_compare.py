"""Two stores set beside each other: the numbers of one store, from a query that the command line takes, too."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from actlas.cli import run
from actlas.explore.view import View, answer, chosen, describe
from actlas.explore.views.compare import COMPARE, compare
from actlas.query import Atlas, QueryWorker, expert_overlap, open_store, overlap_controls, score_neurons, top_experts
from actlas.report import measures
from actlas.testing import Planting, planted_store

LABELS = ("run", "control.1")
TWO = compare(LABELS, "control.1")
FIRST, SECOND = "planted-step64", "planted-step128"


@pytest.fixture(scope="module")
def control(asked: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same store again: what it is compared with is known."""
    return Path(shutil.copytree(asked.path, tmp_path_factory.mktemp("beside") / "control"))


@pytest.fixture(scope="module")
def worker(asked: Atlas) -> Iterator[QueryWorker]:
    with QueryWorker(asked.path, threads=1) as worker:
        yield worker


def rows(view: View, part: str, given: Mapping[str, str], ask: Any) -> pl.DataFrame:
    one = view.part(part)
    return ask(one.sql, one.params(chosen(view, given, ask)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("part", [part.name for part in TWO.parts])
def test_two_stores_give_what_one_store_gives(asked: Atlas, control: Path, part: str) -> None:
    def both(query: str, params: Mapping[str, Any]) -> pl.DataFrame:
        return asked.sql(query, params, stores={"control.1": control})

    given = {"checkpoint": FIRST, "other": SECOND}
    found = rows(TWO, part, {**given, "beside": "control.1"}, both)
    wanted = rows(COMPARE, part, given, asked.sql)
    assert found.height > 0
    if "store" in found.columns:
        assert found["store"].unique().sort().to_list() == sorted(LABELS)
    assert_frame_equal(found.drop("store", strict=False), wanted, rel_tol=1e-9)


def test_the_command_line_and_a_worker_give_the_same_rows(
    asked: Atlas, control: Path, worker: QueryWorker, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    stores = {"control.1": control}
    described = describe(TWO, {"beside": "control.1"}, lambda query, params: worker.ask(query, params, stores=stores))
    assert described["params"]["other"] == described["params"]["checkpoint"] == SECOND
    sql = next(part["sql"] for part in described["parts"] if part["name"] == "controls")
    assert run(["--quiet", "sql", str(asked.path), sql, "--with", f"control.1={control}", "--format", "arrow"]) == 0
    printed = pl.read_ipc_stream(io.BytesIO(capfdbinary.readouterr().out))
    assert_frame_equal(printed, worker.ask(sql, stores=stores), rel_tol=1e-9)
    # the report has the same of each
    for row, store in zip(printed.to_dicts(), (asked, open_store(control)), strict=True):
        told = measures.overlap_over_training(measures.Labelled("", store)).row(-1, named=True)
        assert {name: told[name] for name in ("overlap", "low", "high", "null", "corrected_ratio")}.items() <= row.items()


def test_what_only_one_has_is_told_and_what_none_has_is_a_line(asked: Atlas, tmp_path: Path) -> None:
    planting = Planting(n_groups=12, steps=(64,), sharing=(1.0,), languages=("en", "fr", "sv"), concepts=("salt", "tin"),
                        sites={"mlp_pre": (1, 24)}, token_sites={})  # fmt: skip
    other = open_store(planted_store(tmp_path / "other", planting), "a")
    score_neurons(other)
    top_experts(other, k=4)
    expert_overlap(other, k=4)
    overlap_controls(other, k=4)

    def ask(query: str, params: Mapping[str, Any]) -> pl.DataFrame:
        return asked.sql(query, params, stores={"other": other})

    view = compare(("run", "other"), "other")
    params = chosen(view, {"checkpoint": SECOND, "beside": "other"}, ask)
    assert params["other"] == "planted-step64"
    apart = {what: (first, second) for what, first, second in rows(view, "differences", params, ask).iter_rows()}
    assert apart["concept"] == ("fire, water, yeast", "tin")
    assert apart["step"] == ("128", "64")
    assert apart["site"][1] == "mlp_pre of 1 x 24"
    # of the pairs of languages that both have
    overlap = rows(view, "overlap", params, ask)
    assert overlap["concept"].to_list() == ["salt", "salt"]
    assert overlap["n_pairs"].to_list() == [1, 1]
    pair = asked.scan("overlap").filter(checkpoint=SECOND, concept="salt", language_a="en", language_b="fr").collect()
    assert overlap.filter(store="run")["overlap"].to_list() == pair["overlap"].to_list()
    said = answer(view.part("experts"), params, ask)["error"]
    assert said["text"].startswith("run and other have no site in common: attn_out of 2 x 24, mlp_hidden")
    assert said["text"].endswith("in run, mlp_pre of 1 x 24 in other")


def test_a_store_can_be_called_anything_that_sql_leaves_free(asked: Atlas, control: Path) -> None:
    assert asked.sql('SELECT count(*) FROM "Contr""ol ".languages', stores={'Contr"ol ': control}).item() == 3
    for taken in ("main", "Temp"):
        with pytest.raises(Exception, match=f"no other store can be called {taken}"):
            asked.sql("FROM languages", stores={taken: control})
