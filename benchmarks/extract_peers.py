"""Extraction beside other libraries that read activations; each lives in an environment of its own, for their pins differ.

    make bench-peers [TEXT=FOLDER]
    python -m benchmarks.extract_peers [--text FOLDER] [--texts 400] [--layers 8] [--width 256] [--rounds 5] [--save]

One model, one set of token ids, `mlp_pre` and `mlp_hidden` of every layer, maximum over the real tokens, float32. In every
environment one process times, round by round, the library's ways and the same plain hooks, so that ratios to the plain hooks can
stand in one table though the environments differ in versions:

- plain hooks: batches of similar length under a budget of tokens, forward hooks that pool on the spot
- actlas: the whole of `extract_activations`: hashing, loading, tokenising, checks, sanity loss, writing, committing; and, values
  alone, the same without what no other arm does: checks, loss, counts, token vectors
- nnsight: the same batches, one trace per batch that pools inside; in order: 32 texts at a time, outputs saved, then pooled
- TransformerLens: the same batches through a TransformerBridge whose hooks pool; in order: 32 texts at a time, run_with_cache

Times are those of the processor, all threads of the process together, so work that is hidden behind other work counts. Before any
figure is printed, the values of every arm are compared with those of the plain hooks on the timed arrays, and the plain hooks of
one environment with those of the others.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.harness import interleave, save
from benchmarks.markdown import spread

ROOT = Path(__file__).resolve().parent.parent
#: Library -> its environment; `make bench-peers` makes them.
ENVIRONMENTS = {"nnsight": ".venv-nnsight", "transformer-lens": ".venv-transformerlens"}
MAX_TOKENS = 128
#: Tokens of a batch by length, padding included: what extraction takes on a CPU.
TOKENS_PER_BATCH = 2048
TEXTS_IN_ORDER = 32
#: Largest difference between two arms, relative to the largest value of the capture point.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Batch:
    """Padded token ids of some texts; `mask` is bool, and None where nothing is padding."""

    rows: np.ndarray
    token_ids: torch.Tensor
    mask: torch.Tensor | None

    @property
    def inputs(self) -> dict[str, Any]:
        """Arguments of a forward pass."""
        mask = None if self.mask is None else self.mask.long()
        return {"input_ids": self.token_ids, "attention_mask": mask, "use_cache": False}


@dataclass(frozen=True)
class Job:
    """What every arm is given. `batches` are by length, `in_order` as the texts come."""

    checkpoint: Path
    n_layers: int
    n_texts: int
    batches: tuple[Batch, ...]
    in_order: tuple[Batch, ...]


#: An arm fills values "points texts neurons"; points are mlp_pre and mlp_hidden of layer 0, then of layer 1, ...
Arm = Callable[[], np.ndarray]


def by_length(lengths: np.ndarray) -> list[np.ndarray]:
    """Rows of every batch: sorted by length, cut where the padded size would outgrow the budget."""
    order, batches, first = np.argsort(lengths, kind="stable"), [], 0
    for last, row in enumerate(order):
        if last > first and int(lengths[row]) * (last - first + 1) > TOKENS_PER_BATCH:
            batches.append(order[first:last])
            first = last
    return [*batches, order[first:]]


def padded(texts: list[np.ndarray], rows: np.ndarray) -> Batch:
    lengths = np.array([len(texts[row]) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    token_ids = np.zeros(mask.shape, dtype=np.int64)
    token_ids[mask] = np.concatenate([texts[row] for row in rows])
    return Batch(rows, torch.from_numpy(token_ids), None if mask.all() else torch.from_numpy(mask))


def read_job(folder: Path) -> Job:
    """The job that `make_job` left in a folder."""
    tokens = np.load(folder / "tokens.npz")
    texts = np.split(tokens["ids"], tokens["offsets"][1:-1])
    rows = np.arange(len(texts))
    return Job(
        checkpoint=folder / "model",
        n_layers=json.loads((folder / "model/config.json").read_text())["num_hidden_layers"],
        n_texts=len(texts),
        batches=tuple(padded(texts, part) for part in by_length(np.diff(tokens["offsets"]))),
        in_order=tuple(padded(texts, rows[first : first + TEXTS_IN_ORDER]) for first in range(0, len(texts), TEXTS_IN_ORDER)),
    )


def load(job: Job) -> Any:
    """A model for one arm alone: libraries leave traces in the modules that they wrap."""
    return transformers.AutoModelForCausalLM.from_pretrained(job.checkpoint, dtype=torch.float32).eval()


def pooled(value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Maximum over the real tokens."""
    return value.amax(dim=1) if mask is None else value.masked_fill(~mask[:, :, None], -torch.inf).amax(dim=1)


