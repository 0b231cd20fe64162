"""The main job on published trained models, each beside its twin with random weights.

    python -m benchmarks.real_model --text NTREX-128                                    SmolLM2 135M
    python -m benchmarks.real_model --text NTREX-128 --model gemma-3-270m --accept-terms

Line-aligned news sentences in several languages, concepts by pattern, every linear site: extraction, scores, experts, how many
languages share, what chance makes of that, probes of the language, neurons of one language. Models are fetched by pip into a
cache folder (`published_models`); an environment that can convert them comes from `make bench-real TEXT=NTREX-128`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

import actlas
from actlas.kernels.significance import bootstrap_interval
from actlas.names import LINEAR_SITES
from benchmarks.harness import save
from benchmarks.published_models import MODELS, checkpoint, default_cache

RESULT = "real_models"
#: A test counts as found at a false-discovery rate below this.
ALPHA = 0.05
#: Searched in the English lines.
CONCEPTS = {
    "water": r"\b(water|sea|river|ocean|lake)s?\b",
    "police": r"\bpolice\b|\bofficers?\b",
    "money": r"\b(dollars?|pounds?|euros?|money)\b|[$£€]",
    "school": r"\b(schools?|students?|teachers?|universit\w+)\b",
    "football": r"\b(football|goals?|striker|league)\b",
    "law": r"\b(laws?|courts?|judges?|lawyers?)\b",
    "government": r"\b(governments?|minister|president|parliament)\b",
    "war": r"\b(wars?|army|soldiers?|military|attacks?)\b",
    "family": r"\b(mother|father|son|daughter|wife|husband|famil\w+)\b",
    "city": r"\b(city|cities|towns?|streets?)\b",
}


@dataclass(frozen=True)
class Job:
    """What decides the numbers, beside the model.

    Attributes:
        languages: Their NTREX-128 names; concepts are searched in the first.
        n_lines: Lines of each language.
        n_positives: Lines of each concept among them, at least.
        n_repeats: Permutations behind nulls and p-values.
        k: Experts per language and concept.
        max_tokens: Longer texts are cut.
        seed: Of the choice of lines, of the twin's weights, and of what the questions draw.
    """

    languages: tuple[str, ...] = ("eng", "deu", "spa", "ind", "zho-CN")
    n_lines: int = 100
    n_positives: int = 10
    n_repeats: int = 99
    k: int = 500
    max_tokens: int = 256
    seed: int = 0


def files_of(folder: Path, languages: tuple[str, ...]) -> dict[str, Path]:
    """The file of each language: CODE.txt, or a longer name that ends in .CODE.txt, as NTREX-128 is published.

    Raises:
        SystemExit: If a language has none.
    """
    names = {path.name.removesuffix(".txt").rpartition(".")[2]: path for path in sorted(folder.glob("*.txt"))}
    if lost := [language for language in languages if language not in names]:
        raise SystemExit(f"{folder} has no {', '.join(lost)}; it has {', '.join(sorted(names)) or 'no text files'}")
    return {language: names[language] for language in languages}


def chosen_lines(is_concept: NDArray[np.bool_], n_lines: int, n_positives: int, seed: int) -> NDArray[np.bool_]:
    """Lines drawn so that every concept has some: first those of the rarest concept, at last any.

    Args:
        is_concept: ``"lines concepts"``.
        n_lines: How many.
        n_positives: Of each concept at least.
        seed: Of the draw.

    Returns:
        Which lines were drawn.

    Raises:
        SystemExit: If a concept has fewer lines, or all concepts together need more than `n_lines`.
    """
    if (fewest := int(is_concept.sum(axis=0).min())) < n_positives:
        raise SystemExit(f"a concept has {fewest} lines of {len(is_concept):,}, and {n_positives} are asked for")
    order = np.random.default_rng(seed).permutation(len(is_concept))
    is_chosen = np.zeros(len(is_concept), dtype=bool)
    for concept in np.argsort(is_concept.sum(axis=0), kind="stable"):
        missing = n_positives - int(is_concept[is_chosen, concept].sum())
        candidates = order[is_concept[order, concept] & ~is_chosen[order]]
        is_chosen[candidates[: max(missing, 0)]] = True
    if (n_needed := int(is_chosen.sum())) > n_lines:
        raise SystemExit(f"{n_positives} lines of every concept are {n_needed} lines, more than {n_lines}")
    is_chosen[order[~is_chosen[order]][: n_lines - n_needed]] = True
    return is_chosen


def corpus_of(folder: Path, job: Job) -> actlas.Corpus:
    """The job's lines of all languages, labelled by pattern."""
    whole = actlas.import_parallel(files_of(folder, job.languages), CONCEPTS, job.languages[0])
    is_concept, _ = whole.concept_matrix(job.languages[0], list(CONCEPTS))
    lines = np.flatnonzero(chosen_lines(is_concept, job.n_lines, job.n_positives, job.seed)) + 1
    return whole.keep(whole.texts["parallel_id"].is_in([str(line) for line in lines]).to_numpy())


