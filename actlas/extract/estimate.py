"""What a run would take, told before anything is fetched or written: bytes, tokens, operations, hours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import polars as pl

from actlas.allowed import PositiveNumber, Share, checks_arguments
from actlas.errors import OptionError
from actlas.extract.backends.base import LocatedCheckpoint
from actlas.extract.inputs.tokens import tokenise
from actlas.extract.options import ExtractFields, ExtractOptions
from actlas.extract.run.prepare import Models, asked_checkpoints, engine_settings, recipe_of, token_rules
from actlas.names import Recipe
from actlas.store.corpus.corpus import Corpus
from actlas.store.layout import estimate_bytes

#: Dense bfloat16 operations per second by data sheet.
DEVICES = {"H100": 989e12, "A100": 312e12, "L4": 121e12}
#: Where no tokenizer is here, a token is taken to have as many characters.
_CHARACTERS_PER_TOKEN = 4
_COLUMNS = {
    "checkpoint": pl.String,
    "parameters": pl.Int64,
    "download_bytes": pl.Int64,
    "download_from": pl.String,
    "n_tokens": pl.Int64,
    "tokens_from": pl.String,
    **dict.fromkeys(("cube_bytes", "vector_bytes", "count_bytes", "disk_bytes"), pl.Int64),
    "flops": pl.Float64,
    "device": pl.String,
    "device_flops": pl.Float64,
    "efficiency": pl.Float64,
    "hours": pl.Float64,
}


@checks_arguments(OptionError)
def estimate_extraction(
    models: Models,
    corpus: Corpus | Path | str,
    *,
    device_name: str = "H100",
    device_flops: PositiveNumber | None = None,
    efficiency: Share = 0.3,
    **options: Unpack[ExtractFields],
) -> pl.DataFrame:
    """Tell what `extract_activations` with the same arguments would take, from configurations and the corpus alone.

    Hours are a prediction: operations of the passes over what the device does by its data sheet, of which the `efficiency`
    is an assumption. Padding, checks, loading and writing are not in them.

    Args:
        models: As in `extract_activations`; of a hub id only config.json is fetched.
        corpus: A corpus, or the folder of one.
        device_name: H100, A100 or L4, whose data sheets are known.
        device_flops: Operations per second of any other device, in the place of `device_name`.
        efficiency: Share of these that a run reaches.
        **options: Fields of `ExtractOptions`.

    Returns:
        One row per checkpoint: parameters; download_bytes, and download_from (hub; here for a folder with weights; parameters
        where the hub is not reached or a folder has a configuration alone); n_tokens, and tokens_from (tokenizer, or
        characters / 4 where none is on this machine); bytes on disk before compression of cubes, token vectors and counts, and
        disk_bytes of all; flops (2 x parameters x tokens); device, device_flops and efficiency; hours. Sites whose dtype is
        "auto" are taken to be stored in 2 bytes.

    Raises:
        CapturePointNotFound: If a site is not known for an architecture.
        ModelNotLoaded: If a configuration can not be had.
        OptionError: If the device is not known, or states are to be kept in place of cubes.

    Example:
        >>> from actlas.testing import random_checkpoint
        >>> texts = pl.DataFrame({"text": ["a cat sleeps", "two dogs"], "language": ["en", "en"]})
        >>> labels = pl.DataFrame({"text_id": [0, 1], "concept": ["cat", "cat"], "is_concept": [True, False]})
        >>> corpus = actlas.corpus_from_frames(texts, labels)
        >>> plan = actlas.estimate_extraction(random_checkpoint(folder / "planned"), corpus, sites=["mlp_pre"])
        >>> plan.select("checkpoint", "download_bytes", "tokens_from", "cube_bytes").row(0)
        ('planned', 0, 'tokenizer', 320)
    """
    from actlas.extract.backends.hf.backend import HfBackend
    from actlas.extract.backends.hf.sizes import bytes_of_weights, configured, sizes_of

    chosen = ExtractOptions(**options)
    if device_flops is None and device_name not in DEVICES:
        raise OptionError(f"device {device_name!r} is not known; choose {', '.join(DEVICES)}, or give its operations per second")
    if chosen.state_kinds:
        raise OptionError("only cubes, token vectors and counts are estimated; leave stats_only out")
    speed = DEVICES[device_name] if device_flops is None else device_flops
    shown = device_name if device_flops is None else "as given"
    settings = engine_settings(chosen)
    backend = HfBackend(settings)
    imported = corpus if isinstance(corpus, Corpus) else Corpus.read(Path(corpus))
    rows: list[dict[str, Any]] = []
    for checkpoint in asked_checkpoints(models, chosen, backend):
        with configured(checkpoint, settings) as located:
            recipe = recipe_of(chosen, backend, located, "")
            sites = sorted({*recipe.sites, *recipe.tokens.sites, *recipe.count_sites})
            n_parameters, shapes = sizes_of(located, sites, dict(recipe.site_modules), settings)
            download, source = (0, "here") if checkpoint.twin else bytes_of_weights(located, n_parameters)
            tokens = _tokens(imported, backend, located, recipe, chosen)
        flops = 2.0 * n_parameters * tokens.n_tokens
        rows.append(
            {"checkpoint": checkpoint.id, "parameters": n_parameters, "download_bytes": download, "download_from": source}
            | {"n_tokens": tokens.n_tokens, "tokens_from": tokens.source}
            | _disk(recipe, shapes, tokens, imported)
            | {"flops": flops, "device": shown, "device_flops": speed, "efficiency": efficiency}
            | {"hours": flops / (speed * efficiency) / 3600}
        )
    return pl.DataFrame(rows, schema=_COLUMNS)


@dataclass(frozen=True)
class _Tokens:
    """Tokens of a corpus: how many, who says so, how many vectors are kept, of how many texts."""

    n_tokens: int
    source: str
    n_sampled: int
    n_texts: int


def _tokens(corpus: Corpus, backend: Any, located: LocatedCheckpoint, recipe: Recipe, options: ExtractOptions) -> _Tokens:
    named = options.tokenizer
    if Path(named).is_dir() if named is not None else bool(located.tokenizer_hashes):
        texts = tokenise(corpus, backend.tokenizer(located), token_rules(recipe, options))
        n_sampled = 0 if texts.sample is None else texts.sample.height
        return _Tokens(int(texts.tokens.ids.size), "tokenizer", n_sampled, texts.corpus.n_texts)
    lengths = (corpus.texts["text"].str.len_chars() / _CHARACTERS_PER_TOKEN).ceil().clip(1, recipe.max_tokens)
    n_tokens = int(lengths.sum())
    n_sampled = recipe.tokens.per_text * corpus.n_texts if recipe.tokens.choice == "sample" else n_tokens
    return _Tokens(n_tokens, f"characters / {_CHARACTERS_PER_TOKEN}", min(n_sampled, n_tokens), corpus.n_texts)


def _disk(recipe: Recipe, shapes: dict[str, tuple[int, int]], tokens: _Tokens, corpus: Corpus) -> dict[str, int]:
    """Bytes of one checkpoint, by what they are of."""
    dtypes = {site: recipe.dtype_of(site) for site in shapes}
    cubes = {site: shapes[site] for site in recipe.sites}
    vectors = {site: shapes[site] for site in recipe.tokens.sites}
    n_counts = len(recipe.count_thresholds) * len(corpus.languages)
    parts = {
        "cube_bytes": estimate_bytes(cubes, {}, n_texts=tokens.n_texts, n_sampled_tokens=0, dtypes=dtypes),
        "vector_bytes": estimate_bytes({}, vectors, n_texts=0, n_sampled_tokens=tokens.n_sampled, dtypes=dtypes),
        "count_bytes": sum(8 * n_counts * shapes[site][0] * shapes[site][1] for site in recipe.count_sites),
    }
    return {**parts, "disk_bytes": sum(parts.values())}