def gathered(job: Job, parts: Iterable[tuple[Batch, list[torch.Tensor]]]) -> np.ndarray:
    """Values of all batches in the order of the texts."""
    values = None
    for batch, points in parts:
        if values is None:
            values = np.empty((len(points), job.n_texts, points[0].shape[1]), dtype=np.float32)
        for point, part in zip(values, points, strict=True):
            point[batch.rows] = part.numpy()
    assert values is not None, "a job has texts"
    return values


def plain_hooks(job: Job, batches: tuple[Batch, ...]) -> Arm:
    trunk = load(job).model
    mask: torch.Tensor | None = None
    found: list[torch.Tensor] = []
    for block in trunk.layers:
        block.mlp.gate_proj.register_forward_hook(lambda _, __, output: found.append(pooled(output, mask)))
        block.mlp.down_proj.register_forward_pre_hook(lambda _, args: found.append(pooled(args[0], mask)))

    def parts() -> Iterable[tuple[Batch, list[torch.Tensor]]]:
        nonlocal mask
        for batch in batches:
            mask = batch.mask
            trunk(**batch.inputs)
            yield batch, found
            found.clear()

    return lambda: gathered(job, parts())


def nnsight_arms(job: Job) -> dict[str, Arm]:
    import nnsight

    # the trunk alone: no logits are wanted
    trunk = nnsight.NNsight(load(job).model)

    def traced() -> Iterable[tuple[Batch, list[torch.Tensor]]]:
        for batch in job.batches:
            mask = batch.mask
            with trunk.trace(**batch.inputs):
                found = nnsight.save([])
                for block in trunk.layers:
                    found.append(pooled(block.mlp.gate_proj.output, mask))
                    found.append(pooled(block.mlp.down_proj.input, mask))
            yield batch, found

    def saved() -> Iterable[tuple[Batch, list[torch.Tensor]]]:
        for batch in job.in_order:
            with trunk.trace(**batch.inputs):
                found = nnsight.save([])
                for block in trunk.layers:
                    found.append(block.mlp.gate_proj.output)
                    found.append(block.mlp.down_proj.input)
            yield batch, [pooled(value, batch.mask) for value in found]

    return {"by length": lambda: gathered(job, traced()), "in order": lambda: gathered(job, saved())}


def transformer_lens_arms(job: Job) -> dict[str, Arm]:
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(str(job.checkpoint), hf_model=load(job), device="cpu")
    points = [f"blocks.{layer}.mlp.{end}" for layer in range(job.n_layers) for end in ("gate.hook_out", "out.hook_in")]

    def arguments(batch: Batch) -> dict[str, Any]:
        # logits of one position: the bridge has no way to leave the head out
        return {
            "input": batch.token_ids,
            "attention_mask": batch.inputs["attention_mask"],
            "return_type": None,
            "logits_to_keep": 1,
        }

    def hooked() -> Iterable[tuple[Batch, list[torch.Tensor]]]:
        mask: torch.Tensor | None = None
        found: list[torch.Tensor] = []

        def keep(value: torch.Tensor, hook: Any) -> None:
            found.append(pooled(value, mask))

        with bridge.hooks(fwd_hooks=[(point, keep) for point in points]):
            for batch in job.batches:
                mask = batch.mask
                bridge(**arguments(batch), use_cache=False)
                yield batch, found
                found.clear()

    def cached() -> Iterable[tuple[Batch, list[torch.Tensor]]]:
        for batch in job.in_order:
            _, cache = bridge.run_with_cache(**arguments(batch), names_filter=points, use_cache=False)
            yield batch, [pooled(cache[point], batch.mask) for point in points]

    return {"by length": lambda: gathered(job, hooked()), "in order": lambda: gathered(job, cached())}


