"""Experts of two concepts forced in a published trained model, with all controls: which language it writes, and what about.

    python -m benchmarks.real_steering --text NTREX-128

Goes on from the store that `real_model` leaves in its cache: run that first, with the same settings.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

import actlas
from actlas.intervene import Forcing, Sampling, generate_steered
from benchmarks.harness import save
from benchmarks.published_models import checkpoint, default_cache
from benchmarks.real_model import Job, corpus_of

RESULT = "real_steering"
#: What a text has to have one of to be about a concept: the words of its pattern, and what stands for them in translations.
WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    concept: {language: tuple(words.split()) for language, words in zip(Job().languages, lines, strict=True)}
    for concept, lines in {
        "water": (
            "water waters sea seas river rivers ocean oceans lake lakes",
            "Wasser Meer Meere See Seen Fluss Flüsse Ozean Ozeane",
            "agua aguas mar mares río ríos océano océanos lago lagos",
            "air laut sungai samudra danau",
            "水 海 河 江 湖",
        ),
        "school": (
            "school schools student students teacher teachers university universities",
            "Schule Schulen Schüler Student Studenten Studierende Lehrer Lehrerin Universität Universitäten",
            "escuela escuelas colegio estudiante estudiantes alumno alumnos maestro maestros profesor profesores universidad",
            "sekolah siswa murid mahasiswa guru universitas",
            "学校 学生 老师 教师 大学",
        ),
    }.items()
}


@dataclass(frozen=True)
class Steering:
    """What decides the numbers, beside the store.

    Attributes:
        model: One of `published_models`.
        languages: Whose experts are forced, by their NTREX-128 names.
        k: Experts that are forced to their median over positives.
        seeds: Texts of each arm.
        max_new_tokens: Where a text ends.
        temperature: Of the draws.
    """

    model: str = "smollm2-135m"
    languages: tuple[str, ...] = ("eng", "spa")
    k: int = 500
    seeds: int = 100
    max_new_tokens: int = 24
    temperature: float = 0.8


def run(folder: Path, store: Path, chosen: Steering) -> dict[str, Any]:
    """Steer a model out of its store and say what came out, in numbers for a result file.

    The texts stay in the store as table `generations`.

    Args:
        folder: Of the model.
        store: That was made of it, with scores.
        chosen: What is steered, and how.
    """
    with closing(actlas.open_store(store, "a")) as atlas:
        (name,) = [id for id in atlas.checkpoints if id not in atlas.controls]
        start = time.perf_counter()
        texts = generate_steered(
            atlas,
            concepts=list(WORDS),
            languages=list(chosen.languages),
            checkpoints=[name],
            forcing=Forcing(k=chosen.k),
            seeds=chosen.seeds,
            sampling=Sampling(temperature=chosen.temperature, max_new_tokens=chosen.max_new_tokens),
            words=WORDS,
            model=folder,
            device="cpu",
            replace=True,
        )
        seconds = time.perf_counter() - start
        is_own = (pl.col("checkpoint") == name) & pl.col("concept").is_not_null()
        rates = atlas.sql("FROM concept_rate()").filter(is_own, measure="words")
        shares = atlas.sql("FROM steering_languages()").filter(is_own, pl.col("n") > 0)
        shifts = atlas.sql("FROM language_shift()").filter(is_own)
    key = ["concept", "language", "arm"]
    first = texts.filter(seed=0).select(*key, "experts_of", "text")
    return {
        "checkpoint": name,
        "n_texts": texts.height,
        "n_tokens": int(texts["n_tokens"].sum()),
        "seconds": round(seconds, 1),
        "rates": rates.select(*key, "n_texts", "rate", "difference", "low", "high").to_dicts(),
        "languages": shares.select(*key, "text_language", "share", "low", "high").to_dicts(),
        "shifts": shifts.select("concept", "language", "control", "share", "control_share", "shift", "low", "high").to_dicts(),
        "texts": first.to_dicts(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", type=Path, required=True, metavar="FOLDER", help="folder of NTREX-128")
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), metavar="FOLDER", help="keeps models and stores (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=Steering.seeds, help="texts of each arm (default: %(default)s)")
    parser.add_argument("--save", action="store_true", help=f"write benchmarks/results/{RESULT}.json")
    given = parser.parse_args()
    chosen = Steering(seeds=given.seeds)
    store = given.cache / "stores" / corpus_of(given.text, Job()).fingerprint / f"{chosen.model}.actlas"
    row = run(checkpoint(chosen.model, given.cache), store, chosen)
    print(json.dumps(row, indent=1, ensure_ascii=False))
    if given.save:
        print(save(RESULT, {**asdict(chosen), "concepts": list(WORDS)}, [row]))


if __name__ == "__main__":
    main()
