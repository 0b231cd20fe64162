"""The tables' columns, and that what others rely on is there."""

from __future__ import annotations

import polars as pl
import pytest

from actlas.errors import QueryError
from actlas.query.schema import TABLES

RELIED_ON = {
    "checkpoints": "checkpoint model step revision weight_hash sanity_loss backend dtype",
    "texts": "text_id text language parallel_id split n_tokens",
    "labels": "text_id concept is_concept",
    "scores": "checkpoint language concept site layer neuron ap auroc p_active p_active_off mean std median p90 best_f1",
    "activations": "checkpoint site layer neuron text_id value",
    "experts": "checkpoint language concept rank site layer neuron ap median",
    "overlap": "checkpoint concept language_a language_b k shared overlap jaccard chance ceiling",
    "overlap_by_layer": "checkpoint concept language_a language_b layer k shared overlap jaccard chance ceiling",
    "lape": "checkpoint site layer neuron language p_active entropy",
    "probe": "checkpoint site layer label seed accuracy n_train n_test c",
    "probe_classes": "checkpoint site layer label seed truth predicted n",
    "probe_controls": "checkpoint site layer label seed accuracy control selectivity c",
    "probe_transfer": "checkpoint site layer label seed language_train language_test accuracy chance n_train n_test c",
    "top_texts": "checkpoint site layer neuron rank text_id value",
}


@pytest.mark.parametrize("name", sorted(RELIED_ON))
def test_columns_that_others_rely_on_come_first(name: str) -> None:
    columns = RELIED_ON[name].split()
    assert list(TABLES[name].columns)[: len(columns)] == columns


def test_conform_orders_and_casts() -> None:
    table = TABLES["labels"]
    frame = pl.DataFrame({"is_concept": [True], "concept": ["x"], "text_id": pl.Series([1], dtype=pl.Int8), "more": [0]})
    assert table.conform(frame).schema == table.empty().schema
    with pytest.raises(QueryError, match="table labels needs column concept, is_concept; the frame has text_id"):
        table.conform(frame.select("text_id"))


def test_every_computed_table_names_its_command() -> None:
    for table in TABLES.values():
        assert table.about
        if table.stored:
            assert table.command is not None
            assert table.command.startswith("actlas ")
