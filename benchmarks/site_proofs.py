"""How far the sites of every family are from proved, and what proving them costs.

    python -m benchmarks.site_proofs [FOLDER ...]

Tiny random models of every family, and checkpoints in folders, in three dtypes: the figure that comes closest to what rounding
allows, as a share of it.
Cost: what a run does before extraction, on a model of 8 layers of 512 channels, beside a forward pass over 2,048 tokens.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import torch
import transformers

from actlas.extract import prove_sites
from actlas.extract.backends.hf.proving import Prover
from actlas.extract.sites.families import family_of
from actlas.testing.tiny_configs import model_of, tiny_configs
from benchmarks.harness import interleave, save

DTYPES = ("float32", "bfloat16", "float16")
ROUNDS = 5
TOKENS = 2048
MODEL = transformers.LlamaConfig(
    vocab_size=8000, hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8, pad_token_id=0
)


def prover(model: Any, dtype: str) -> Prover:
    """The prover of a model that was not loaded from a checkpoint."""
    architecture = type(model).__name__
    family = family_of(architecture)
    assert family is not None, architecture
    pad_id, has_head = model.config.pad_token_id or 0, model.get_output_embeddings() is not None
    return Prover.of(model, architecture, family, dtype, pad_id, torch.device("cpu"), has_head=has_head)


def family_row(name: str) -> dict[str, Any]:
    """One family in every dtype."""
    row: dict[str, Any] = {"family": name}
    for dtype in DTYPES:
        model = model_of(tiny_configs()[name]()).to(getattr(torch, dtype))
        proofs = prover(model, dtype).prove()
        row |= {"architecture": type(model).__name__, "n_proofs": len(proofs)}
        closest = max((proof for proof in proofs if proof.allowed), key=lambda proof: proof.figure / proof.allowed)
        row[dtype] = {
            "is_proved": all(proof.is_proved for proof in proofs),
            "share": closest.figure / closest.allowed,
            "proof": closest.proof,
            "site": closest.site,
        }
    return row


def checkpoint_row(folder: Path) -> dict[str, Any]:
    """A checkpoint, trained or not, with texts alone and padded."""
    row: dict[str, Any] = {"family": folder.name}
    for dtype in DTYPES:
        proofs = prove_sites(folder, compute_dtype=dtype, device="cpu")  # type: ignore[arg-type]
        limited = proofs.filter(pl.col("allowed") > 0).with_columns(share=pl.col("figure") / pl.col("allowed"))
        closest = limited.sort("share", descending=True).row(0, named=True)
        row |= {"architecture": closest["architecture"], "n_proofs": proofs.height}
        row[dtype] = {"is_proved": proofs["is_proved"].all(), **{name: closest[name] for name in ("share", "proof", "site")}}
    return row


def cost() -> dict[str, Any]:
    """Seconds of one processor for the proofs of a run, and for a forward pass, round by round."""
    model = model_of(MODEL)
    proves = prover(model, "float32")
    ids = torch.randint(1, 8000, (TOKENS // 64, 64))
    timings = interleave(
        {"proofs": lambda: proves.prove(is_full=False), "forward": lambda: model.base_model(input_ids=ids, use_cache=False)},
        ROUNDS,
        clock=time.process_time,
    )
    return {name: timing.seconds for name, timing in timings.items()} | {"ratio": timings["proofs"].ratio_to(timings["forward"])}


def main() -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        rows = [family_row(name) for name in tiny_configs()]
    rows += [checkpoint_row(Path(folder)) for folder in sys.argv[1:]]
    with torch.inference_mode():
        settings = {"rounds": ROUNDS, "tokens": TOKENS, "layers": 8, "channels": 512, "cost": cost()}
    print(save("site_proofs", settings, rows, threads=torch.get_num_threads()))


if __name__ == "__main__":
    main()
