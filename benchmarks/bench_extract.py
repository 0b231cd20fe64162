"""Extraction against the bare forward pass on the same batches, and against the usual script with hooks, in one process.

    python -m benchmarks.bench_extract [--text FOLDER] [--texts 1500] [--few 300] [--layers 8] [--width 512] [--rounds 5]

The model is random, the texts are the *.txt files of FOLDER (one text per line, one language per file) or, without it, generated.
Sites are `mlp_pre` and `mlp_hidden` of every layer, pooled by maximum, in float32 arithmetic and float16 files.

- bare forward: the model alone over exactly the batches that extraction runs, loaded and tokenised beforehand
- actlas: the whole of `extract_activations`: hashing, loading, tokenising, checks, sanity loss, counts of active tokens, token
  vectors, writing, flushing to disk, committing
- actlas, values alone: the same without what the others do not do: fidelity check, loss, counts, token vectors
- usual script: 32 texts at a time in the order given, padded to the longest, hooks, a masked maximum, np.save

All of it runs over few texts and over all: the fewer, the more weighs what every run does once. What a further text costs is
measured batch by batch: each batch of a run also passes the model bare, just before or just after, and what other threads do
for it is added.

With `--memory 2000 20000` it measures something else: the peak memory of one extraction per number of texts, each in a process
of its own, as a ratio to the first.

The usual script's values and the store's are compared on the timed arrays before any figure is printed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from actlas.extract import extract_activations
from actlas.extract.backends.base import BackendSettings
from actlas.extract.backends.hf.backend import _TOKENS_PER_BATCH, HfSession
from actlas.extract.backends.hf.tokenizer import HfTokenizer
from actlas.extract.inputs.batches import TokenBatch
from actlas.extract.inputs.tokens import TokenRules, tokenise
from actlas.extract.pooling.stage import BlockStage
from actlas.names import TokenSample
from actlas.store.corpus.corpus import Corpus, corpus_from_frames
from actlas.store.layout import CHUNK_TEXTS, text_blocks
from actlas.store.store import Store
from benchmarks.harness import Timing, interleave, save

SITES = ("mlp_hidden", "mlp_pre")
#: Nothing that the bare forward and the script do not do: no check, no loss, no counts, no token vectors.
VALUES_ALONE: dict[str, Any] = {"fidelity_texts": 0, "loss_texts": 0, "count_sites": (), "token_sample": TokenSample(per_text=0)}
SCRIPT_BATCH = 32
#: What is set beside what.
PAIRS = (("actlas", "bare forward"), ("actlas, values alone", "bare forward"), ("actlas", "usual script"))
#: What a run may do for every text -> the options of a run in which it does.
FURTHER: dict[str, dict[str, Any]] = {
    "values alone": VALUES_ALONE,
    "counts and token vectors, too": {"loss_texts": 0},
    "and the sanity loss, which 256 texts have at most": {"loss_texts": None},
}
#: Stages that work for every text, beside the forward pass; flushing and committing wait for the disk meanwhile.
BESIDE = ("collect", "transpose", "encode", "file")
#: Stages that every run has once.
ONCE = ("load", "check", "weights")


def read_texts(folder: Path | None, n_texts: int) -> Corpus:
    """About `n_texts` texts, the same number from every file, shortest and longest as they come."""
    if folder is None:
        chance = random.Random(0)
        words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(3000)]
        lines = {"generated": [" ".join(chance.choices(words, k=int(chance.lognormvariate(3, 0.5)) + 1)) for _ in range(n_texts)]}
    else:
        files = sorted(folder.glob("*.txt"))
        lines = {path.stem: path.read_text(encoding="utf-8").splitlines() for path in files}
    each = -(-n_texts // len(lines))
    texts = [(line, language) for language, found in lines.items() for line in found[:each] if line.strip()][:n_texts]
    frame = pl.DataFrame(texts, schema=["text", "language"], orient="row")
    labels = pl.DataFrame(schema={"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean})
    return corpus_from_frames(frame, labels)


def write_checkpoint(folder: Path, corpus: Corpus, layers: int, width: int, vocabulary: int) -> None:
    """A random Llama and a byte-level BPE tokenizer trained on the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus.texts["text"].to_list(), trainer)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        max_position_embeddings=128,
        pad_token_id=0,
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def usual_script(
    model: torch.nn.Module, tokenizer: transformers.PreTrainedTokenizerFast, texts: list[str], out: Path, max_tokens: int
) -> None:
    """What one would write in an afternoon: every site in one pass, padding masked, one array per site and layer."""
    kept: dict[tuple[str, int], torch.Tensor] = {}
    handles = []
    for layer, block in enumerate(model.model.layers):

        def before(_: torch.nn.Module, args: tuple, layer: int = layer) -> None:
            kept["mlp_hidden", layer] = args[0]

        def after(_: torch.nn.Module, __: tuple, output: torch.Tensor, layer: int = layer) -> None:
            kept["mlp_pre", layer] = output

        handles.append(block.mlp.down_proj.register_forward_pre_hook(before))
        handles.append(block.mlp.gate_proj.register_forward_hook(after))
    values: dict[tuple[str, int], list[np.ndarray]] = {}
    with torch.inference_mode():
        for first in range(0, len(texts), SCRIPT_BATCH):
            batch = tokenizer(
                texts[first : first + SCRIPT_BATCH],
                padding=True,
                truncation=True,
                max_length=max_tokens,
                return_tensors="pt",
                return_token_type_ids=False,
            )
            model.model(**batch, use_cache=False)
            mask = batch["attention_mask"][:, :, None].bool()
            for key, output in kept.items():
                pooled = output.masked_fill(~mask, -torch.inf).amax(dim=1)
                values.setdefault(key, []).append(pooled.half().numpy())
    for handle in handles:
        handle.remove()
    for (site, layer), parts in values.items():
        np.save(out / f"{site}.{layer}.npy", np.concatenate(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path)
    for name, default in (
        ("texts", 1500),
        ("few", 300),
        ("layers", 8),
        ("width", 512),
        ("vocabulary", 8000),
        ("rounds", 5),
        ("threads", 2),
        ("max-tokens", 128),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--memory", type=int, nargs="+", metavar="TEXTS", help="peak memory by number of texts instead")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: of all threads of the process")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/extract.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.disable_progress_bar()
    os.environ["HF_HUB_OFFLINE"] = "1"
    folder = Path(tempfile.mkdtemp(prefix="actlas-bench-"))
    try:
        if options.memory:
            peak_memory(folder, options)
        else:
            compare(folder, options)
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Job:
    """One corpus, and the methods that are timed on it.

    Attributes:
        corpus: The texts.
        batches: Token ids and masks of exactly the batches that extraction runs.
        methods: Name -> method.
        extract: Runs an extraction with other options; gives seconds by stage.
        profiles: Seconds by stage of every run of "actlas" so far.
    """

    corpus: Corpus
    batches: tuple[tuple[torch.Tensor, torch.Tensor | None], ...]
    methods: dict[str, Callable[[], None]]
    extract: Callable[..., Mapping[str, float]]
    profiles: list[Mapping[str, float]]

    @classmethod
    def of(cls, folder: Path, checkpoint: Path, model: Any, corpus: Corpus, options: argparse.Namespace) -> Job:
        """With its own store and script output in `folder`."""
        rules = TokenRules(options.max_tokens, "truncate", "pool", TokenSample(per_text=0))
        texts = tokenise(corpus, HfTokenizer.load(str(checkpoint), BackendSettings()), rules)
        batches = [
            (torch.from_numpy(batch.token_ids), torch.from_numpy(batch.attention_mask) if batch.is_padded else None)
            for block in text_blocks(corpus.n_texts, min(CHUNK_TEXTS, corpus.n_texts))
            for batch in texts.block(np.arange(block.start, block.stop)).batches(_TOKENS_PER_BATCH["cpu"], pad_id=0)
        ]
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
        profiles: list[Mapping[str, float]] = []
        sizes = {"sites": SITES, "device": "cpu", "max_tokens": options.max_tokens, "n_threads": options.threads}

        def bare() -> None:
            with torch.inference_mode():
                for token_ids, mask in batches:
                    model.model(input_ids=token_ids, attention_mask=mask, use_cache=False)

        def extract(**changes: Any) -> Mapping[str, float]:
            shutil.rmtree(folder / "store", ignore_errors=True)
            summary = extract_activations(checkpoint, corpus, folder / "store", **sizes, **changes)
            return summary.checkpoints[0].seconds_by_stage

        def script() -> None:
            shutil.rmtree(folder / "script", ignore_errors=True)
            (folder / "script").mkdir()
            usual_script(model, tokenizer, corpus.texts["text"].to_list(), folder / "script", options.max_tokens)

        methods = {
            "bare forward": bare,
            "actlas": lambda: profiles.append(extract()),
            "actlas, values alone": lambda: void(extract(**VALUES_ALONE)),
            "usual script": script,
        }
        return cls(corpus, tuple(batches), methods, extract, profiles)


def void(_: object) -> None:
    """A result that is not needed."""


def compare(folder: Path, options: argparse.Namespace) -> None:
    corpora = {"few": read_texts(options.text, options.few), "all": read_texts(options.text, options.texts)}
    checkpoint = folder / "model"
    write_checkpoint(checkpoint, corpora["all"], options.layers, options.width, options.vocabulary)
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    jobs = {size: Job.of(folder / size, checkpoint, model, corpus, options) for size, corpus in corpora.items()}
    for size in jobs:
        (folder / size).mkdir()
    methods = {f"{size}: {name}": method for size, job in jobs.items() for name, method in job.methods.items()}
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    timings = interleave(methods, options.rounds, clock=clock)
    largest = max(check(folder / size, options.layers) for size in jobs)
    rows = [
        {
            "what": what,
            "peer": peer,
            "time_over_peer": timings[f"all: {what}"].ratio_to(timings[f"all: {peer}"]),
            "time_over_peer_few": timings[f"few: {what}"].ratio_to(timings[f"few: {peer}"]),
            "seconds": round(timings[f"all: {what}"].median, 3),
            "peer_seconds": round(timings[f"all: {peer}"].median, 3),
        }
        for what, peer in PAIRS
    ]
    job = jobs["all"]
    rows += further_text(job, model, options.rounds, clock)
    settings = {
        "texts": job.corpus.n_texts,
        "few_texts": jobs["few"].corpus.n_texts,
        "languages": len(job.corpus.languages),
        "layers": options.layers,
        "width": options.width,
        "capture_points": options.layers * len(SITES),
        "rounds": options.rounds,
        "clock": options.clock,
        "max_tokens": options.max_tokens,
        "tokens": int(sum(ids.numel() if mask is None else int(mask.sum()) for ids, mask in job.batches)),
        "tokens_with_padding": sum(ids.numel() for ids, _ in job.batches),
        "largest_difference_to_script": largest,
        "once_seconds": statistics.median(sum(profile.get(stage, 0.0) for stage in ONCE) for profile in job.profiles),
        "seconds_by_stage_last_round": job.profiles[-1],
    }
    for row in rows:
        print(row)
    print(settings)
    if options.save:
        print(save("extract", settings, rows, options.threads))


def further_text(job: Job, model: Any, rounds: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """What one more text costs over the bare forward pass."""
    ratios: dict[str, list[float]] = {name: [] for name in FURTHER}
    for _ in range(rounds):
        for name, changes in FURTHER.items():
            with beside_bare(model, clock) as pairs:
                stages = job.extract(**changes)
            bare, whole = map(sum, zip(*pairs, strict=True))
            ratios[name].append((whole + sum(stages.get(stage, 0.0) for stage in BESIDE)) / bare)
    return [
        {"what": name, "peer": "bare forward", "text_over_peer": Timing(tuple(values)).ratio_to(Timing((1.0,) * rounds))}
        for name, values in ratios.items()
    ]


@contextmanager
def beside_bare(model: Any, clock: Callable[[], float]) -> Iterator[list[tuple[float, float]]]:
    """Within it, every batch of an extraction also passes the model bare, before or after in turn: seconds bare, and there."""
    pairs: list[tuple[float, float]] = []
    run_batch = HfSession._run_batch

    def seconds(work: Callable[[], object]) -> float:
        began = clock()
        work()
        return clock() - began

    def both(session: HfSession, batch: TokenBatch, stage: BlockStage) -> None:
        def there() -> None:
            run_batch(session, batch, stage)

        def alone() -> None:
            model.model(input_ids=token_ids, attention_mask=mask, use_cache=False)

        if stage.is_check:
            there()
            return
        token_ids = torch.from_numpy(batch.token_ids)
        mask = torch.from_numpy(batch.attention_mask) if batch.is_padded else None
        if len(pairs) % 2:
            pairs.append((seconds(alone), seconds(there)))
        else:
            in_run = seconds(there)
            pairs.append((seconds(alone), in_run))

    HfSession._run_batch = both  # type: ignore[method-assign]
    try:
        yield pairs
    finally:
        HfSession._run_batch = run_batch  # type: ignore[method-assign]


CHILD = """
import resource, sys
from actlas.extract import extract_activations
extract_activations(*sys.argv[1:4], sites=("mlp_hidden", "mlp_pre"), device="cpu")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak_memory(folder: Path, options: argparse.Namespace) -> None:
    """Peak resident memory of whole runs over more and more texts."""
    sizes = {n_texts: read_texts(None, n_texts) for n_texts in options.memory}
    write_checkpoint(folder / "model", sizes[max(sizes)], options.layers, options.width, options.vocabulary)
    rows = []
    for n_texts, corpus in sizes.items():
        corpus.write(folder / f"corpus-{n_texts}")
        arguments = [folder / "model", folder / f"corpus-{n_texts}", folder / f"store-{n_texts}"]
        child = subprocess.run([sys.executable, "-c", CHILD, *map(str, arguments)], capture_output=True, text=True, check=True)
        rows.append({"texts": n_texts, "peak_bytes": int(child.stdout.split()[-1])})
        rows[-1]["ratio_to_first"] = round(rows[-1]["peak_bytes"] / rows[0]["peak_bytes"], 4)
        print(rows[-1], flush=True)
    if options.save:
        print(save("extract_memory", {"layers": options.layers, "width": options.width}, rows, options.threads))


def check(folder: Path, layers: int) -> float:
    """Largest difference between the store and the script, relative to the largest value of the layer; refuses a large one."""
    store, worst = Store(folder / "store"), 0.0
    for site in SITES:
        cube = store.cube("model", site)
        for layer in range(layers):
            expected = np.load(folder / "script" / f"{site}.{layer}.npy").astype(np.float32).T
            difference = np.abs(cube.read(layer=layer).astype(np.float32) - expected).max()
            worst = max(worst, float(difference / np.abs(expected).max()))
    if not worst <= 2e-3:
        raise SystemExit(f"the store and the script differ by {worst:.1e} of the largest value: no figure is worth printing")
    return worst


if __name__ == "__main__":
    main()
