"""Published files of neuron sets: a miniature of their form, the real one where it is at hand, and files that are none."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from actlas.errors import NeuronSetError
from actlas.kernels import lape
from actlas.store import read_neuron_sets
from tests.published import language_sets

LANGUAGES = ["en", "zh", "fr", "es", "vi", "id"]
N_LAYERS, N_NEURONS = 30, 64
BLOOM = os.environ.get("ACTLAS_BLOOM_NEURONS")


def as_published(sets: list[set[tuple[int, int]]], n_layers: int = N_LAYERS) -> list[list[torch.Tensor]]:
    """The form of the published files: language -> layer -> sorted indices."""
    return [[torch.tensor(sorted(n for at, n in one if at == layer)).long() for layer in range(n_layers)] for one in sets]


def saved(folder: Path, held: object, **options: bool) -> Path:
    torch.save(held, folder / "tiny.neuron.pth", **options)
    return folder / "tiny.neuron.pth"


def read_sets(path: Path, shape: tuple[int, int], languages: list[str] = LANGUAGES) -> dict[str, set[tuple[int, int]]]:
    frame = read_neuron_sets(path, languages, shape=shape)
    return {one: set(frame.filter(language=one).select("layer", "neuron").rows()) for one in languages}


@pytest.mark.parametrize("is_zip", [True, False])
def test_sizes_unions_and_overlaps_are_those_that_were_planted(is_zip: bool, tmp_path: Path) -> None:
    planted = [{(layer, 7 * at) for layer in range(at, N_LAYERS, 4)} | {(29, 63)} for at in range(6)]
    planted[3] |= {place for place in planted[2] if place[0] % 8 == 2}
    path = saved(tmp_path, as_published(planted), _use_new_zipfile_serialization=is_zip)
    frame = read_neuron_sets(path, LANGUAGES)
    assert frame["digest"].unique().to_list() == [hashlib.sha256(path.read_bytes()).hexdigest()]
    assert read_sets(path, (N_LAYERS, N_NEURONS)) == dict(zip(LANGUAGES, planted, strict=True))
    assert frame.select("layer", "neuron").n_unique() == len(set().union(*planted))
    french, spanish = (frame.filter(language=one).select("layer", "neuron") for one in ("fr", "es"))
    assert french.join(spanish, on=["layer", "neuron"]).height == len(planted[2] & planted[3]) == 5


def test_our_selection_is_the_published_one_read_back(tmp_path: Path) -> None:
    """Counts of six languages -> a file by the published steps -> read: the sets that our kernel selects."""
    rng = np.random.default_rng(0)
    n_tokens = rng.integers(90_000, 100_000, 6)
    p = np.clip(rng.beta(0.5, 4, (N_LAYERS, N_NEURONS, 1)) * rng.gamma(3, 0.3, (N_LAYERS, N_NEURONS, 6)), 0, 1)
    p[3, :4] = [0, 0, 0.8, 0.8, 0, 0]  # French and Spanish alone
    active = rng.binomial(n_tokens, p)
    path = saved(tmp_path, as_published(language_sets(torch.from_numpy(active), torch.from_numpy(n_tokens))))
    result = lape(np.moveaxis(active, -1, 0).reshape(6, -1), n_tokens)
    ours = [{divmod(i, N_NEURONS) for i in np.flatnonzero(row).tolist()} for row in result.languages_of]
    assert list(read_sets(path, (N_LAYERS, N_NEURONS)).values()) == ours
    assert len(set().union(*ours)) == round(0.01 * N_LAYERS * N_NEURONS)
    assert ours[2] & ours[3] >= {(3, neuron) for neuron in range(4)}


@pytest.mark.skipif(BLOOM is None, reason="ACTLAS_BLOOM_NEURONS names no BLOOM-7B.neuron.pth")
def test_the_published_sets_of_bloom_are_read_as_published() -> None:
    sets = read_sets(Path(str(BLOOM)), (30, 16_384))
    sizes = {"en": 445, "zh": 653, "fr": 680, "es": 918, "vi": 551, "id": 2823}
    assert {language: len(one) for language, one in sets.items()} == sizes
    assert len(set().union(*sets.values())) == round(0.01 * 30 * 16_384) == 4915
    assert len(sets["fr"] & sets["es"]) == 222


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"en": []}, "should hold a list over languages of lists over layers, and holds a dict"),
        ([], "and holds a list"),
        ([torch.tensor([1])], "and holds a list of Tensor"),
        ([[torch.tensor([1.0])] * 2], "en, layer 0 should hold a row of int64 indices, and holds torch.float32 of shape (1,)"),
        ([[torch.tensor([1], dtype=torch.int32)] * 2], "holds torch.int32 of shape (1,)"),
        ([[torch.tensor([[1]])] * 2], "holds torch.int64 of shape (1, 1)"),
        ([[torch.tensor([1]).to_sparse()] * 2], "should hold a row of int64 indices"),
        ([[[1, 2]] * 2], "should hold a row of int64 indices, and holds list"),
        ([[torch.tensor([1]), torch.tensor([3, 8])]], "en, layer 1 names neuron 8, and a layer of the model has 8, from 0"),
        ([[torch.tensor([-1])] * 2], "en, layer 0 names neuron -1"),
        ([[torch.tensor([2, 2])] * 2], "en, layer 0 names a neuron twice"),
        ([[torch.tensor([1])] * 3], "holds 3 layers of en, and the model has 2"),
        ([[torch.tensor([1])] * 2] * 2, "holds sets of 2 languages, and 1 are named (en); name all of them"),
        (RunsCode(), "no file of tensors that can be read without running code"),
        ([[torch.tensor([1]), RunsCode()]], "no file of tensors that can be read without running code"),
    ],
)
def test_a_file_of_another_form_is_refused(held: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NeuronSetError) as caught:
        read_neuron_sets(saved(tmp_path, held), ["en"], shape=(2, 8))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def test_without_a_shape_layers_are_those_of_the_first_language(tmp_path: Path) -> None:
    path = saved(tmp_path, [[torch.tensor([1])] * 3, [torch.tensor([1])] * 2])
    with pytest.raises(NeuronSetError, match="holds 2 layers of fr, and those of en 3"):
        read_neuron_sets(path, ["en", "fr"])
    path = saved(tmp_path, [[torch.tensor([2**31])]])
    with pytest.raises(NeuronSetError, match="names neuron 2147483648"):
        read_neuron_sets(path, ["en"])


def test_bytes_that_are_no_tensors_and_names_that_repeat_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(NeuronSetError, match=r"x\.pth cannot be read: No such file"):
        read_neuron_sets(path, ["en"])
    for data in (b"", b"not a pickle", saved(tmp_path, [[torch.tensor([1])]]).read_bytes()[:-30]):
        path.write_bytes(data)
        with pytest.raises(NeuronSetError, match="no file of tensors"):
            read_neuron_sets(path, ["en"])
    with pytest.raises(NeuronSetError, match="a language is named twice: en, en"):
        read_neuron_sets(path, ["en", "en"])
