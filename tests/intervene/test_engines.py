"""The recipe of docs/steering.md for vLLM gives the greedy texts that `steer` gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from actlas.errors import InterventionError, ModelNotSupported
from actlas.intervene import load_live, steer, vllm_columns
from benchmarks.vllm_models import write_model
from tests.intervene.test_families import live_of

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = [[5, 9, 70, 8], [41, 3, 77], [12, 13, 14, 15, 16, 17]]
N_NEW = 12


def frame_of(live, site):
    """A few neurons of every layer, among them the last one, far from what they are."""
    rng = np.random.default_rng(0)
    rows = [
        (site, layer, int(neuron), float(rng.normal() * 6))
        for layer, width in enumerate(live.widths(site))
        for neuron in (3, width // 2, width - 1)
    ]
    return pl.DataFrame(rows, schema=["site", "layer", "neuron", "value"], orient="row")


def greedy(live, frame):
    new = []
    for ids in PROMPTS:
        given = torch.tensor([ids])
        with steer(live, frame):
            tokens = live.model.generate(
                given, attention_mask=torch.ones_like(given), max_new_tokens=N_NEW, do_sample=False, eos_token_id=None
            )
        new.append(tokens[0, len(ids) :].tolist())
    return new


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM, in an environment of its own: make test-vllm")
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "opt"])
def test_vllm_writes_the_same_texts(family, tmp_path):
    folder = write_model(tmp_path / family, family)
    with load_live(folder, device="cpu") as live:
        frames = [frame_of(live, site) for site in live.sites if site not in ("resid", "embed")]
        frames.append(frames[0].clear())
        wanted = [greedy(live, frame) for frame in frames]
        tables = [vllm_columns(live, frame).rows() for frame in frames]
    assert all(texts != wanted[-1] for texts in wanted[:-1])
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"folder": str(folder), "tables": tables, "prompts": PROMPTS, "n_new": N_NEW}))
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.intervene.vllm_texts", str(job)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "texts.json").read_text()) == wanted


def test_where_fused_projections_have_neurons(live):
    frame = pl.DataFrame(
        [("mlp_pre", 1, 39, 1.0), ("mlp_up", 1, 0, 2.0), ("attn_qkv", 0, 71, 3.0), ("mlp_hidden", 0, 5, 4.0)],
        schema=["site", "layer", "neuron", "value"],
        orient="row",
    )
    assert vllm_columns(live, frame).rows() == [
        ("model.layers.1.mlp.gate_up_proj", "output", 39, 1.0),
        ("model.layers.1.mlp.gate_up_proj", "output", 40, 2.0),
        ("model.layers.0.self_attn.qkv_proj", "output", 71, 3.0),
        ("model.layers.0.mlp.down_proj", "input", 5, 4.0),
    ]
    assert vllm_columns(live, frame.clear()).rows() == []


def test_what_vllm_has_not_or_computes_otherwise_is_refused(live):
    with pytest.raises(InterventionError, match="resid is no tensor of its own in vLLM"):
        vllm_columns(live, frame_of(live, "resid"))
    for family, error, message in (
        ("bloom", InterventionError, "another GELU than BloomForCausalLM"),
        ("phi", ModelNotSupported, "does not know where 'PhiForCausalLM'"),
    ):
        other = live_of(family)
        with pytest.raises(error, match=message):
            vllm_columns(other, frame_of(other, "mlp_pre"))
