"""From what was asked to a `Run`: recipe, tokens, backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from actlas.errors import CorpusError, OptionError
from actlas.extract.backends.base import Backend, BackendSettings, LocatedCheckpoint, TextTokenizer
from actlas.extract.backends.registry import get_backend
from actlas.extract.checkpoints.resolve import random_twins, resolve_models
from actlas.extract.inputs.tokens import TokenisedCorpus, TokenRules, tokenise
from actlas.extract.options import ExtractOptions
from actlas.extract.results import ExtractSummary, Progress, ProgressCallback
from actlas.extract.run.call import Run
from actlas.extract.run.sweep import Sweep, check_length
from actlas.extract.sites.families import family_of
from actlas.extract.sites.gate import is_gated, lape_site
from actlas.extract.sites.resolve import AUTO_LINEAR, parse_sites
from actlas.names import Checkpoint, Recipe, StateRules, TokenSample
from actlas.store.corpus.corpus import Corpus
from actlas.store.corpus.findings import content_warnings
from actlas.store.write.joining import known_tokenizer
from actlas.words import no_such

#: Longest token sequence where none is asked for.
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


def asked_checkpoints(models: Models, options: ExtractOptions, backend: Backend) -> list[Checkpoint]:
    """The checkpoints of a call in their order, with the random-weights twins that it asks for."""
    checkpoints = resolve_models(models, options.steps, revisions=options.revisions, list_revisions=backend.revisions)
    return [*checkpoints, *(random_twins(checkpoints, options.twin_seed) if options.random_twin else ())]


def run_here(
    models: Models,
    corpus: Corpus | Path | str,
    request: Request,
    report: ProgressCallback,
    tokenise: Tokenise = tokenise,
) -> ExtractSummary:
    """Checkpoint after checkpoint, in this process; see `extract_activations`."""
    options = request.options
    backend = get_backend(options.backend, engine_settings(options))
    checkpoints = asked_checkpoints(models, options, backend)
    report(Progress(checkpoints[0].id, 1, len(checkpoints), "locate"))
    first = backend.locate(checkpoints[0])
    run = prepare(request, len(checkpoints), corpus, first, report, tokenise)
    results = Sweep(run, first).extract(checkpoints)
    return ExtractSummary(
        store=str(request.store),
        checkpoints=tuple(results),
        n_texts=run.n_texts,
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
) -> Run:
    """Fix the recipe by the first checkpoint and tokenise the corpus, while that checkpoint's weights are hashed.

    Raises:
        ActlasError: As `extract_activations` says; no model is loaded here.
    """
    options = request.options
    # what "auto" means is decided once: one store holds one recipe
    backend = get_backend(options.backend, replace(engine_settings(options), compute_dtype=first.compute_dtype))
    tokenizer = backend.tokenizer(first)
    recipe = recipe_of(options, backend, first, known_tokenizer(request.store, getattr(tokenizer, "hashes", (tokenizer.hash,))))
    imported = corpus if isinstance(corpus, Corpus) else Corpus.read(Path(corpus))
    recipe = replace(recipe, corpus=imported.fingerprint)
    check_length(first, recipe)
    with ThreadPoolExecutor(1, thread_name_prefix="actlas-hash") as pool:
        hashed = pool.submit(lambda: first.weight_hash)
        texts = tokenise(imported, tokenizer, token_rules(recipe, options))
        hashed.result()
    if recipe.states is not None and not any(sets.n_sets for sets in texts.corpus.text_sets):
        raise CorpusError(
            f"{' and '.join(recipe.states.kinds)} are kept per concept, and no concept of this corpus has positive and negative "
            "texts in one language; label some, or keep counts alone"
        )
    warnings = [*texts.warnings, *content_warnings(texts.corpus.texts, texts.corpus.labels)]
    for line in warnings:
        report(Progress(first.checkpoint.id, 1, n_checkpoints, "locate", warning=line))
    undecided = _undecided(options, recipe)
    return Run(request.store, recipe, texts, backend, options, report, n_checkpoints, warnings, undecided)


def recipe_of(options: ExtractOptions, backend: Backend, first: LocatedCheckpoint, tokenizer_hash: str) -> Recipe:
    """The recipe of a store, but for its corpus: what was asked for, and what the first checkpoint decides."""
    sites, by_hand = parse_sites(_without_auto(options.sites_or_default, backend, first))
    token_sample = _token_sample(options.token_sample, first.architecture, by_hand)
    count_sites = _count_sites(options, first, sites, by_hand)
    states = None
    if kinds := options.state_kinds:
        states = _state_rules(kinds, sites, options)
        sites, token_sample = (), TokenSample(per_text=0, sites=())
    recipe = Recipe(
        corpus="",
        tokenizer=tokenizer_hash,
        sites=tuple(sorted(sites)),
        pooling=options.pooling,
        max_tokens=options.max_tokens or min(_MAX_TOKENS, first.max_positions or _MAX_TOKENS),
        over_long=options.over_long,
        special_tokens=options.special_tokens,
        tokens=token_sample,
        count_sites=count_sites,
        count_thresholds=options.count_thresholds,
        backend=options.backend,
        compute_dtype=first.compute_dtype,
        site_modules=tuple(sorted(by_hand.items())),
        states=states,
    )
    if options.dtype == "auto":
        return recipe
    if isinstance(options.dtype, str):
        return recipe.with_dtypes(dict.fromkeys(recipe.value_sites, options.dtype))
    if unread := sorted(set(options.dtype) - set(recipe.value_sites)):
        raise OptionError(no_such("site", unread, recipe.value_sites, "what this run stores (dtype)"))
    return recipe.with_dtypes(options.named_dtypes)


def _undecided(options: ExtractOptions, recipe: Recipe) -> tuple[str, ...]:
    """Sites whose dtype is chosen by their values."""
    if isinstance(options.dtype, str):
        return recipe.value_sites if options.dtype == "auto" else ()
    return tuple(site for site in recipe.value_sites if site not in options.named_dtypes)


def _state_rules(kinds: tuple[str, ...], sites: Sequence[str], options: ExtractOptions) -> StateRules | None:
    state_kinds = tuple(kind for kind in kinds if kind != "counts")
    if not state_kinds:
        return None
    has_codes = "histogram" in state_kinds
    return StateRules(
        state_kinds,
        tuple(sorted(sites)),
        threshold=options.active_threshold,
        range_texts=options.range_texts if has_codes else 0,
        range_seed=options.range_seed if has_codes else 0,
    )


def _without_auto(sites: Sequence[str], backend: Backend, source: LocatedCheckpoint) -> list[str]:
    if AUTO_LINEAR not in sites:
        return list(sites)
    return [*(site for site in sites if site != AUTO_LINEAR), *backend.linear_sites(source)]


def _token_sample(asked: TokenSample | None, architecture: str, by_hand: dict[str, str]) -> TokenSample:
    if asked is not None:
        return replace(asked, sites=tuple(sorted(asked.sites)))
    default = TokenSample()
    if family_of(architecture) is not None:
        return default
    # a default must not stop an architecture whose sites are named by hand
    return replace(default, sites=tuple(site for site in default.sites if site in by_hand))


def _count_sites(
    options: ExtractOptions, first: LocatedCheckpoint, sites: Sequence[str], by_hand: Mapping[str, str]
) -> tuple[str, ...]:
    """Sites whose active tokens are counted: those that were named, or the one that LAPE is about."""
    if options.state_kinds and "counts" not in options.state_kinds:
        return ()
    if options.count_sites is not None:
        return tuple(sorted(options.count_sites))
    if options.state_kinds and options.sites:
        return tuple(sorted(sites))
    site = lape_site(first.architecture, first.activation)
    if site is not None:
        return (site,)
    if is_gated(first.architecture):
        raise OptionError(
            f"active tokens are counted where act(gate) > 0, and with activation {first.activation!r} no site of "
            f"{first.architecture} is above 0 at just these; name what to count: count_sites = mlp_hidden counts act(gate) * up, "
            "and the activation function's own output is a site once it is named by hand, as in the site "
            "'mlp_act=model.layers.{layer}.mlp.act_fn:output'"
        )
    if options.state_kinds:
        return tuple(sites)  # of an architecture that is not known, which is refused when it is opened
    return ("mlp_hidden",) if "mlp_hidden" in by_hand else ()


def token_rules(recipe: Recipe, options: ExtractOptions) -> TokenRules:
    """How texts become tokens in a run."""
    return TokenRules(
        recipe.max_tokens,
        recipe.over_long,
        recipe.special_tokens,
        recipe.tokens,
        options.loss_texts,
        options.drops_languages,
    )
