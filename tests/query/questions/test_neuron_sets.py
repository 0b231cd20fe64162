"""Imported neuron sets: kept beside each other and beside checkpoints, and compared with LAPE's own by plain sets."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import polars as pl
import pytest
import torch

from actlas.errors import CubeNotFound, NeuronSetError, QueryError, ReadOnlyStore
from actlas.query import TABLES, Atlas, import_neuron_sets, language_neurons, neuron_set_overlap, open_store
from actlas.store import verify

CHECKPOINT = "planted-step64"
LANGUAGES = ["fr", "en", "es"]


def saved(folder: Path, sets: list[set[tuple[int, int]]], name: str = "tiny") -> Path:
    held = [[torch.tensor(sorted(n for at, n in one if at == layer)).long() for layer in range(2)] for one in sets]
    torch.save(held, folder / f"{name}.neuron.pth")
    return folder / f"{name}.neuron.pth"


@pytest.fixture
def own(bare: Path) -> Atlas:
    return open_store(bare, "a")


def lape_sets(store: Atlas, checkpoint: str = CHECKPOINT) -> list[set[tuple[int, int]]]:
    frame = language_neurons(store, checkpoints=[checkpoint], share=0.2, bar_quantile=0.7, keep=False)
    return [set(frame.filter(language=one).select("layer", "neuron").rows()) for one in LANGUAGES]


def test_what_lape_selects_comes_back_as_itself_and_every_pair_is_counted(own: Atlas, tmp_path: Path) -> None:
    ours, other = lape_sets(own), [{(0, 0), (1, 39)}, {(0, 16)}, set()]
    import_neuron_sets(own, saved(tmp_path, ours, "a"), name="same", languages=LANGUAGES)
    import_neuron_sets(own, saved(tmp_path, other, "b"), name="other", languages=LANGUAGES, checkpoints=[CHECKPOINT])
    frame = neuron_set_overlap(own, checkpoints=[CHECKPOINT], share=0.2, bar_quantile=0.7)
    sets: dict[tuple[str, str | None], set[tuple[int, int]]] = {}
    for name, of_name in (("same", ours), ("other", other), ("lape", ours)):
        sets |= {(name, language): one for language, one in zip(LANGUAGES, of_name, strict=True) if one}
        sets[name, None] = set().union(*of_name)
    found = {}
    for row in frame.iter_rows(named=True):
        found[(row["name_a"], row["language_a"]), (row["name_b"], row["language_b"])] = row
    for (one, a), (two, b) in product(sets.items(), repeat=2):
        row = found.get((one, two))
        assert ((one, two) in found) != ((two, one) in found) or one == two
        if row is not None:
            assert (row["n_a"], row["n_b"], row["shared"]) == (len(a), len(b), len(a & b))
            assert row["jaccard"] == pytest.approx(len(a & b) / len(a | b))
            assert row["chance"] == pytest.approx(len(a) * len(b) / 80)
    assert frame.height == len(sets) * (len(sets) + 1) // 2
    assert frame.filter(name_a="same", language_a="fr", name_b="lape", language_b="fr")["jaccard"].to_list() == [1.0]
    at_others = neuron_set_overlap(own, checkpoints=["planted-step0"])
    assert "other" not in {*at_others["name_a"], *at_others["name_b"]}


def test_sets_stand_beside_each_other_and_sql_sees_them(own: Atlas, tmp_path: Path) -> None:
    path = saved(tmp_path, [{(0, 16), (1, 3)}, {(0, 16)}], "x")
    frame = import_neuron_sets(own, path, name="x", languages=["en", "fr"])
    assert frame.schema == pl.Schema(dict(TABLES["neuron_sets"].columns))
    assert frame.height == 3 * 3
    again = import_neuron_sets(own, path, name="x", languages=["en", "fr"])
    assert again.equals(frame)
    import_neuron_sets(own, path, name="y", languages=["es", "en"], site="attn_out", checkpoints=[CHECKPOINT])
    counted = own.sql("SELECT name, site, count(*) AS n FROM neuron_sets GROUP BY ALL ORDER BY ALL").rows()
    assert counted == [("x", "mlp_hidden", 9), ("y", "attn_out", 3)]
    joined = "SELECT s.language FROM neuron_sets s JOIN token_activity t USING (checkpoint, site, layer, neuron) WHERE p_max > 0"
    language_neurons(own)
    assert own.sql(joined).height > 0
    about = own.table_settings("neuron_sets", CHECKPOINT)["sets"]
    assert about == {
        "x": {"file": "x.neuron.pth", "languages": ["en", "fr"]},
        "y": {"file": "x.neuron.pth", "languages": ["es", "en"]},
    }
    assert own.sql("SELECT DISTINCT is_current FROM settings WHERE table_name = 'neuron_sets'").rows() == [(True,)]
    assert verify(own).damage == ()
    groups = neuron_set_overlap(own, checkpoints=[CHECKPOINT]).filter(pl.col("name_a") != pl.col("name_b"))
    assert {frozenset(row) for row in groups.select("name_a", "name_b").rows()} <= {frozenset({"x", "lape"})}


def test_other_sets_of_a_name_are_replaced_only_when_asked(own: Atlas, tmp_path: Path) -> None:
    kept = import_neuron_sets(own, saved(tmp_path, [{(0, 1)}]), name="x", languages=["en"])
    other = saved(tmp_path, [{(0, 2)}], "other")
    with pytest.raises(QueryError, match="planted-step0 has other sets called x; give these another name, or replace"):
        import_neuron_sets(own, other, name="x", languages=["en"])
    assert own.scan("neuron_sets").collect().equals(kept)
    import_neuron_sets(own, other, name="x", languages=["en"], replace=True)
    assert own.sql("SELECT DISTINCT neuron FROM neuron_sets").rows() == [(2,)]


def test_sets_that_another_process_adds_meanwhile_stay(own: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, publish, is_first = saved(tmp_path, [{(0, 1)}]), Atlas.publish_table, True

    def late(self, *arguments, **options):  # type: ignore[no-untyped-def]
        nonlocal is_first
        if is_first:
            is_first = False
            import_neuron_sets(own, path, name="faster", languages=["en"], checkpoints=[CHECKPOINT])
        return publish(self, *arguments, **options)

    monkeypatch.setattr(Atlas, "publish_table", late)
    import_neuron_sets(own, path, name="x", languages=["en"], checkpoints=[CHECKPOINT])
    assert own.sql("SELECT name FROM neuron_sets ORDER BY name").rows() == [("faster",), ("x",)]


def test_what_cannot_be_kept_is_refused_and_nothing_is(own: Atlas, tmp_path: Path) -> None:
    path = saved(tmp_path, [{(0, 39)}])
    for name in ("lape", " "):
        with pytest.raises(QueryError, match="sets cannot be called|name is empty"):
            import_neuron_sets(own, path, name=name, languages=["en"])
    with pytest.raises(NeuronSetError, match="names neuron 39, and a layer of the model has 24"):
        import_neuron_sets(own, path, name="x", languages=["en"], site="attn_out")
    with pytest.raises(CubeNotFound, match="nor counts at mlp_up, .* it has some at attn_out, mlp_hidden, mlp_pre"):
        import_neuron_sets(own, path, name="x", languages=["en"], site="mlp_up")
    with pytest.raises(ReadOnlyStore):
        import_neuron_sets(open_store(own.path), path, name="x", languages=["en"])
    assert own.table_names() == []