def actlas_arms(job: Job, threads: int) -> dict[str, Arm]:
    from actlas.extract import extract_activations
    from actlas.store.corpus.corpus import Corpus
    from benchmarks.bench_extract import VALUES_ALONE

    corpus = Corpus.read(job.checkpoint.parent / "corpus")

    def extract(how: str, options: dict[str, Any]) -> np.ndarray:
        target = store_folder(job, how)
        shutil.rmtree(target, ignore_errors=True)
        extract_activations(
            job.checkpoint,
            corpus,
            target,
            sites=("mlp_pre", "mlp_hidden"),
            dtype="float32",
            device="cpu",
            max_tokens=MAX_TOKENS,
            n_threads=threads,
            **options,
        )
        return np.empty(0)  # it writes a store; `stored` reads it, outside the time

    ways: dict[str, dict[str, Any]] = {"by length": {}, "by length, values alone": VALUES_ALONE}
    return {how: partial(extract, how, options) for how, options in ways.items()}


def store_folder(job: Job, how: str) -> Path:
    return job.checkpoint.parent / f"{how}.actlas"


def stored(job: Job, how: str) -> np.ndarray:
    """Values of the store that the last round wrote."""
    from actlas.store.store import Store

    store = Store(store_folder(job, how))
    cubes = [store.cube("model", site) for site in ("mlp_pre", "mlp_hidden")]
    return np.stack([cube.read(layer=layer).T for layer in range(job.n_layers) for cube in cubes])


def largest_difference(values: np.ndarray, plain: np.ndarray, what: str) -> float:
    """Relative to the largest value of the point; refuses one above the tolerance."""
    # numpy's maximum is NaN where one of them is; Python's may not be
    worst = float(np.max([np.abs(a - b).max() / np.abs(b).max() for a, b in zip(values, plain, strict=True)]))
    if not worst <= TOLERANCE:
        raise SystemExit(f"{what} differs from plain hooks by {worst:.1e} of the largest value: no figure is worth printing")
    return worst


def time_environment(library: str, folder: Path, rounds: int, threads: int) -> dict[str, Any]:
    """All arms of one environment, interleaved; `library` is actlas or one of ENVIRONMENTS."""
    job = read_job(folder)
    plain = {"by length": plain_hooks(job, job.batches), "in order": plain_hooks(job, job.in_order)}
    with torch.inference_mode():
        theirs = {
            "actlas": lambda: actlas_arms(job, threads),
            "nnsight": lambda: nnsight_arms(job),
            "transformer-lens": lambda: transformer_lens_arms(job),
        }[library]()
        arms = {
            **{("plain hooks", how): arm for how, arm in plain.items()},
            **{(library, how): arm for how, arm in theirs.items()},
        }
        values: dict[tuple[str, str], np.ndarray] = {}

        def keeping(key: tuple[str, str]) -> Callable[[], None]:
            def run() -> None:
                values[key] = arms[key]()

            return run

        methods = {" / ".join(key): keeping(key) for key in arms}
        timings = interleave(methods, rounds, clock=time.process_time)
    if library == "actlas":
        values |= {("actlas", how): stored(job, how) for how in theirs}
    reference = values["plain hooks", "by length"]
    shared = folder / "plain.npy"
    if shared.is_file():
        largest_difference(reference, np.load(shared), f"the environment of {library}, by its plain hooks,")
    else:
        np.save(shared, reference)
    rows = [
        {
            "what": what,
            "batches": how,
            "time_over_plain": timings[f"{what} / {how}"].ratio_to(timings["plain hooks / by length"]),
            "largest_difference": largest_difference(values[what, how], reference, f"{what}, {how},"),
        }
        for what, how in arms
        if (what, how) != ("plain hooks", "by length")
    ]
    names = ("torch", "transformers", *([library] if library in ENVIRONMENTS else []))
    seconds = timings["plain hooks / by length"].median
    return {"rows": rows, "versions": {name: version(name) for name in names}, "plain_seconds": seconds}


