"""Which neurons a rank of vLLM writes."""

import numpy as np
import pytest

from actlas.errors import CapturePointNotFound, ModelNotSupported
from actlas.extract.backends.vllm.rank_slices import Heads, engine_points, rank_neurons, site_shapes
from actlas.extract.sites.families import FAMILIES, known_sites

KNOWN = [family for family in FAMILIES if family.engine is not None]


@pytest.mark.parametrize("family", KNOWN, ids=lambda family: family.architectures[0])
def test_every_site_of_the_table_has_a_place_in_vllm(family):
    sites = known_sites(family)
    points = engine_points(family.architectures[0], 2, sites)
    assert {point.site for point in points} == set(sites)
    assert len(points) == 2 * len(sites) - 1  # one embedding
    assert all(point.module.startswith(f"{family.prefix}.") for point in points)


def test_only_the_block_of_a_family_that_keeps_the_residual_apart_is_summed():
    summed = {
        name: {point.site for point in engine_points(name, 1, ["mlp_hidden", "mlp_out", "resid"]) if point.adds_residual}
        for name in ("LlamaForCausalLM", "BloomForCausalLM")
    }
    assert summed == {"LlamaForCausalLM": {"resid"}, "BloomForCausalLM": set()}


@pytest.mark.parametrize("architecture", ["GPTNeoXForCausalLM", "LlamaModel", "MambaForCausalLM", "BertModel"])
def test_what_was_not_verified_in_vllm_is_refused_with_the_way_out(architecture):
    with pytest.raises(ModelNotSupported, match=r"does not know where .* \(it knows BloomForCausalLM.*with backend hf"):
        engine_points(architecture, 2, ["mlp_pre"])


def test_a_site_that_a_family_lacks_is_refused():
    with pytest.raises(CapturePointNotFound, match="BloomForCausalLM has no site 'mlp_up'; it has"):
        engine_points("BloomForCausalLM", 2, ["mlp_up"])


@pytest.mark.parametrize("n_ranks", [1, 2, 4, 8])
@pytest.mark.parametrize("split", ["all", "even", "gate", "up", "heads", "heads_apart"])
def test_ranks_together_write_every_neuron_once(split, n_ranks):
    heads = {"heads": Heads(8, 2, 4), "heads_apart": Heads(8, 8, 4)}.get(split)
    n_neurons = 48 if heads is None else heads.width
    shares = [rank_neurons(split, n_neurons, rank, n_ranks, heads) for rank in range(n_ranks)]
    written = np.concatenate([share.neurons for share in shares])
    assert np.array_equal(np.sort(written), np.arange(n_neurons))
    for share in shares:
        assert 0 <= share.first <= share.last <= share.width
        assert len(share.neurons) == share.last - share.first
        assert share.n_neurons == n_neurons


@pytest.mark.parametrize("n_ranks", [1, 2, 4])
@pytest.mark.parametrize(("split", "n_key"), [("heads", 2), ("heads", 4), ("heads_apart", 4)])
def test_columns_of_a_rank_are_the_neurons_they_are_said_to_be(split, n_key, n_ranks):
    """Names every weight row by (part, head, place), shards as vLLM loads them, and orders as transformers does."""
    heads, size = Heads(4, n_key, 3), 3
    counts = {"q": 4, "k": n_key, "v": n_key}
    rows = {part: [[(part, head, i) for i in range(size)] for head in range(n)] for part, n in counts.items()}
    if split == "heads_apart":
        there = [row for head in range(4) for part in "qkv" for row in rows[part][head]]
    else:
        there = [row for part in "qkv" for head in rows[part] for row in head]
    for rank in range(n_ranks):
        held = []
        for part, n in counts.items():
            each = max(1, n // n_ranks)
            first = rank * n // n_ranks
            held += [row for head in rows[part][first : first + each] for row in head]
        share = rank_neurons(split, heads.width, rank, n_ranks, heads)
        assert share.width == len(held)
        assert [there[neuron] for neuron in share.neurons] == held[share.first : share.last]


def test_neurons_that_can_not_be_divided_are_refused():
    with pytest.raises(ModelNotSupported, match="10 neurons can not be divided among 4 ranks"):
        rank_neurons("even", 10, 0, 4)
    with pytest.raises(ModelNotSupported, match="6 query and 2 key heads can not be divided among 4 ranks"):
        rank_neurons("heads", 0, 0, 4, Heads(6, 2, 4))


def test_layers_of_different_widths_are_refused():
    points = engine_points("LlamaForCausalLM", 2, ["mlp_pre"])
    assert site_shapes(points, {("mlp_pre", 0): 8, ("mlp_pre", 1): 8}) == {"mlp_pre": (2, 8)}
    with pytest.raises(ModelNotSupported, match=r"site mlp_pre is not equally wide in every layer: \[8, 4\]"):
        site_shapes(points, {("mlp_pre", 0): 8, ("mlp_pre", 1): 4})
