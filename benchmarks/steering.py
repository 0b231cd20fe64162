"""What steering costs: texts written with neurons forced, beside the same number of tokens written without.

    python -m benchmarks.steering

Models with random weights and no end token, so that every text has the same number of tokens whatever is forced. All methods run
in each round, in one order and then in the other; process time of one thread, so that what else runs on the machine tells less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, XGLMConfig, XGLMForCausalLM

from actlas.intervene import LiveModel, load_live
from actlas.intervene.generation.sampling import write_texts
from actlas.intervene.generation.settings import Sampling, TextPlan
from benchmarks.harness import Timing, save

RESULT = "steering"
#: Sites whose neurons are ranked together by default: the linear ones.
SITES = ("attn_qkv", "attn_out", "mlp_pre", "mlp_out")
N_ARMS = 5
#: That of the demo.
VOCABULARY = 1200


@dataclass(frozen=True)
class Size:
    """A model, and how many texts it writes.

    Attributes:
        what: Its name in the table.
        config: Of XGLM.
        seeds: Texts of each arm.
    """

    what: str
    config: Mapping[str, int]
    seeds: int


def _xglm(width: int, layers: int) -> dict[str, int]:
    return {"d_model": width, "ffn_dim": 4 * width, "num_layers": layers, "max_position_embeddings": 128}


SIZES = (
    Size("the demo's size", _xglm(96, 3), 100),
    Size("the demo's size, few texts", _xglm(96, 3), 4),
    Size("a larger one", _xglm(512, 6), 20),
)


def run(sizes: Sequence[Size] = SIZES, ks: Sequence[int] = (50, 500), tokens: int = 64, rounds: int = 6) -> list[dict[str, Any]]:
    """Ratios of every model, number of neurons and way to give frames."""
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            _write_model(Path(folder), size.config)
            with load_live(folder, device="cpu") as live:
                rows += [{"model": size.what, **size.config, **row} for row in _rows(live, size.seeds, ks, tokens, rounds)]
    return rows


def _write_model(folder: Path, config: Mapping[str, int]) -> None:
    """An XGLM with random weights, and a tokenizer of numbered words that has no end token."""
    words = {"<s>": 0, "<pad>": 1, "<unk>": 2} | {f"w{number}": number for number in range(3, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", unk_token="<unk>").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": None}
    XGLMForCausalLM(XGLMConfig(vocab_size=VOCABULARY, attention_heads=4, **ids, **config)).save_pretrained(folder)


def _rows(live: LiveModel, seeds: int, ks: Sequence[int], tokens: int, rounds: int) -> list[dict[str, Any]]:
    plain: list[pl.DataFrame | None] = [None] * N_ARMS
    arms = {("nothing", 0): plain}
    for k in ks:
        frames = [_frame(live, k, seed) for seed in range(N_ARMS - 1)]
        arms["one of each arm", k] = [None, *frames]
        arms["one for all texts", k] = frames[:1] * N_ARMS
    texts: dict[Any, list[str]] = {}

    def writing(key: tuple[str, int]) -> Callable[[], None]:
        plans = [TextPlan(None, seed, frame) for frame in arms[key] for seed in range(seeds)]

        def write() -> None:
            texts[key] = write_texts(live, plans, Sampling(max_new_tokens=tokens), batch=len(plans))["text"].to_list()

        return write

    cpu, wall = _timings({key: writing(key) for key in arms}, rounds)
    # in the rows that nothing is forced in, the same texts as without steering
    unsteered = texts["nothing", 0][:seeds]
    differing = [key for key in arms if arms[key][0] is None and texts[key][:seeds] != unsteered]
    if differing:
        raise RuntimeError(f"texts of rows without a frame are not those without steering: {differing}")
    return [
        {
            "frames": key[0],
            "k": key[1],
            "texts": N_ARMS * seeds,
            "tokens_per_second": N_ARMS * seeds * tokens / cpu[key].median,
            "process_time_over_none": cpu[key].ratio_to(cpu["nothing", 0]),
            "wall_over_none": wall[key].ratio_to(wall["nothing", 0]),
            "n_same_texts_without_frame": seeds if arms[key][0] is None else 0,
        }
        for key in arms
        if key[1]
    ]


def _frame(live: LiveModel, k: int, seed: int) -> pl.DataFrame:
    """Neurons drawn among all sites and layers, as many of each as it has part in all neurons."""
    rng = np.random.default_rng(seed)
    places = [(site, layer, width) for site in SITES for layer, width in enumerate(live.widths(site))]
    ends = np.cumsum([width for *_, width in places])
    chosen = np.sort(rng.choice(ends[-1], size=k, replace=False))
    at = np.searchsorted(ends, chosen, side="right")
    return pl.DataFrame(
        {
            "site": [places[place][0] for place in at],
            "layer": [places[place][1] for place in at],
            "neuron": chosen - np.array([ends[place] - places[place][2] for place in at]),
            "value": rng.normal(size=k),
        }
    )


def _timings(methods: Mapping[Any, Callable[[], None]], rounds: int) -> tuple[dict[Any, Timing], dict[Any, Timing]]:
    """Process and wall seconds, rounds in alternating order, after one that does not count."""
    cpu: dict[Any, list[float]] = {key: [] for key in methods}
    wall: dict[Any, list[float]] = {key: [] for key in methods}
    for turn in range(rounds + 1):
        for key in list(methods)[:: 1 if turn % 2 else -1]:
            start = time.process_time(), time.perf_counter()
            methods[key]()
            if turn:
                cpu[key].append(time.process_time() - start[0])
                wall[key].append(time.perf_counter() - start[1])
    return tuple({key: Timing(tuple(own)) for key, own in each.items()} for each in (cpu, wall))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--models", type=int, default=len(SIZES), help="how many of the models, from the smallest on")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = run(SIZES[: given.models], rounds=given.rounds)
    path = save(RESULT, {"tokens": 64, "rounds": given.rounds, "arms": N_ARMS, "sites": list(SITES)}, rows, threads=1)
    print(path)


if __name__ == "__main__":
    main()
