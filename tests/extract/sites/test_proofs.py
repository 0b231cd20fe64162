"""Limits of proofs, which of them is shown, and what a refusal says."""

import math

import pytest

from actlas.errors import SiteNotProved
from actlas.extract.sites.proofs import PROOFS, Proof, limit_of, refuse_unproved, worst_by_site


def test_every_proof_has_a_limit_that_grows_with_rounding():
    for name in PROOFS:
        limits = [limit_of(name, dtype, 100) for dtype in ("float32", "float16", "bfloat16")]
        assert limits == sorted(limits)
        assert limits[2] <= 0.25, "a figure of 1 is a tensor that has nothing to do with what it should be"
        assert limit_of(name, "autocast-bfloat16", 100) == limits[2]


def test_the_worst_layer_is_kept_and_no_number_is_worse_than_any():
    nan = float("nan")
    proofs = [Proof("resid", "chain", layer, figure, 0.0) for layer, figure in enumerate((0.5, nan, 3.0))]
    proofs += [Proof("by_hand", "once", 0, 0.0, 0.0), Proof("mlp_pre", "width", 0, 0.0, 0.0)]
    worst = worst_by_site(proofs)
    assert [proof.site for proof in worst] == ["mlp_pre", "resid", "by_hand"]
    assert worst[1].layer == 1
    assert math.isnan(worst[1].figure)
    assert not worst[1].is_proved


def test_a_refusal_names_family_site_layer_and_figure():
    good, bad = Proof("resid", "stream", 1, 1e-8, 1e-7), Proof("mlp_out", "down", 3, 0.25, 1e-6)
    refuse_unproved([good], "LlamaForCausalLM", "float32")
    with pytest.raises(SiteNotProved) as caught:
        refuse_unproved([good, bad, Proof("attn_out", "values", 0, 0.5, 1e-6)], "LlamaForCausalLM", "float32")
    said = str(caught.value)
    assert said.startswith("LlamaForCausalLM: site mlp_out, layer 3 did not pass the proof 'down'")
    assert "2.5e-01, and float32 allows 1.0e-06" in said
    assert said.endswith("Nor did attn_out (values)")
