"""Shares, shifts and rates of what steered models wrote are those of plain loops over the rows, with intervals of other code."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest, norm

from actlas.cli import run
from actlas.errors import TableNotFound
from actlas.query import Atlas, concept_rate, language_shift, open_store, steering_languages

Z = norm.ppf(0.975)
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def written(asked: Atlas) -> Rows:
    return asked.sql("SELECT * FROM generations").to_dicts()


def chosen(rows: Rows, row: dict[str, Any], **others: Any) -> Rows:
    """The texts that a row of an answer is about."""
    wanted = {name: row[name] for name in ("checkpoint", "concept", "language")} | others
    return [
        one for one in rows if all(one[name] == value for name, value in wanted.items() if (name, value) != ("concept", None))
    ]


def paired(rows: Rows, row: dict[str, Any], control: str, value: Callable[[dict[str, Any]], float | None]) -> Iterator[float]:
    """Means, over concepts, of differences of texts of one prompt and seed."""
    arms: dict[str, dict[Any, float | None]] = {}
    for arm in ("experts", control):
        arms[arm] = {(one["prompt"], one["seed"], one["concept"]): value(one) for one in chosen(rows, row, arm=arm)}
    by_draw = defaultdict(list)
    for key, steered in arms["experts"].items():
        other = arms[control][key]
        if steered is not None and other is not None:
            by_draw[key[:2]].append(steered - other)
    return (float(np.mean(own)) for own in by_draw.values())


def interval(differences: list[float]) -> tuple[float, float]:
    """Of Bonett and Price: two more draws, one for and one against."""
    more = np.array([*differences, 1, -1])
    half = Z * more.std() / math.sqrt(len(more))
    return max(more.mean() - half, -1), min(more.mean() + half, 1)


def test_functions_and_the_command_give_the_rows_of_macros(asked: Atlas, tmp_path: Path) -> None:
    for question in (steering_languages, language_shift, concept_rate):
        rows = asked.sql(f"FROM {question.__name__}()")
        assert question(asked.path).equals(rows)
        out = tmp_path / f"{question.__name__}.parquet"
        assert run(["sql", str(asked.path), f"FROM {question.__name__}()", "--format", "parquet", "--out", str(out)]) == 0
        assert pl.read_parquet(out).equals(rows)


def test_shares_are_those_of_a_plain_count(asked: Atlas, written: Rows) -> None:
    found = steering_languages(asked)
    for row in found.iter_rows(named=True):
        own = chosen(written, row, arm=row["arm"])
        n = sum(one["text_language"] == row["text_language"] for one in own)
        assert (row["n_texts"], row["n"], row["n_draws"]) == (len(own), n, 12)
        if row["concept"] is not None:
            wanted = binomtest(n, len(own)).proportion_ci(method="wilson")
            assert (row["low"], row["high"]) == pytest.approx((wanted.low, wanted.high), abs=1e-6)
        assert 0 <= row["low"] <= row["share"] <= row["high"] <= 1
    # 3 checkpoints, 2 concepts and both together, 2 languages of experts, 3 arms; 3 languages and null
    assert found.height == 3 * 3 * 2 * 3 * 4
    shares = found.group_by("checkpoint", "concept", "language", "arm").agg(pl.col("share").sum())["share"]
    assert shares.to_list() == pytest.approx([1] * shares.len())


def test_languages_that_nothing_was_written_in_keep_their_rows(asked: Atlas) -> None:
    none = steering_languages(asked).filter(pl.col("text_language") == "es")
    assert none.height == 3 * 3 * 2 * 3
    assert none["share"].unique().to_list() == [0]
    assert none["high"].min() > 0.1


def test_concepts_together_are_no_more_draws_than_there_are(tmp_path: Path, bare: Path, asked: Atlas) -> None:
    from actlas.query import TABLES

    one = asked.sql("SELECT * FROM generations WHERE checkpoint = 'planted-step64' AND concept = 'salt'")
    store = open_store(bare, "a")
    same = pl.concat([one.with_columns(concept=pl.lit(concept)) for concept in ("salt", "water", "fire")])
    store.publish_table("generations", "planted-step64", TABLES["generations"].conform(same), {})
    found = steering_languages(store)
    columns = ["language", "arm", "text_language", "n_draws", "share", "low", "high"]
    # the same texts three times over say no more than once
    together, alone = (
        found.filter(which).select(columns) for which in (pl.col("concept").is_null(), pl.col("concept") == "salt")
    )
    for name in columns:
        assert together[name].to_list() == pytest.approx(alone[name].to_list())
    shift = language_shift(store).partition_by("concept", include_key=False)
    assert all(part.equals(shift[0]) for part in shift[1:])


def test_independent_concepts_narrow_the_interval_of_all(asked: Atlas) -> None:
    found = steering_languages(asked).filter(pl.col("text_language") == "fr", pl.col("arm") == "experts")
    width = (
        found.with_columns(pl.col("high") - pl.col("low"), together=pl.col("concept").is_null())
        .group_by("together")
        .agg(pl.col("high").mean())
    )
    assert dict(width.iter_rows())[True] < 0.9 * dict(width.iter_rows())[False]


def test_shifts_are_means_of_paired_differences(asked: Atlas, written: Rows) -> None:
    found = language_shift(asked)
    assert found.height == 3 * 3 * 2 * 2
    for row in found.iter_rows(named=True):
        differences = list(paired(written, row, row["control"], lambda one: one["text_language"] == one["language"]))
        assert (row["n_draws"], row["shift"]) == pytest.approx((12, np.mean(differences)))
        assert row["shift"] == pytest.approx(row["share"] - row["control_share"])
        assert (row["low"], row["high"]) == pytest.approx(interval(differences), abs=1e-6)


def test_rates_count_what_is_known_and_differences_what_is_known_of_both(asked: Atlas, written: Rows) -> None:
    found = concept_rate(asked)
    assert found.height == 3 * 3 * 2 * 3 * 2
    measures: dict[str, Callable[[dict[str, Any]], float | None]] = {
        "words": lambda one: None if one["has_word"] is None else float(one["has_word"]),
        "probe": lambda one: None if one["probe_p"] is None else float(one["probe_p"] >= 0.5),
    }
    for row in found.iter_rows(named=True):
        value = measures[row["measure"]]
        known = [there for one in chosen(written, row, arm=row["arm"]) if (there := value(one)) is not None]
        assert (row["n_known"], row["rate"]) == (len(known), pytest.approx(np.mean(known)) if known else None)
        differences = [] if row["arm"] == "experts" else list(paired(written, row, row["arm"], value))
        assert row["n_draws"] == len(differences)
        if differences:
            assert row["difference"] == pytest.approx(np.mean(differences))
            assert (row["low"], row["high"]) == pytest.approx(interval(differences), abs=1e-6)
        else:
            assert (row["difference"], row["low"], row["high"]) == (None, None, None)


def test_no_difference_anywhere_is_no_certainty(asked: Atlas, bare: Path) -> None:
    from actlas.query import TABLES

    same = asked.sql("SELECT * FROM generations WHERE checkpoint = 'planted-step64'").with_columns(
        text_language=pl.lit("en"), has_word=pl.lit(True)
    )
    store = open_store(bare, "a")
    store.publish_table("generations", "planted-step64", TABLES["generations"].conform(same), {})
    rate = concept_rate(store).filter(pl.col("arm") == "none", pl.col("measure") == "words", pl.col("concept") == "salt")
    for frame, name in ((language_shift(store).filter(pl.col("concept") == "salt"), "shift"), (rate, "difference")):
        assert frame[name].unique().to_list() == [0]
        assert frame["low"].max() < -0.05
        assert frame["high"].min() > 0.05


def test_a_store_that_was_not_steered_says_how(scored: Atlas) -> None:
    with pytest.raises(TableNotFound, match="actlas steer"):
        steering_languages(scored)