def make_job(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Writes a random Llama, the corpus, and its token ids; gives what is to be known of them."""
    from actlas.extract.backends.base import BackendSettings
    from actlas.extract.backends.hf.tokenizer import HfTokenizer
    from actlas.extract.inputs.tokens import TokenRules, tokenise
    from actlas.names import TokenSample
    from benchmarks.bench_extract import read_texts, write_checkpoint

    corpus = read_texts(options.text, options.texts)
    corpus.write(folder / "corpus")
    write_checkpoint(folder / "model", corpus, options.layers, options.width, options.vocabulary)
    rules = TokenRules(MAX_TOKENS, "truncate", "pool", TokenSample(per_text=0))
    tokens = tokenise(corpus, HfTokenizer.load(str(folder / "model"), BackendSettings()), rules).tokens
    np.savez(folder / "tokens.npz", ids=tokens.ids, offsets=tokens.offsets)
    job = read_job(folder)
    return {
        "texts": corpus.n_texts,
        "languages": len(corpus.languages),
        "layers": options.layers,
        "width": options.width,
        "capture_points": 2 * options.layers,
        "rounds": options.rounds,
        "clock": "processor time of the process",
        "tokens": len(tokens.ids),
        "tokens_with_padding": {
            "by length": sum(batch.token_ids.numel() for batch in job.batches),
            "in order": sum(batch.token_ids.numel() for batch in job.in_order),
        },
    }


def elsewhere(library: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What `time_environment` gives in the library's own environment."""
    python = ROOT / ENVIRONMENTS[library] / "bin/python"
    if not python.is_file():
        raise SystemExit(f"{library} has no environment in {python.parent.parent}; make bench-peers makes it")
    arguments = ["--inside", library, "--folder", folder, "--rounds", options.rounds, "--threads", options.threads]
    subprocess.run([python, "-m", "benchmarks.extract_peers", *map(str, arguments)], cwd=ROOT, check=True)
    found: dict[str, Any] = json.loads((folder / f"{library}.json").read_text())
    return found


def compare(folder: Path, options: argparse.Namespace) -> None:
    settings = make_job(folder, options)
    parts: dict[str, Mapping[str, Any]] = {"actlas": time_environment("actlas", folder, options.rounds, options.threads)}
    for library in ENVIRONMENTS:
        parts[library] = elsewhere(library, folder, options)
    rows = [
        {**row, "environment": library, "versions": part["versions"]} for library, part in parts.items() for row in part["rows"]
    ]
    for row in rows:
        ratio = row["time_over_plain"]
        print(f"{row['environment']}: {row['what']}, {row['batches']}: {spread(ratio, 3)}")
    settings["plain_seconds"] = {library: part["plain_seconds"] for library, part in parts.items()}
    print(settings)
    if options.save:
        print(save("extract_peers", settings, rows, options.threads))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="folder of *.txt files, one text per line, one language per file")
    for name, default in (("texts", 400), ("layers", 8), ("width", 256), ("vocabulary", 8000), ("rounds", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/extract_peers.json")
    parser.add_argument("--inside", choices=ENVIRONMENTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.disable_progress_bar()
    os.environ["HF_HUB_OFFLINE"] = "1"
    if options.inside:
        result = time_environment(options.inside, options.folder, options.rounds, options.threads)
        (options.folder / f"{options.inside}.json").write_text(json.dumps(result))
        return
    folder = Path(tempfile.mkdtemp(prefix="actlas-peers-"))
    try:
        compare(folder, options)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
