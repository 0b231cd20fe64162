"""Where tables come from: what is listed, what a query may read, and how often records are read for it."""

from __future__ import annotations

import pytest

from actlas.errors import TableNotFound
from actlas.query import TABLES, Atlas, open_store
from actlas.query.sql.sources import score_grid, table_sources


def test_every_table_is_a_source_and_kept_ones_have_all_settings_behind_them(asked: Atlas) -> None:
    sources = table_sources(asked)
    assert set(TABLES) <= set(sources.names)
    kept = {name for name, table in TABLES.items() if table.stored}
    assert set(sources.by_settings.values()) == kept
    for name in kept:
        assert sources.scan(f"{name}_by_settings").collect_schema().names() == [*TABLES[name].columns, "settings"]


def test_only_files_of_tables_may_be_read(asked: Atlas) -> None:
    paths = table_sources(asked).paths
    assert all(path.suffix == ".parquet" for path in paths)
    folders: dict[str, set[str]] = {}
    for path in paths:
        folders.setdefault(path.relative_to(asked.path).parts[0], set()).add(path.name)
    assert set(folders) == {"corpus", "tables", "manifests"}
    assert folders["manifests"] == {"neuron_health.parquet", "weights.parquet"}
    assert not any(path.name == "tokens.parquet" for path in paths)


def test_what_was_not_computed_names_its_command(asked: Atlas) -> None:
    sources = table_sources(asked)
    with pytest.raises(TableNotFound, match="no table nonsense"):
        sources.scan("nonsense")
    assert "actlas steer" in str(sources.missing("generations"))


def test_statistics_are_in_the_order_of_the_schema(scored: Atlas) -> None:
    grid = score_grid(scored, scored.snapshot())
    assert list(grid.columns)[:3] == ["ap", "auroc", "p_active"]


def test_a_question_reads_each_record_once(scored: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a query over all cubes: the second one reads none."""
    from actlas.store import records

    reads: list[str] = []
    original = records.decode_record
    monkeypatch.setattr(records, "decode_record", lambda data, path, kind: reads.append(str(path)) or original(data, path, kind))
    store = open_store(scored.path)
    for query in ("SELECT count(ap) FROM scores", "SELECT avg(value) FROM activations WHERE layer = 0 AND neuron = 1"):
        store.sql(query)
        assert len(reads) == len(set(reads))
    n_reads = len(reads)
    store.sql("SELECT count(median) FROM scores")
    store.sql("SELECT max(value) FROM activations WHERE layer = 0 AND neuron = 1")
    assert len(reads) == n_reads
