"""How far honest runs are from the limits of the checks, in every dtype that models compute in.

    python -m benchmarks.rounding                                          tiny models of every family, with random weights
    python -m benchmarks.rounding --model FOLDER --texts FILE --texts FILE     a checkpoint; a file of lines per language

What is measured stands beside what was measured of other models before.

"together": texts run together beside the same texts run alone, as in the fidelity check. "other": one dtype beside float32 on
the same weights, and autocast beside bfloat16, which rounds elsewhere, as another engine would. Each figure is a share of the
limit that the check has. "known": the last one again, where float32 has told how far rounding moves each neuron.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import transformers
from numpy.typing import NDArray

from actlas.errors import ActlasError
from actlas.extract.backends.agreement import OTHER_ENGINE, SAME_ENGINE, compare
from actlas.extract.backends.base import BackendSettings, Capture
from actlas.extract.backends.hf.backend import make_backend
from actlas.extract.checkpoints.resolve import resolve_models
from actlas.extract.inputs.batches import BlockTexts
from actlas.extract.inputs.tokens import TokenRules, tokenise
from actlas.names import TokenSample
from actlas.store.corpus.corpus import corpus_from_frames
from actlas.testing.tiny_configs import tiny_configs
from benchmarks.harness import RESULTS, save

SITES = ("attn_out", "mlp_pre", "mlp_hidden", "mlp_out", "resid")
DTYPES = ("float32", "float16", "bfloat16", "autocast-bfloat16")
#: What is compared as another engine would be: values, and what they should equal.
OTHERS = (("float16", "float32"), ("bfloat16", "float32"), ("autocast-bfloat16", "bfloat16"))
SEEDS = range(2)
#: What the tiny models are called together.
TINY = "tiny models, random weights"
MAX_TOKENS = 60


def random_block(seed: int) -> BlockTexts:
    """Eight texts of 1 to 60 random tokens."""
    rng = np.random.default_rng(seed)
    lengths = np.linspace(1, MAX_TOKENS, 8).astype(np.int64)
    return BlockTexts(
        token_ids=rng.integers(3, 96, lengths.sum()).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        is_special=None,
        language=np.zeros(8, dtype=np.int64),
        sampled_rows=np.zeros(0, dtype=np.int64),
        sampled_positions=np.zeros(0, dtype=np.int64),
        sampled_lengths=np.zeros(0, dtype=np.int64),
        has_loss=np.zeros(8, dtype=bool),
        text_ids=np.arange(8),
    )


def write_family(folder: Path, family: str, seed: int) -> Path:
    """A tiny model of a family, with weights that bfloat16 holds, so that every dtype computes with the same ones."""
    torch.manual_seed(seed)
    config = tiny_configs()[family]()
    is_encoder = family in ("bert", "xlm_roberta")
    model = (transformers.AutoModelForMaskedLM if is_encoder else transformers.AutoModelForCausalLM).from_config(config)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms and biases start as ones and zeros
            parameter.data += 0.1 * torch.randn_like(parameter)
        parameter.data = parameter.data.bfloat16().float()
    model.save_pretrained(folder)
    return folder


def values_of(folder: Path, dtype: str, pooling: str, texts: BlockTexts | list[Path]) -> tuple[Any, Any, list[int]]:
    """Values of texts together and alone, each site -> "layers neurons texts", and which texts."""
    backend = make_backend(BackendSettings(device="cpu", compute_dtype=dtype))
    located = backend.locate(resolve_models(folder)[0])
    block = texts if isinstance(texts, BlockTexts) else chosen_block(texts, backend.tokenizer(located))
    capture = Capture(SITES, pooling=pooling, dtype="float32", n_languages=64, max_tokens=128)
    session = backend.open(located, capture)
    try:
        together, alone = (session.run_block(block, is_alone=alone).collect().cubes for alone in (False, True))
    finally:
        session.close()
    return together, alone, block.text_ids.tolist()


def chosen_block(files: list[Path], tokenizer: Any) -> BlockTexts:
    """Eight texts out of files of lines, chosen as a run chooses them."""
    lines = [(line, file.stem) for file in files for line in file.read_text().splitlines()[:200] if line.strip()]
    frame = pl.DataFrame(lines, schema=["text", "language"], orient="row")
    n_texts = len(lines)
    labels = pl.DataFrame({"text_id": range(n_texts), "concept": ["any"] * n_texts, "is_concept": np.arange(n_texts) % 2 == 0})
    rules = TokenRules(128, "truncate", "pool", TokenSample(per_text=0, sites=()))
    return tokenise(corpus_from_frames(frame, labels), tokenizer, rules).few(8)


def measured(name: str, folder: Path, pooling: str, texts: BlockTexts | list[Path]) -> Iterator[Mapping[str, Any]]:
    """One row per dtype and comparison; a dtype whose range the model leaves has none."""
    found = {}
    for dtype in DTYPES:
        try:
            found[dtype] = values_of(folder, dtype, pooling, texts)
        except ActlasError as error:
            print(f"{name}: {dtype} left out: {error}", flush=True)
            continue
        together, alone, text_ids = found[dtype]
        yield row(name, pooling, "together", dtype, together, alone, text_ids, SAME_ENGINE)
    for dtype, other in OTHERS:
        if dtype in found and other in found:
            yield row(name, pooling, "other", dtype, found[dtype][0], found[other][0], found[dtype][2], OTHER_ENGINE)
    dtype, other, exact = *OTHERS[-1], "float32"
    if {dtype, other, exact} <= found.keys():
        known = (found[dtype][2], OTHER_ENGINE, found[exact][0])
        yield row(name, pooling, "known", dtype, found[dtype][0], found[other][0], *known)


def row(
    name: str,
    pooling: str,
    check: str,
    dtype: str,
    values: Mapping[str, NDArray[Any]],
    reference: Mapping[str, NDArray[Any]],
    text_ids: list[int],
    deviations: float,
    exact: Mapping[str, NDArray[Any]] | None = None,
) -> Mapping[str, Any]:
    """What one comparison found."""
    agreement = compare(values, reference, dtype, text_ids, deviations=deviations, exact=exact)
    return {
        "model": name,
        "pooling": pooling,
        "check": check,
        "dtype": dtype,
        "share_of_limit": agreement.share_of_limit,
        **agreement.record(),
    }


def summed(name: str, check: str, dtype: str, rows: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the runs of one comparison have shown."""
    worst = max(rows, key=lambda each: each["share_of_limit"])
    return {
        "name": name,
        "check": check,
        "dtype": dtype,
        "n": len(rows),
        "largest_share": worst["share_of_limit"],
        "median_share": statistics.median(each["share_of_limit"] for each in rows),
        "where": f"{worst['model']}, {worst['pooling']}: {worst['where']}",
        "sign_agreement": min(each["sign_agreement"] for each in rows),
        "rank_agreement": min(each["rank_agreement"] for each in rows),
        "order_agreement": min(each["order_agreement"] for each in rows),
    }


