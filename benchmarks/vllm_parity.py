"""The vLLM backend beside transformers: one corpus, one checkpoint, two stores, every site compared cube by cube.

    python -m benchmarks.vllm_parity [--family llama ...]      in an environment with vLLM: make bench-vllm

Models are tiny and random, in float32. Per family and number of ranks: the largest difference of a pooled value, the same over
the largest value of its cube, values whose sign differs, active tokens that differ, and the difference of sampled token vectors.
BLOOM is also run without the fix-up of its GELU, to show what that is for.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from actlas.extract import extract_activations
from actlas.extract.backends.base import BackendSettings, Capture
from actlas.extract.backends.vllm.backend import VllmBackend
from actlas.extract.backends.vllm.link import EngineLink
from actlas.extract.backends.vllm.settings import EngineSettings, engine_arguments
from actlas.extract.backends.vllm.shared_block import SharedBlock, capture_to_json
from actlas.extract.inputs.batches import BlockTexts
from actlas.extract.inputs.tokens import TokenRules, tokenise
from actlas.names import Checkpoint, TokenSample
from actlas.store.store import Store
from benchmarks.harness import save
from benchmarks.vllm_models import CONFIGS, make_corpus, sites_of, write_model

#: Families that are also run on two ranks.
ON_TWO_RANKS = ("llama", "qwen2", "bloom")
MAX_TOKENS = 128


def extract(model: Path, store: Path, family: str, **options: Any) -> Store:
    """A store of one checkpoint, every site, float32 throughout."""
    shared = {"dtype": "float32", "max_tokens": MAX_TOKENS, "device": "cpu", "compute_dtype": "float32", "syncs": False}
    extract_activations(model, make_corpus(), store, sites=sites_of(family), **shared, **options)
    return Store(store)


def differences(ours: Store, theirs: Store) -> dict[str, Any]:
    """How far two stores of one checkpoint and one corpus are apart."""
    (name,) = theirs.checkpoints
    worst, relative, where, flips, n_values = 0.0, 0.0, "", 0, 0
    for site in theirs.checkpoint(name)["cubes"]:
        a, b = (store.cube(name, site, "max").read() for store in (ours, theirs))
        assert a.shape == b.shape, (site, a.shape, b.shape)
        difference = float(np.abs(a - b).max())
        if difference > worst:
            worst, where = difference, site
        relative = max(relative, difference / float(np.abs(b).max()))
        flips += int(((a > 0) != (b > 0)).sum())
        n_values += a.size
    record, stores = theirs.checkpoint(name), (ours, theirs)
    tokens = [
        tuple(store.token_cube(name, site).read(layer) for store in stores)
        for site in record["token_cubes"]
        for layer in range(theirs.token_cube(name, site).array.shape[0])
    ]
    counts = [tuple(store.token_counts(name, site).active for store in stores) for site in record["counts"]]
    losses = [store.checkpoint(name)["sanity_loss"] for store in (ours, theirs)]
    return {
        "largest_difference": worst,
        "relative_difference": relative,
        "where": where,
        "sign_flips": flips,
        "n_values": n_values,
        "token_difference": max(float(np.abs(a - b).max()) for a, b in tokens),
        "counts_that_differ": sum(int((a != b).sum()) for a, b in counts),
        "loss_difference": abs(losses[0] - losses[1]),
    }


def as_shipped(model: Path) -> tuple[np.ndarray, np.ndarray]:
    """`mlp_hidden` of BLOOM as vLLM ships it, without the fix-up, and as transformers gives it: "layers neurons texts" each."""
    backend = VllmBackend(BackendSettings(device="cpu"))
    source = backend.locate(Checkpoint("bloom", str(model)))
    rules = TokenRules(MAX_TOKENS, "truncate", "pool", TokenSample(per_text=0, sites=()))
    texts = tokenise(make_corpus(), backend.tokenizer(source), rules)
    block = texts.block(np.arange(texts.corpus.n_texts), is_check=True)
    capture = Capture(sites=("mlp_hidden",), dtype="float32", n_languages=2, max_tokens=MAX_TOKENS)
    link = EngineLink(engine_arguments(EngineSettings(model, "float32", "cpu", MAX_TOKENS, 2048)))
    try:
        ours = run_block(link, capture, block, forces_gelu=False)["mlp_hidden"]
    finally:
        link.close()
    session = backend.reference.open(source, capture)
    theirs = session.run_block(block).collect().cubes["mlp_hidden"]
    session.close()
    return np.array(ours), np.array(theirs)


def run_block(link: EngineLink, capture: Capture, block: BlockTexts, *, forces_gelu: bool = True) -> Any:
    """One block through an engine, without the checks of a session: site -> "layers neurons texts"."""
    shapes = link.on_every_rank("actlas_attach", capture_to_json(capture), forces_gelu)[0]["shapes"]
    shared = SharedBlock.create(capture, shapes, block)
    try:
        link.begin(shared, "float32")
        link.generate(list(range(block.n_texts)))
        totals = link.finish(shared)
    finally:
        shared.close()
    return shared.values(capture, totals["n_tokens"], 0.0, 0).cubes


def _without_fix_up(model: Path) -> dict[str, Any]:
    ours, theirs = as_shipped(model)
    difference = float(np.abs(ours - theirs).max())
    return {
        "largest_difference": difference,
        "relative_difference": difference / float(np.abs(theirs).max()),
        "where": "mlp_hidden",
        "sign_flips": int(((ours > 0) != (theirs > 0)).sum()),
        "n_values": ours.size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", choices=CONFIGS, dest="families")
    families = parser.parse_args().families or list(CONFIGS)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="actlas-parity-") as folder:
        for family in families:
            model = write_model(Path(folder) / family, family)
            theirs = extract(model, Path(folder) / f"{family}-hf", family, backend="hf")
            for n_ranks in (1, 2) if family in ON_TWO_RANKS else (1,):
                store = Path(folder) / f"{family}-{n_ranks}"
                ours = extract(model, store, family, backend="vllm", tensor_parallel=n_ranks)
                record = ours.checkpoint(ours.checkpoints[0])
                rows.append(
                    {
                        "family": family,
                        "ranks": n_ranks,
                        "fix_up": ", ".join(record["fix_ups"]),
                        "vllm": record["versions"]["vllm"],
                        **differences(ours, theirs),
                    }
                )
                print({key: rows[-1][key] for key in ("family", "ranks", "largest_difference", "sign_flips")}, flush=True)
            if family == "bloom":
                rows.append({"family": family, "ranks": 1, "fix_up": "left out", **_without_fix_up(model)})
                print({key: rows[-1][key] for key in ("family", "fix_up", "largest_difference", "sign_flips")}, flush=True)
    settings = {"dtype": "float32", "max_tokens": MAX_TOKENS, "pooling": "max", "device": "cpu"}
    print(save("vllm_parity", settings, rows))


if __name__ == "__main__":
    main()
