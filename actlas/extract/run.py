"""The loop: checkpoints, blocks of texts, a backend, the store's writer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from actlas.errors import CorpusError
from actlas.extract.backend import Backend, BackendSettings, Source, get_backend
from actlas.extract.models import resolve_models
from actlas.extract.options import ExtractOptions, ExtractSummary, Progress, ProgressCallback
from actlas.extract.sites import AUTO_LINEAR, family_of, parse_sites
from actlas.extract.sweep import Sweep, check_length
from actlas.extract.tokens import TokenRules, tokenise
from actlas.names import Checkpoint, Recipe, StateRules, TokenSample
from actlas.store.corpus import Corpus
from actlas.store.text_sets import text_sets

#: Longest token sequence where nobody says.
_MAX_TOKENS = 128

Models = str | Path | Checkpoint | Iterable[str | Path | Checkpoint]


def extract_activations(
    models: Models,
    corpus: Corpus | Path | str,
    store: Path | str,
    *,
    sites: Sequence[str] = ("mlp_pre",),
    pooling: str = "max",
    dtype: str = "float16",
    backend: str = "hf",
    progress: ProgressCallback | None = None,
    **options: Any,
) -> ExtractSummary:
    """Run checkpoints over a corpus once and keep what every neuron did.

    The same call again goes on where the last one stopped: blocks of texts that are committed are not computed again, and a
    checkpoint that is complete is not loaded (its weight files are hashed, to be sure that they are the same).

    Args:
        models: Local folders, folders of step folders, hub ids with an optional ``@revision``; see `resolve_models`.
        corpus: A corpus, or the folder of one.
        store: Folder of the store; created if it is not there.
        sites: Sites; sites named by hand as ``"mlp_hidden=h.{layer}.mlp.c_proj:input"``; or ``"auto-linear"`` for every linear
            map of the repeated block of a decoder that the table does not know, each under the name of its module.
        pooling: Tokens to one value per text: "max", "mean", "last" or "max_with_pad".
        dtype: Stored dtype: "float16", "bfloat16" or "float32". A value beyond its range is refused, never clipped.
        backend: "hf".
        progress: Called with a `Progress` now and then.
        **options: Fields of `ExtractOptions`.

    Returns:
        What was done, checkpoint by checkpoint.

    Raises:
        CapturePointNotFound: If a site is not known for an architecture.
        RecipeMismatch: If the store was made by another recipe.
        DiskTooSmall: If what is to be written could outgrow the disk.
        FidelityError: If batched values differ from the same texts run alone.
        NotFiniteValues: If a model gives NaN or infinity, or a value outgrows `dtype`.
        ModelNotLoaded: If a checkpoint is not there or not in safetensors.
    """
    chosen = ExtractOptions(**options)
    # a misspelt site is refused before any file is hashed
    parse_sites([site for site in sites if site != AUTO_LINEAR])
    settings = BackendSettings(
        device=chosen.device,
        compute_dtype=chosen.compute_dtype,
        tokens_per_batch=chosen.tokens_per_batch,
        trust_remote_code=chosen.trust_remote_code,
        tokenizer=chosen.tokenizer,
    )
    engine = get_backend(backend, settings)
    checkpoints = resolve_models(models, chosen.steps, revisions=chosen.revisions, list_revisions=engine.revisions)
    report = progress or (lambda _: None)
    report(Progress(checkpoints[0].id, 1, len(checkpoints), "locate"))
    first = engine.locate(checkpoints[0])
    # what "auto" means is decided once: one store holds one recipe
    engine = get_backend(backend, replace(settings, compute_dtype=first.compute_dtype))
    tokenizer = engine.tokenizer(first)
    site_names, by_hand = parse_sites(_without_auto(sites, engine, first))
    token_sample = _token_sample(chosen.token_sample, first.architecture, by_hand)
    count_sites = _count_sites(chosen.count_sites, first.architecture, by_hand)
    states = None
    if kinds := chosen.state_kinds:
        states = _state_rules(kinds, site_names, chosen)
        count_sites = tuple(sorted(chosen.count_sites or site_names)) if "counts" in kinds else ()
        site_names, token_sample = (), TokenSample(per_text=0, sites=())
    recipe = Recipe(
        corpus="",
        tokenizer=tokenizer.hash,
        sites=tuple(sorted(site_names)),
        pooling=pooling,
        dtype=dtype,
        max_tokens=min(_MAX_TOKENS, first.max_positions or _MAX_TOKENS) if chosen.max_tokens is None else chosen.max_tokens,
        over_long=chosen.over_long,
        special_tokens=chosen.special_tokens,
        tokens=token_sample,
        count_sites=count_sites,
        count_threshold=chosen.count_threshold,
        backend=backend,
        compute_dtype=first.compute_dtype,
        site_modules=tuple(sorted(by_hand.items())),
        states=states,
    )
    imported = corpus if isinstance(corpus, Corpus) else Corpus.read(Path(corpus))
    recipe = replace(recipe, corpus=imported.fingerprint)
    check_length(first, recipe)
    rules = TokenRules(recipe.max_tokens, recipe.over_long, recipe.special_tokens, recipe.tokens, chosen.loss_texts)
    texts = tokenise(imported, tokenizer, rules)
    if states is not None and not any(part.n_sets for part in text_sets(texts.corpus)):
        raise CorpusError(
            f"{' and '.join(states.kinds)} are kept per concept, and no concept of this corpus has positive and negative "
            "texts in one language; label some, or keep counts alone"
        )
    run = Sweep(Path(store), recipe, texts, engine, chosen, report, len(checkpoints), first)
    results = [run.checkpoint(number, checkpoint) for number, checkpoint in enumerate(checkpoints, 1)]
    return ExtractSummary(
        store=str(store),
        checkpoints=tuple(results),
        n_texts=texts.corpus.n_texts,
        n_over_long=len(texts.over_long),
        warnings=tuple(run.warnings),
    )


def _state_rules(kinds: tuple[str, ...], sites: Sequence[str], chosen: ExtractOptions) -> StateRules | None:
    kept = tuple(kind for kind in kinds if kind != "counts")
    if not kept:
        return None
    if chosen.range_texts < 1:
        raise ValueError(f"range_texts must be at least 1, not {chosen.range_texts}")
    has_codes = "histogram" in kept
    return StateRules(
        kept,
        tuple(sorted(sites)),
        threshold=chosen.active_threshold,
        range_texts=chosen.range_texts if has_codes else 0,
        range_seed=chosen.range_seed if has_codes else 0,
    )


def _without_auto(sites: Sequence[str], engine: Backend, source: Source) -> list[str]:
    if AUTO_LINEAR not in sites:
        return list(sites)
    return [*(site for site in sites if site != AUTO_LINEAR), *engine.linear_sites(source)]


def _token_sample(asked: TokenSample | None, architecture: str, by_hand: dict[str, str]) -> TokenSample:
    if asked is not None:
        return replace(asked, sites=tuple(sorted(asked.sites)))
    default = TokenSample()
    if family_of(architecture) is not None:
        return default
    # what nobody asked for must not stop an architecture whose sites are named by hand
    return replace(default, sites=tuple(site for site in default.sites if site in by_hand))


def _count_sites(asked: Sequence[str] | None, architecture: str, by_hand: dict[str, str]) -> tuple[str, ...]:
    if asked is not None:
        return tuple(sorted(asked))
    return ("mlp_hidden",) if family_of(architecture) is not None or "mlp_hidden" in by_hand else ()