def tiny_rows() -> list[Mapping[str, Any]]:
    """Every family, seed and pooling."""
    rows: list[Mapping[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="actlas-rounding-") as folder:
        for family, seed in itertools.product(tiny_configs(), SEEDS):
            model = write_family(Path(folder) / f"{family}-{seed}", family, seed)
            for pooling in ("max", "mean"):
                rows += measured(f"{family}, seed {seed}", model, pooling, random_block(seed))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--texts", action="append", type=Path, default=[])
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    name = TINY if options.model is None else options.model.name
    rows = tiny_rows() if options.model is None else list(measured(name, options.model, "max", options.texts))
    others = [dtype for dtype, _ in OTHERS]
    checks = [*(("together", dtype) for dtype in DTYPES), *(("other", dtype) for dtype in others), ("known", others[-1])]
    by_check = {key: [each for each in rows if (each["check"], each["dtype"]) == key] for key in checks}
    found = [summed(name, *key, each) for key, each in by_check.items() if each]
    path = RESULTS / "rounding.json"
    kept = [each for each in json.loads(path.read_text())["rows"] if each["name"] != name] if path.is_file() else []
    print(save("rounding", {"texts": 8, "sites": list(SITES)}, [*kept, *found], torch.get_num_threads()))


if __name__ == "__main__":
    main()