class Stages:
    """Seconds of each stage of the path."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Time one stage."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 1)


def run(name: str, model: Path, corpus: actlas.Corpus, store: Path, job: Job) -> dict[str, Any]:
    """The main job on a checkpoint and its twin: what was found of each, and how long it took.

    The store stays; a second call computes only what it lacks.
    """
    stages = Stages()
    with stages.during("extract"):
        summary = actlas.extract_activations(
            model,
            corpus,
            store,
            sites=LINEAR_SITES,
            max_tokens=job.max_tokens,
            special_tokens="run",
            loss_texts=10 * len(job.languages),
            device="cpu",
            random_twin=True,
            twin_seed=job.seed,
            texts_per_block=job.n_lines,
        )
    with closing(actlas.open_store(store, "a")) as atlas:
        with stages.during("score"):
            actlas.score_neurons(atlas, stats=("ap", "median"))
        with stages.during("experts"):
            actlas.top_experts(atlas, k=job.k)
        with stages.during("overlap"):
            controls = actlas.overlap_controls(atlas, k=job.k, seed=job.seed, n_repeats=job.n_repeats)
        with stages.during("tests"):
            ask = partial(actlas.overlap_tests, atlas, k=job.k, seed=job.seed, n_repeats=job.n_repeats)
            tests = {"pair": ask(by="pair"), "concept": ask(by="concept"), "layer": ask(by="layer")}
        with stages.during("probe"):
            probes = actlas.train_probes(atlas)
        with stages.during("lape"):
            specific = actlas.language_neurons(atlas)
        frames = {"controls": controls, **tests, "probes": probes, "specific": specific}
        frames["dtypes"] = atlas.sql("SELECT * FROM site_dtypes ORDER BY checkpoint, site")
        checkpoints = [findings(atlas, id, frames) for id in atlas.checkpoints]
    published = MODELS[name]
    return {
        "model": name,
        "title": published.title,
        "packages": list(published.packages),
        "sha256": published.sha256,
        "licence": published.licence,
        # of a store that was there before, this is no time of an extraction
        "seconds": stages.seconds if all(result.status == "extracted" for result in summary.checkpoints) else None,
        "checkpoints": checkpoints,
        "beyond_twin": beyond_twin(tests["concept"], [found["checkpoint"] for found in checkpoints], job.seed),
    }


def findings(atlas: actlas.Atlas, id: str, frames: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """What the answers say of one checkpoint, in numbers for a result file."""
    record, own = atlas.checkpoint(id), {name: frame.filter(checkpoint=id) for name, frame in frames.items()}
    mean = {name: pl.col(name).mean() for name in ("overlap", "null")}
    is_found = (pl.col("q_value") < ALPHA).sum().alias("n_found")
    layers = own["layer"].group_by("layer").agg(pl.col("overlap", "null").sum() / pl.col("concept").n_unique()).sort("layer")
    n_pairs = own["pair"].select("language_a", "language_b").n_unique()
    accuracy = (
        own["probes"].group_by("site", "layer", maintain_order=True).agg(pl.col("accuracy", "chance").mean(), pl.col("c").first())
    )
    return {
        "checkpoint": id,
        "is_twin": id in atlas.controls,
        "n_layers": record["n_layers"],
        "widths": {site: shape[1] for site, shape in record["shapes"].items()},
        "dtypes": own["dtypes"].drop("checkpoint").to_dicts(),
        "sanity_loss": record["sanity_loss"],
        "uniform_loss": math.log(record["vocabulary"]),
        "n_tokens": record["n_tokens"],
        "n_over_long": record["over_long"]["n_texts"],
        "profile": record["profile"],
        "controls": own["controls"].drop("checkpoint", "step").row(0, named=True),
        "pairs": own["pair"].group_by("language_a", "language_b", maintain_order=True).agg(*mean.values(), is_found).to_dicts(),
        "n_pair_tests": own["pair"]["n_tests"].max(),
        "concepts": own["concept"].select("concept", "overlap", "null", "p_value", "q_value").to_dicts(),
        "layers": layers.with_columns(pl.col("overlap", "null") / n_pairs).to_dicts(),
        "probes": accuracy.to_dicts(),
        "language_neurons": dict(own["specific"]["language"].value_counts().sort("language").iter_rows()),
        "n_language_neurons": own["specific"].select("layer", "neuron").n_unique(),
        "language_site": own["specific"]["site"].first(),
    }


def beyond_twin(concepts: pl.DataFrame, checkpoints: Sequence[str], seed: int) -> dict[str, float]:
    """How far a model's overlap lies above its null beyond how far its twin's does, concept by concept.

    Args:
        concepts: `overlap_tests` by concept.
        checkpoints: The model and its twin.
        seed: Of the draws.

    Returns:
        Mean difference over concepts, and the ends of its 95 % interval, from draws of concepts with replacement.
    """
    of = [concepts.filter(checkpoint=id).select("concept", "excess") for id in checkpoints]
    both = of[0].join(of[1], on="concept", suffix="_twin")
    difference = (both["excess"] - both["excess_twin"]).drop_nulls().to_numpy()
    low, high = bootstrap_interval(difference, np.ones(difference.size, dtype=np.int64), seed)
    return {"mean": float(difference.mean()), "low": low, "high": high, "n_concepts": difference.size}


def settings_of(job: Job, n_texts: int) -> dict[str, Any]:
    """What a result file says of the job."""
    return {**asdict(job), "n_texts": n_texts, "concepts": list(CONCEPTS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", type=Path, required=True, metavar="FOLDER", help="folder of NTREX-128")
    parser.add_argument("--model", action="append", choices=sorted(MODELS), help="repeat for more (default: smollm2-135m)")
    parser.add_argument("--accept-terms", action="store_true", help="of models that have terms of their own: they are accepted")
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), metavar="FOLDER", help="keeps models and stores (default: %(default)s)"
    )
    parser.add_argument("--language", action="append", help="repeat for more; concepts are searched in the first")
    for name in ("n_lines", "n_positives", "n_repeats", "k", "seed"):
        default = getattr(Job(), name)
        parser.add_argument(f"--{name.removeprefix('n_')}", dest=name, type=int, default=default, help="default: %(default)s")
    parser.add_argument("--save", action="store_true", help=f"write benchmarks/results/{RESULT}.json")
    given = parser.parse_args()
    numbers = {name: getattr(given, name) for name in ("n_lines", "n_positives", "n_repeats", "k", "seed")}
    job = Job(tuple(given.language or Job().languages), **numbers)
    corpus, rows = corpus_of(given.text, job), []
    for name in given.model or ["smollm2-135m"]:
        folder = checkpoint(name, given.cache, accepts_terms=given.accept_terms)
        store = given.cache / "stores" / corpus.fingerprint / f"{name}.actlas"
        rows.append(run(name, folder, corpus, store, job))
        print(json.dumps(rows[-1], indent=1))
    if given.save:
        print(save(RESULT, settings_of(job, corpus.n_texts), rows))


if __name__ == "__main__":
    main()
