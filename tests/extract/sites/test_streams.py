"""Settings of a configuration that decide how a family goes on."""

from types import SimpleNamespace

from actlas.extract.sites.families import family_of
from actlas.extract.sites.streams import Rules, setting


def test_a_setting_is_found_by_its_path():
    config = SimpleNamespace(attn_config=SimpleNamespace(clip_qkv=8.0), alone=1)
    assert setting(config, "attn_config.clip_qkv") == 8.0
    assert setting(config, "alone") == 1
    assert setting(config, "attn_config.nothing") is None
    assert setting(config, "nothing.at_all") is None
    assert setting(config, "") is None


def test_a_form_of_a_family_has_a_stream_of_its_own():
    rules = family_of("OPTForCausalLM").rules
    assert rules.stream_of(SimpleNamespace(do_layer_norm_before=True)).end == ""
    assert rules.stream_of(SimpleNamespace(do_layer_norm_before=False)).end == "final_layer_norm"


def test_heads_of_keys_are_counted_as_the_family_counts_them():
    falcon = family_of("FalconForCausalLM").rules
    settings = {"num_attention_heads": 8, "num_kv_heads": 2}
    assert falcon.n_key_heads(SimpleNamespace(**settings, multi_query=True, new_decoder_architecture=False)) == 1
    assert falcon.n_key_heads(SimpleNamespace(**settings, multi_query=True, new_decoder_architecture=True)) == 2
    assert Rules(key_heads="").n_key_heads(SimpleNamespace(num_attention_heads=8, num_key_value_heads=2)) == 8
    assert Rules().n_key_heads(SimpleNamespace(num_attention_heads=8)) == 8
