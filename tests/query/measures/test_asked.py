"""Every measure is kept, found again by its options, out of date with what it stands on, and made again by its command."""

import shlex
import shutil

import numpy as np
import polars as pl
import pytest

import actlas.query
from actlas.cli import run
from actlas.errors import QueryError, ReadOnlyStore, StaleTable
from actlas.query import cka, discrimination, import_scores, mexa, neuron_correlation, open_store
from actlas.query.keep import basis_of, kept_parts
from actlas.query.measures.registry import MEASURES
from actlas.query.schema import TABLES
from actlas.store.cube import Cube, TokenCube
from actlas.testing.planted import Planting, planted_store

CK = "planted-step64"
#: Measure -> options other than the defaults.
OPTIONS = {
    "effective_rank": {"n_splits": 0, "seed": 4},
    "class_means": {"of": "both", "concepts": ["salt"]},
    "class_distances": {"concepts": ["salt", "water"]},
    "mexa": {"pivot": "en", "weighting": "mean"},
    "translation_similarity": {"values": "pooled"},
    "procrustes": {"seed": 3},
    "cka": {"between": "checkpoints", "n_texts": 30},
    "svcca": {"between": "languages", "languages": ["en", "fr"]},
    "neuron_correlation": {"best": True},
    "discrimination": {"n": 3, "by": "point_biserial"},
    "monolinguality": {"n": 3, "of": "deviations"},
    "neuron_ranges": {"n": 3, "bounds": "quantile", "tail": 0.1},
    "mutual_information": {"n": 3, "estimate": "gaussian"},
    "dimension_overlap": {"n": 3, "n_bins": 4},
    "p90_selection": {"n": 3, "bar_quantile": 0.8},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The path of a store that is soon copied."""
    planting = Planting(sites={"attn_out": (2, 32)}, token_sites={"embed": (1, 6)}, n_groups=24)
    return planted_store(tmp_path_factory.mktemp("small") / "small.actlas", planting)


@pytest.fixture
def own(small, tmp_path):
    return shutil.copytree(small, tmp_path / "own.actlas")


def ordered(frame):
    return frame.sort([name for name, dtype in frame.schema.items() if not dtype.is_float() and not dtype.is_nested()])


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_an_answer_with_any_options_is_kept_and_its_command_makes_it_again(name, own, small, tmp_path):
    again = shutil.copytree(small, tmp_path / "again.actlas")
    site = ["embed"] if name == "effective_rank" else ["attn_out"]
    function = getattr(actlas.query, name)
    frame = function(own, sites=site, keep=True, **OPTIONS[name])
    store = open_store(own)
    assert ordered(store.sql(f"FROM {name}")).equals(ordered(frame))
    assert ordered(store.scan(name).collect()).equals(ordered(frame))
    part = next(kept_parts(store, name))
    assert part.is_current(store)
    for option, value in OPTIONS[name].items():
        assert part.settings[option] == value
    words = shlex.split(part.command(store).replace(str(own), str(again)))
    assert run(["--quiet", *words[1:]]) == 0
    assert dict(next(kept_parts(open_store(again), name)).settings) == dict(part.settings)
    assert ordered(open_store(again).sql(f"FROM {name}")).equals(ordered(frame))


def test_every_measure_is_here():
    assert {measure.function for measure in MEASURES} == set(OPTIONS)
    for measure in MEASURES:
        table = TABLES[measure.function]
        assert set(table.settings) | set(table.limits) == {"sites", "compared"} | {option.name for option in measure.options}


def test_options_stand_beside_each_other_and_fewer_neurons_are_a_part_of_more(own):
    more = discrimination(own, checkpoints=[CK], n=6, keep=True)
    steps = []
    fewer = discrimination(own, checkpoints=[CK], n=2, progress=lambda *step: steps.append(step))
    assert fewer.equals(more.filter(pl.col("rank") <= 2))
    assert not steps, "nothing is computed again"
    other = discrimination(own, checkpoints=[CK], n=6, by="point_biserial", keep=True)
    store = open_store(own)
    assert store.sql("FROM discrimination").equals(more)
    assert len(store.sql("SELECT DISTINCT settings FROM discrimination_by_settings")) == 2
    assert discrimination(own, checkpoints=[CK], n=6, by="point_biserial", keep=True, replace=True).equals(other)
    assert open_store(own).sql("FROM discrimination").equals(other)


def test_checkpoints_that_are_compared_are_kept_together(own):
    names = ["planted-step0", CK, "planted-step128"]
    frame = neuron_correlation(own, sites=["attn_out"], keep=True)
    assert frame["checkpoint"].unique(maintain_order=True).to_list() == names[:2]
    two = neuron_correlation(own, sites=["attn_out"], checkpoints=names[:2], keep=True)
    assert two.equals(frame.filter(checkpoint=names[0]))
    store = open_store(own)
    assert store.sql("FROM neuron_correlation").equals(frame)
    assert [part.settings["compared"] for part in kept_parts(store, "neuron_correlation")] == [names] * 3 + [names[:2]] * 2
    pairs = cka(own, between="checkpoints", sites=["attn_out"], n_texts=20, keep=True)
    assert pairs.select("checkpoint", "checkpoint_b").unique().height == 3


def test_a_measure_of_values_that_changed_is_out_of_date(own):
    frame = mexa(own, sites=["attn_out"], keep=True)
    store = open_store(own, "a")
    settings = {**store.table_settings("mexa", CK), "basis": "of other values"}
    store.publish_table("mexa", CK, frame.filter(checkpoint=CK), settings)
    assert store.sql("SELECT checkpoint FROM settings WHERE NOT is_current")["checkpoint"].to_list() == [CK]
    with pytest.raises(StaleTable, match="make it again: actlas measure mexa"):
        store.sql("FROM mexa")
    assert mexa(own, sites=["attn_out"], keep=True).equals(frame)
    assert open_store(own).sql("FROM mexa").height == frame.height


def test_what_is_compared_stands_on_all_that_is_compared(small):
    store = open_store(small)
    names = store.checkpoints
    basis = {
        tuple(compared): basis_of(store, "cka", names[0], {"compared": compared})
        for compared in (names, names[:2], [names[0]], [*names[:2], "gone"])
    }
    assert len(set(basis.values())) == 4
    assert basis[(names[0],)] == basis_of(store, "cka", names[0], {"compared": None})


def test_keeping_is_asked_for(own):
    mexa(own, sites=["attn_out"])
    mexa(open_store(own), sites=["attn_out"])
    assert open_store(own).table_names() == []
    with pytest.raises(ReadOnlyStore, match="mode='a'"):
        mexa(open_store(own), keep=True)
    mexa(open_store(own, "a"), sites=["attn_out"])
    assert open_store(own).table_names() == ["mexa"]


def test_named_neurons_are_kept_by_what_they_are(own):
    neurons = pl.DataFrame({"site": "attn_out", "layer": [0, 1, 1], "neuron": [1, 2, 3]})
    for named in (neurons, neurons.reverse(), neurons.head(2)):
        cka(own, neurons=named, values="pooled", sites=["attn_out"], keep=True)
    store = open_store(own)
    assert len({part.settings["neurons"] for part in kept_parts(store, "cka")}) == 2


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_scores_without_values_are_refused(measure, tmp_path):
    about = {"checkpoint": "c", "language": "en", "concept": "a", "site": "mlp_pre", "layer": 0}
    import_scores(tmp_path / "s", pl.DataFrame({**about, "neuron": [0, 1], "ap": [0.5, 0.7]}), provenance="a test")
    with pytest.raises(QueryError, match="scores"):
        getattr(actlas.query, measure.function)(tmp_path / "s")


def test_progress_goes_from_nothing_to_all_over_every_checkpoint(small):
    for measure in MEASURES:
        told = []
        getattr(actlas.query, measure.function)(small, progress=lambda *step, told=told: told.append(step))
        done, totals = [step[0] for step in told], {step[1] for step in told}
        assert done == sorted(done), measure.name
        assert len(totals) == 1
        assert done[-1] == totals.pop()


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_a_value_that_is_no_number_is_named_and_nothing_is_told(measure, small, monkeypatch):
    for kind, wrong in ((Cube, np.inf), (TokenCube, np.nan)):
        monkeypatch.setattr(kind, "read", spoiled(kind.read, wrong))
    with pytest.raises(QueryError, match=r"of planted-step\d+ has NaN or infinity .* in layer"):
        getattr(actlas.query, measure.function)(small)


def spoiled(read, wrong):
    def spoil(self, *args, **kwargs):
        values = read(self, *args, **kwargs).copy()
        values.flat[3] = wrong
        return values

    return spoil


#: Planting -> what the measures of it say that cannot be taken; every other one has an answer.
ODD = {
    "one language": (
        Planting(languages=("en",), n_groups=12),
        {
            **dict.fromkeys(("class_distances", "mexa", "translation_similarity", "procrustes"), "there is en alone"),
            "monolinguality": "has en alone",
            "dimension_overlap": "two languages",
        },
    ),
    "three meanings": (
        Planting(languages=("en", "fr"), n_groups=5),
        dict.fromkeys(("mexa", "translation_similarity", "procrustes"), "share 3 meanings")
        | {"dimension_overlap": None, "effective_rank": None},
    ),
    "all constant": (Planting(share_constant=1.0, n_groups=12), {}),
    "one checkpoint": (Planting(steps=(0,), sharing=(0.0,), n_groups=12), {"neuron_correlation": "alone; name two"}),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_stores_have_no_wrong_number(odd, tmp_path):
    planting, refused = ODD[odd]
    store = open_store(planted_store(tmp_path / "s", planting))
    for measure in MEASURES:
        if measure.function in refused and refused[measure.function] is None:
            continue
        if message := refused.get(measure.function):
            with pytest.raises(QueryError, match=message):
                getattr(actlas.query, measure.function)(store)
            continue
        options = {"values": "pooled"} if any(option.name == "values" for option in measure.options) else {}
        frame = getattr(actlas.query, measure.function)(store, **options)
        floats = frame.select(pl.selectors.float())
        assert floats.select(pl.all().is_finite().all()).row(0) == (True,) * floats.width, measure.name
        if odd == "all constant" and measure.function not in (
            "effective_rank",
            "class_means",
            "class_distances",
            "dimension_overlap",
        ):
            about_values = ("chance", "expected", "bar")
            told = floats.drop(about_values, strict=False)
            assert (
                frame.is_empty()
                or measure.function in ("mexa", "translation_similarity")
                or all(told[name].null_count() == told.height for name in told.columns)
            ), measure.name
