"""From what was asked to a `Sweep` that can do it: recipe, tokens, engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from actlas.errors import CorpusError
from actlas.extract.backends.base import Backend, BackendSettings, LocatedCheckpoint, TextTokenizer
from actlas.extract.backends.registry import get_backend
from actlas.extract.checkpoints.resolve import resolve_models
from actlas.extract.inputs.tokens import TokenisedCorpus, TokenRules, tokenise
from actlas.extract.options import ExtractOptions
from actlas.extract.results import ExtractSummary, Progress, ProgressCallback
from actlas.extract.run.sweep import Sweep, check_length
from actlas.extract.sites.families import family_of
from actlas.extract.sites.resolve import AUTO_LINEAR, parse_sites
from actlas.names import Checkpoint, Recipe, StateRules, TokenSample
from actlas.store.corpus.corpus import Corpus

#: Longest token sequence where nobody says.
_MAX_TOKENS = 128

#: `tokens.tokenise`, or one that remembers.
Tokenise = Callable[[Corpus, TextTokenizer, TokenRules], TokenisedCorpus]
Models = str | Path | Checkpoint | Iterable[str | Path | Checkpoint]


@dataclass(frozen=True)
class Request:
    """What a call of `extract_activations` asks of every checkpoint."""

    store: Path
    options: ExtractOptions


def engine_settings(options: ExtractOptions) -> BackendSettings:
    """How models are run."""
    return BackendSettings(
        device=options.device,
        compute_dtype=options.compute_dtype,
        tokens_per_batch=options.tokens_per_batch,
        trust_remote_code=options.trust_remote_code,
        tokenizer=options.tokenizer,
        tensor_parallel=options.tensor_parallel,
    )


def run_here(
    models: Models,
    corpus: Corpus | Path | str,
    request: Request,
    report: ProgressCallback,
    tokenise: Tokenise = tokenise,
) -> ExtractSummary:
    """Checkpoint after checkpoint, in this process; see `extract_activations`."""
    options = request.options
    engine = get_backend(options.backend, engine_settings(options))
    checkpoints = resolve_models(models, options.steps, revisions=options.revisions, list_revisions=engine.revisions)
    report(Progress(checkpoints[0].id, 1, len(checkpoints), "locate"))
    run = prepare(request, len(checkpoints), corpus, engine.locate(checkpoints[0]), report, tokenise)
    results = run.run(checkpoints)
    return ExtractSummary(
        store=str(request.store),
        checkpoints=tuple(results),
        n_texts=run.texts.corpus.n_texts,
        n_over_long=len(run.texts.over_long),
        warnings=tuple(run.warnings),
    )


def prepare(
    request: Request,
    n_checkpoints: int,
    corpus: Corpus | Path | str,
    first: LocatedCheckpoint,
    report: ProgressCallback,
    tokenise: Tokenise,
) -> Sweep:
    """Settle the recipe by the first checkpoint and tokenise the corpus, while that checkpoint's weights are hashed.

    Raises:
        ActlasError: As `extract_activations` says; no model is loaded here.
    """
    chosen = request.options
    # what "auto" means is decided once: one store holds one recipe
    engine = get_backend(chosen.backend, replace(engine_settings(chosen), compute_dtype=first.compute_dtype))
    tokenizer = engine.tokenizer(first)
    site_names, by_hand = parse_sites(_without_auto(chosen.sites_or_default, engine, first))
    token_sample = _token_sample(chosen.token_sample, first.architecture, by_hand)
    count_sites = _count_sites(chosen.count_sites_or_default, first.architecture, by_hand)
    states = None
    if kinds := chosen.state_kinds:
        states = _state_rules(kinds, site_names, chosen)
        count_sites = tuple(sorted(chosen.count_sites_or_default or site_names)) if "counts" in kinds else ()
        site_names, token_sample = (), TokenSample(per_text=0, sites=())
    recipe = Recipe(
        corpus="",
        tokenizer=tokenizer.hash,
        sites=tuple(sorted(site_names)),
        pooling=chosen.pooling,
        dtype=chosen.dtype,
        max_tokens=min(_MAX_TOKENS, first.max_positions or _MAX_TOKENS) if chosen.max_tokens is None else chosen.max_tokens,
        over_long=chosen.over_long,
        special_tokens=chosen.special_tokens,
        tokens=token_sample,
        count_sites=count_sites,
        count_thresholds=chosen.count_thresholds,
        backend=chosen.backend,
        compute_dtype=first.compute_dtype,
        site_modules=tuple(sorted(by_hand.items())),
        states=states,
    )
    imported = corpus if isinstance(corpus, Corpus) else Corpus.read(Path(corpus))
    recipe = replace(recipe, corpus=imported.fingerprint)
    check_length(first, recipe)
    rules = TokenRules(recipe.max_tokens, recipe.over_long, recipe.special_tokens, recipe.tokens, chosen.loss_texts)
    with ThreadPoolExecutor(1, thread_name_prefix="actlas-hash") as pool:
        hashed = pool.submit(lambda: first.weight_hash)
        texts = tokenise(imported, tokenizer, rules)
        hashed.result()
    if states is not None and not any(part.n_sets for part in texts.corpus.text_sets):
        raise CorpusError(
            f"{' and '.join(states.kinds)} are kept per concept, and no concept of this corpus has positive and negative "
            "texts in one language; label some, or keep counts alone"
        )
    return Sweep(request.store, recipe, texts, engine, chosen, report, n_checkpoints, first)


def _state_rules(kinds: tuple[str, ...], sites: Sequence[str], chosen: ExtractOptions) -> StateRules | None:
    kept = tuple(kind for kind in kinds if kind != "counts")
    if not kept:
        return None
    has_codes = "histogram" in kept
    return StateRules(
        kept,
        tuple(sorted(sites)),
        threshold=chosen.active_threshold,
        range_texts=chosen.range_texts if has_codes else 0,
        range_seed=chosen.range_seed if has_codes else 0,
    )


def _without_auto(sites: Sequence[str], engine: Backend, source: LocatedCheckpoint) -> list[str]:
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
