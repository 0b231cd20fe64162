"""Monolinguality beside plain numpy over all neurons."""

import numpy as np
import pytest

from actlas.errors import QueryError
from actlas.query import monolinguality, open_store
from actlas.testing.planted import Planting, planted_store


@pytest.mark.parametrize("of", ["values", "deviations"])
def test_the_neurons_are_those_of_plain_numpy(measured, of):
    frame = monolinguality(measured, checkpoints=["planted-step64"], sites=["mlp_pre"], n=8, of=of)
    values = measured.cube("planted-step64", "mlp_pre").read().astype(np.float64).reshape(400, -1)
    languages = measured.corpus.languages
    means = {name: values[:, measured.corpus.language_slice(name)].mean(axis=1) for name in languages}
    assert frame["language"].unique(maintain_order=True).to_list() == list(languages)
    for name in languages:
        others = {other: mean for other, mean in means.items() if other != name}
        told = means[name] - np.mean(list(others.values()), axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            told = np.where(np.ptp(values, axis=1) == 0, -np.inf, told / (values.std(axis=1) if of == "deviations" else 1))
        best = np.argsort(-told, kind="stable")[:8]
        own = frame.filter(language=name)
        assert (own["layer"] * 200 + own["neuron"]).to_list() == best.tolist()
        assert own["monolinguality"].to_list() == pytest.approx(told[best])
        assert own["mean"].to_list() == pytest.approx(means[name][best])
        for row, place in zip(own.iter_rows(named=True), best, strict=True):
            following = max(others, key=lambda other, place=place: others[other][place])
            assert (row["next_language"], row["next_mean"]) == (following, pytest.approx(others[following][place]))
            assert row["mean_others"] == pytest.approx(np.mean([mean[place] for mean in others.values()]))


def test_one_language_alone_is_refused(tmp_path):
    store = open_store(planted_store(tmp_path / "s", Planting(languages=("en",), n_groups=8)))
    with pytest.raises(QueryError, match="has en alone"):
        monolinguality(store)


def test_only_the_chosen_languages_are_told_and_all_are_compared(measured):
    whole = monolinguality(measured, n=3)
    assert monolinguality(measured, n=3, languages=["en"]).equals(whole.filter(language="en"))
