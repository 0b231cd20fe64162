import pytest

from actlas.errors import CapturePointNotFound
from actlas.extract.sites.families import FAMILIES, family_of, known_sites
from actlas.extract.sites.resolve import parse_sites, site_map


def test_every_family_has_one_capture_point_per_layer_and_site():
    for family in FAMILIES:
        found = site_map(family.architectures[0], 3, known_sites(family))
        for site, points in found.points.items():
            assert len(points) == (1 if site == "embed" else 3), (family, site)
            assert [point.layer for point in points] == list(range(len(points)))
            assert all(point.modules for point in points)


def test_no_architecture_belongs_to_two_families():
    names = [name for family in FAMILIES for name in family.architectures]
    assert len(names) == len(set(names))


def test_a_base_model_has_the_same_paths_without_the_prefix():
    with_head = site_map("BloomForCausalLM", 1, ["mlp_pre"]).points["mlp_pre"][0].modules
    without = site_map("BloomModel", 1, ["mlp_pre"], has_head=False).points["mlp_pre"][0].modules
    assert with_head == ("transformer.h.0.mlp.dense_h_to_4h",)
    assert without == ("h.0.mlp.dense_h_to_4h",)


def test_blocks_that_return_a_tuple_are_known():
    assert site_map("BloomForCausalLM", 2, ["resid"]).takes_first == {"transformer.h.0", "transformer.h.1"}
    assert site_map("LlamaForCausalLM", 2, ["resid"]).takes_first == frozenset()


def test_the_layout_of_a_fused_projection_is_told():
    assert "per head" in site_map("BloomForCausalLM", 1, ["attn_qkv"]).layouts["attn_qkv"]
    assert len(site_map("LlamaForCausalLM", 1, ["attn_qkv"]).points["attn_qkv"][0].modules) == 3


def test_an_unknown_architecture_is_refused_with_the_way_out():
    with pytest.raises(CapturePointNotFound, match="no sites known for architecture 'MambaForCausalLM'") as caught:
        site_map("MambaForCausalLM", 2, ["mlp_pre"])
    assert "BloomForCausalLM" in str(caught.value)
    assert "as in the site 'mlp_hidden=transformer.h.{layer}.mlp.dense_4h_to_h:input'" in str(caught.value)
    assert family_of("MambaForCausalLM") is None


def test_a_site_that_a_family_lacks_is_refused_with_those_it_has():
    with pytest.raises(CapturePointNotFound, match="BloomForCausalLM has no site 'mlp_up'; it has attn_out"):
        site_map("BloomForCausalLM", 2, ["mlp_up"])


def test_modules_named_by_hand_need_no_family():
    sites, by_hand = parse_sites(["mlp_hidden=net.{layer}.down:input", "mlp_hidden", "embed=net.words:output", "gate=g.{layer}"])
    assert sites == ("mlp_hidden", "embed", "gate")
    found = site_map("Unheard", 2, sites, by_hand)
    assert [(p.modules, p.side) for p in found.points["mlp_hidden"]] == [
        (("net.0.down",), "input"),
        (("net.1.down",), "input"),
    ]
    assert [(p.modules, p.side) for p in found.points["embed"]] == [(("net.words",), "output")]
    assert found.points["gate"][1].side == "output"


@pytest.mark.parametrize("argument", ["nonsense", "mlp_pre=a.{layer}:sideways", "mlp_pre=:input", "a b=c.{layer}:input"])
def test_arguments_that_name_no_place_are_refused(argument):
    with pytest.raises(CapturePointNotFound):
        parse_sites([argument])


def test_one_module_for_all_layers_is_refused():
    with pytest.raises(CapturePointNotFound, match=r"put \{layer\} where"):
        site_map("Unheard", 2, ["mlp_pre"], {"mlp_pre": "net.0.up:output"})
