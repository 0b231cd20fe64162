"""SQL on a planted store: the sandbox, the macros, the messages."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from actlas.errors import QueryError, TableNotFound
from actlas.query import TABLES, Atlas, open_store


def test_first_checkpoints_agree_with_a_loop(asked: Atlas) -> None:
    for concept in asked.corpus.concepts:
        one = asked.ask("first_shared", concept=concept, m=2)
        every = asked.ask("first_shared_by_concept", m=2).filter(concept=concept)
        assert every.equals(one)
    first: dict[tuple[object, ...], str] = {}
    for checkpoint in asked.checkpoints:
        for row in asked.ask("neurons_above", checkpoint=checkpoint, concept="salt", x=0.5, m=2).iter_rows(named=True):
            first.setdefault((row["site"], row["layer"], row["neuron"]), checkpoint)
    found = asked.ask("first_above", concept="salt", x=0.5, m=2)
    assert {(r["site"], r["layer"], r["neuron"]): r["checkpoint"] for r in found.iter_rows(named=True)} == first


def test_a_question_is_asked_as_it_is(asked: Atlas) -> None:
    for name, given, said in [
        ("best_expert", {}, "did you mean 'best_experts'"),
        ("best_experts", {"checkpoint": "x", "language": "en"}, "concept has no value; it is asked as best_experts"),
        ("best_experts", {"checkpoint": "x", "language": "en", "concept": "salt", "k": 3}, "no argument k"),
        ("shared_experts", {"checkpoint": "planted-step64", "concept": "pepper"}, "no concept 'pepper'"),
    ]:
        with pytest.raises(QueryError, match=re.escape(said)):
            asked.ask(name, **given)


def test_shared_experts_agree_with_sets(asked: Atlas) -> None:
    experts = asked.sql("SELECT * FROM experts WHERE checkpoint = 'planted-step64' AND concept = 'salt'")
    languages: dict[tuple[object, ...], set[str]] = {}
    for row in experts.iter_rows(named=True):
        languages.setdefault((row["site"], row["layer"], row["neuron"]), set()).add(row["language"])
    wanted = {neuron: names for neuron, names in languages.items() if len(names) >= 2}
    shared = asked.sql("FROM shared_experts('planted-step64', 'salt')")
    assert {(r["site"], r["layer"], r["neuron"]): set(r["languages"]) for r in shared.to_dicts()} == wanted


@pytest.mark.parametrize("site", ["mlp_pre", "mlp_hidden", "attn_out"])
def test_experts_are_language_specific_wherever_their_neuron_was_counted(bare: Path, site: str) -> None:
    store = open_store(bare, "a")
    experts = pl.DataFrame(
        {"language": "en", "concept": "salt", "rank": 1, "site": "mlp_pre", "layer": 1, "neuron": [3], "ap": 0.9}
    )
    specific = pl.DataFrame({"site": site, "layer": 1, "neuron": [3, 4], "language": "fr", "p_active": 0.5, "entropy": 0.1})
    for name, frame in (("experts", experts), ("lape", specific)):
        store.publish_table(
            name, "planted-step64", TABLES[name].empty().join(frame, on=frame.columns, how="full", coalesce=True), {}
        )
    found = store.sql("FROM language_experts('planted-step64')").select("specific_to", "site", "layer", "neuron").rows()
    assert found == ([] if site == "attn_out" else [("fr", "mlp_pre", 1, 3)])


def test_overlap_at_the_stored_k_is_the_table(asked: Atlas) -> None:
    for concept in ("fire", "salt", "water"):
        at = asked.sql(f"FROM overlap_at('planted-step0', '{concept}', 6)")
        table = asked.sql(
            f"SELECT * EXCLUDE (ceiling, cross_half, n_neurons) FROM overlap "
            f"WHERE checkpoint = 'planted-step0' AND concept = '{concept}' ORDER BY ALL"
        )
        assert at.equals(table)
        assert at.height == 3


def test_variables_bound_a_scan_and_are_forgotten(asked: Atlas) -> None:
    query = (
        "SET VARIABLE ks = (SELECT list(DISTINCT neuron) FROM experts WHERE layer = 1 AND site = 'mlp_pre'); "
        "SELECT count(DISTINCT neuron) AS n FROM activations WHERE checkpoint = 'planted-step0' AND site = 'mlp_pre' "
        "AND layer = 1 AND neuron IN getvariable('ks')"
    )
    wanted = asked.sql("SELECT count(DISTINCT neuron) AS n FROM experts WHERE layer = 1 AND site = 'mlp_pre'")
    assert asked.sql(query).equals(wanted)
    assert asked.sql("SELECT getvariable('ks') AS x")["x"].to_list() == [None]


@pytest.mark.parametrize(
    "query",
    [
        "COPY texts TO '{folder}/out.csv'",
        "WITH x AS (COPY texts TO '{folder}/out.csv') SELECT 1",
        "WITH x AS (COPY texts TO '{store}/corpus/texts.parquet' (FORMAT parquet)) SELECT 1",
        "EXPLAIN ANALYZE COPY texts TO '{folder}/out.csv'",
        "ATTACH '{folder}/out.db'",
        "SELECT * FROM read_csv('{folder}/secret.csv')",
        "SELECT * FROM '{folder}/secret.csv'",
        'SELECT * FROM "{folder}/secret.csv"',
        "SET enable_external_access = true",
        "SELECT * FROM frame",
    ],
)
def test_nothing_outside_is_reached_and_nothing_is_written(bare: Path, query: str) -> None:
    (bare.parent / "secret.csv").write_text("a\nsecret\n")
    frame = pl.DataFrame({"a": ["secret"]})
    before = (bare / "corpus" / "texts.parquet").read_bytes()
    store = open_store(bare)
    with pytest.raises((QueryError, TableNotFound)):
        store.sql(query.format(folder=bare.parent, store=bare))
    assert frame.height == 1
    assert sorted(path.name for path in bare.parent.iterdir()) == ["bare.actlas", "secret.csv"]
    assert (bare / "corpus" / "texts.parquet").read_bytes() == before


def test_a_table_that_was_not_computed_is_told(bare: Path) -> None:
    store = open_store(bare)
    with pytest.raises(
        TableNotFound, match=r"table experts was not computed yet: actlas experts .*bare.actlas; .* has activations, check"
    ):
        store.sql("SELECT * FROM experts")
    with pytest.raises(TableNotFound, match="actlas score"):
        store.sql("SELECT * FROM scores")
    with pytest.raises(TableNotFound, match="actlas lape"):
        store.sql("FROM lape_overlap('a', 'b')")
    with pytest.raises(TableNotFound, match="actlas steer"):
        store.sql("FROM generations")
    with pytest.raises(TableNotFound, match="no table nonsense"):
        store.sql("FROM nonsense")


def test_mistakes_are_query_errors(asked: Atlas) -> None:
    with pytest.raises(QueryError, match='"nope" not found'):
        asked.sql("SELECT nope FROM experts")
    with pytest.raises(QueryError, match="syntax error"):
        asked.sql("SELEC 1")
    with pytest.raises(QueryError, match="table function nothing may reach outside"):
        asked.sql("FROM nothing(1)")


def test_threads_take_turns(asked: Atlas) -> None:
    answers: list[int] = []

    def ask(k: int) -> None:
        query = f"SET VARIABLE k = {k}; SELECT count(*) AS n FROM experts WHERE rank <= getvariable('k')"
        answers.append(asked.sql(query)["n"].to_list()[0] // k)

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [33] * 6


def test_a_process_ends_quietly(scored_path: Path) -> None:
    """A connection that is open, or whose query failed, must leave nothing on stderr when the interpreter ends."""
    script = (
        "from actlas.query import open_store\n"
        f"store = open_store({str(scored_path)!r})\n"
        "print(store.sql('SELECT count(*) AS n FROM activations')['n'][0])\n"
        "try:\n    store.sql('SELECT nope FROM checkpoints')\nexcept ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith(str(3 * 208 * 144))


@pytest.mark.parametrize("m", [1, 2, 3])
def test_sharing_by_layer_counts_neurons_with_concepts_and_says_what_chance_would_give(asked: Atlas, m: int) -> None:
    experts = asked.sql("SELECT * FROM experts WHERE checkpoint = 'planted-step64'")
    places = asked.sql("SELECT * FROM layer_histogram WHERE checkpoint = 'planted-step64'")
    answer = asked.sql(f"FROM shared_by_layer('planted-step64', m := {m})")
    for row in answer.iter_rows(named=True):
        own = experts.filter(layer=row["layer"]).group_by("concept", "site", "neuron").agg(pl.col("language").n_unique())
        assert (row["n_neuron_concepts"], row["n_shared"]) == (own.height, own.filter(pl.col("language") >= m).height)
        assert row["share"] == row["n_shared"] / row["n_neuron_concepts"]
        # every set of languages that may draw one neuron of a layer, weighed by how likely each draws it
        reached = {1: 0.0, m: 0.0}
        for _, cells in places.filter(layer=row["layer"]).group_by("concept", "site"):
            p = (cells["n_experts"] / cells["n_neurons"]).to_list()
            for drawn in product((False, True), repeat=len(p)):
                weight = cells["n_neurons"][0] * prod(one if is_in else 1 - one for one, is_in in zip(p, drawn, strict=True))
                for least in reached:
                    reached[least] += weight * (sum(drawn) >= least)
        assert row["chance"] == pytest.approx(reached[m] / reached[1])
    # half of what was planted at this step is the same in all languages
    assert answer.height == 2
    assert m != 2 or (answer["share"] > answer["chance"]).all()


@pytest.mark.usefixtures("ctrl_c_interrupts")
def test_ctrl_c_ends_a_query_at_once(bare: Path) -> None:
    store = open_store(bare)
    store.timeout = 60
    threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        store.sql("SELECT sum(random()) FROM range(100000000000)")
    assert time.monotonic() - began < 5
    assert store.sql("SELECT 7 AS n").item() == 7


def test_a_question_tells_how_far_it_is_as_a_query_does(asked: Atlas) -> None:
    given = {"checkpoint": "planted-step64", "site": "mlp_pre", "layer": 0, "threshold": 1.5}
    told: list[tuple[int, int, str]] = []
    answer = asked.ask("text_activity", progress=lambda *step: told.append(step), **given)
    assert told[-1] == (40 * 144, 40 * 144, "reading")
    assert answer.sort("language").equals(asked.ask("text_activity", **given).sort("language"))


@pytest.mark.usefixtures("ctrl_c_interrupts")
def test_ctrl_c_ends_a_question_while_it_reads(bare: Path) -> None:
    store = open_store(bare)
    given = {"checkpoint": "planted-step64", "site": "mlp_pre", "layer": 0, "threshold": 1.5}

    def interrupt(*_: object) -> None:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.2)

    with pytest.raises(KeyboardInterrupt):
        store.ask("text_activity", progress=interrupt, **given)
    assert store.ask("text_activity", **given).height > 0


def test_a_deadline_is_heard_while_a_query_is_prepared(scored_path: Path) -> None:
    store = open_store(scored_path)
    store.timeout = 0.2
    endless = "(SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE (a.range * b.range) % 7 = 1)"
    for query in (
        f"SELECT count(*) FROM activations WHERE neuron = {endless}",
        f"FROM neurons_above('planted-step0', 'salt', 0.5, m := {endless})",
        " UNION ALL ".join(["SELECT max(value) FROM activations WHERE neuron % 7 = 5"] * 900),
    ):
        with pytest.raises(QueryError, match=r"ended after 0\.2 seconds"):
            store.sql(query)
    store.timeout = None
    assert store.sql("SELECT 1 AS n").item() == 1


def test_a_query_may_not_be_nested_without_end(scored: Atlas) -> None:
    deep = "SELECT * FROM " + "(SELECT * FROM " * 900 + "languages" + ")" * 900
    with pytest.raises(QueryError, match="nested too deeply"):
        scored.sql(deep)
    assert scored.sql("SELECT 1 AS n").item() == 1


def test_numbers_of_numpy_are_numbers(scored: Atlas) -> None:
    given = {"a": np.int64(5), "b": np.float32(0.5), "c": np.bool_(True)}
    assert scored.sql("SELECT $a AS a, $b AS b, $c AS c", given).row(0) == (5, 0.5, True)
