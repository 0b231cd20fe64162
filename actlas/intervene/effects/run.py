"""Effects of acting on sets of neurons, measured and kept as table `neuron_effects`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from actlas.allowed import Names, checks_arguments
from actlas.errors import QueryError
from actlas.intervene.effects.arms import NEED_MEANS, Arm, Means, arms
from actlas.intervene.effects.options import EffectOptions, settings_of
from actlas.intervene.effects.texts import LossTexts, loss_texts
from actlas.intervene.foreign import READ, best_by_ap, file_digest, read_neurons
from actlas.intervene.sets import NeuronSet, sets_of, store_sets, with_auroc
from actlas.names import ALL, EXPERTS, LAPE, Dtype
from actlas.query import TABLES
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import chosen_checkpoints
from actlas.query.keep import Keeper
from actlas.words import listed

if TYPE_CHECKING:
    from actlas.intervene.effects.losses import Losses
    from actlas.intervene.live import LiveModel

_LOG = logging.getLogger(__name__)
_TABLE = "neuron_effects"
#: Done so far, to do in all, and where.
Progress = Callable[[int, int, str], None]


@checks_arguments(QueryError)
def measure_effects(
    store: Atlas | str | Path,
    options: EffectOptions | None = None,
    *,
    checkpoints: Names | None = None,
    model: Path | str | None = None,
    device: str = "auto",
    compute_dtype: Literal["auto", Dtype] = "auto",
    trust_remote_code: bool = False,
    keep: bool | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """What acting on neurons of one language does to the loss on the texts of every language, beside random sets of that size.

    Each set is acted on as `EffectOptions.interventions` say, at every token, while the model reads the same texts again and
    again; and so are random sets with as many neurons in the same layers of the same sites. The loss is the mean over predicted
    tokens, in nats. Sets that LAPE selects are acted on at `mlp_hidden`, behind the activation function, and in a gated MLP
    behind the product too: it is 0 where the activation function gives 0, which is what was published.

    Args:
        store: Whose sets and texts; or the path of such a store.
        options: What is acted on, and how; None for LAPE's sets set to 0.
        checkpoints: None for all.
        model: Folder or hub id of the model, where it is not the one that the store names; the weights have to be the same.
        device: Where it runs.
        compute_dtype: What it computes in.
        trust_remote_code: Run code that comes with the model.
        keep: Whether the answer is kept as table `neuron_effects`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.
        progress: Called with what is done, what there is to do, and where.

    Returns:
        Columns of table `neuron_effects`; one row per set, intervention, random set in its place, and language of texts. A
        checkpoint whose answer is kept is not measured again.

    Raises:
        QueryError: If there are no such sets, languages or texts, or a set cannot be acted on like that.
        NeuronSetError: If a file cannot be used.
        CheckpointNotFound: If a checkpoint is not in the store.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Tang et al. 2024 (deactivation, and its effect by language); Suau et al. 2024 (damping).

    Example:
        >>> from actlas.testing import random_checkpoint
        >>> texts = pl.DataFrame({"text": ["a cat", "two dogs", "ein Hund", "drei Katzen"], "language": ["en", "en", "de", "de"]})
        >>> labels = pl.DataFrame({"text_id": [0, 1], "concept": ["cat", "cat"], "is_concept": [True, False]})
        >>> corpus = actlas.corpus_from_frames(texts, labels)
        >>> summary = actlas.extract_activations(random_checkpoint(folder / "tiny"), corpus, folder / "own.actlas", device="cpu")
        >>> frame = measure_effects(folder / "own.actlas", EffectOptions(share=0.2, bar_quantile=0.5, n_random=2), device="cpu")
        >>> frame.group_by("set_language", "language", "arm").len().sort(pl.all()).rows()[:3]
        [('de', 'de', 'random', 2), ('de', 'de', 'set', 1), ('de', 'en', 'random', 2)]
    """
    from actlas.intervene.live import load_live

    store, chosen = as_atlas(store, "a" if keep else "r"), options or EffectOptions()
    answers = [TABLES[_TABLE].empty()]
    with Keeper(store, keep, replace) as keeper:
        for checkpoint in chosen_checkpoints(store, checkpoints):
            stored = _stored_sets(store, checkpoint, chosen)
            settings = {**settings_of(chosen), "sets": [*(one.digest for one in stored), *map(file_digest, _files(chosen))]}
            part = keeper.find(_TABLE, checkpoint, settings)
            # every checkpoint has sets of its own, so they do not decide beside what an answer stands, but whether it stands
            if part is not None and part.settings["sets"] == settings["sets"]:
                answers.append(TABLES[_TABLE].conform(part.scan().collect()))
                continue
            with load_live(
                store,
                checkpoint,
                model=model,
                device=device,
                compute_dtype=compute_dtype,
                trust_remote_code=trust_remote_code,
            ) as live:
                sets = [*stored, *_read_sets(live, chosen)]
                frame = checkpoint_effects(store, live, sets, chosen, progress or (lambda *_: None))
                about = {"weight_hash": live.weight_hash, "device": str(live.device), "means": "over tokens of these texts"}
            frame = TABLES[_TABLE].conform(frame.with_columns(pl.lit(checkpoint).alias("checkpoint")))
            keeper.put(checkpoint, {_TABLE: frame}, {**settings, **about})
            answers.append(frame)
    return pl.concat(answers)


def _stored_sets(store: Atlas, checkpoint: str, chosen: EffectOptions) -> list[NeuronSet]:
    sets = []
    for source in chosen.sources:
        if source in _files(chosen):
            continue
        concepts = chosen.concepts if source == EXPERTS else None
        limits = {"k": chosen.k, "share": chosen.share, "bar_quantile": chosen.bar_quantile}
        found = store_sets(store, checkpoint, source, languages=chosen.languages, concepts=concepts, **limits)  # type: ignore[arg-type]
        if "damp" in chosen.interventions:
            found = [NeuronSet(one.source, one.language, one.concept, with_auroc(store, checkpoint, one)) for one in found]
        sets += found
    return sets


def _files(chosen: EffectOptions) -> list[str]:
    """Sources that are files: neither a word of ours nor the name of imported sets."""
    return [source for source in chosen.sources if source not in (EXPERTS, LAPE, ALL) and Path(source).suffix in READ]


def _read_sets(live: LiveModel, chosen: EffectOptions) -> Iterator[NeuronSet]:
    """Sets out of files."""
    for path in _files(chosen):
        frame = read_neurons(path, live, any_weights=chosen.any_weights)
        if "ap" in frame.columns:
            frame = best_by_ap(frame, chosen.k)
        for one in sets_of(Path(path).name, frame):
            if chosen.languages is None or one.language in chosen.languages:
                yield one


def checkpoint_effects(
    store: Atlas, live: LiveModel, sets: Sequence[NeuronSet], chosen: EffectOptions, progress: Progress
) -> pl.DataFrame:
    """Table `neuron_effects` of one loaded checkpoint, without its column checkpoint."""
    # here, and not above: importing this loads no torch
    from actlas.intervene.effects.losses import text_losses, token_means, tokens_per_batch

    budget = tokens_per_batch(live)
    texts = loss_texts(store, chosen.text_languages, chosen.n_texts, chosen.split, chosen.seed, budget)
    _check(sets, chosen, texts)
    sites = sorted({site for one in sets for site in one.frame["site"].unique()})
    means: Means = token_means(live, texts, sites) if set(NEED_MEANS) & set(chosen.interventions) else {}
    widths = {site: live.widths(site) for site in sites}
    strengths = {"amplify": chosen.factor, "difference": chosen.shift}
    every = arms(sets, chosen.interventions, widths, n_random=chosen.n_random, seed=chosen.seed, strengths=strengths)
    n_arms = sum(1 if one.source == ALL else 1 + chosen.n_random for one in sets)
    total = n_arms * len(chosen.interventions)
    base = {language: text_losses(live, batches) for language, batches in texts.batches.items()}
    rows: list[dict[str, Any]] = []
    for done, arm in enumerate(every):
        progress(done, total, f"{live.checkpoint}, {arm.neurons.name}, {arm.intervention}")
        rows += _measured(live, arm, texts, base, means)
    progress(total, total, live.checkpoint)
    return pl.DataFrame(rows, schema={name: dtype for name, dtype in TABLES[_TABLE].columns.items() if name != "checkpoint"})


def _measured(live: LiveModel, arm: Arm, texts: LossTexts, base: dict[str, Losses], means: Means) -> Iterator[dict[str, Any]]:
    """One row per language of texts."""
    from actlas.intervene.effects.losses import text_losses

    one = arm.neurons
    about = {
        "source": one.source,
        "concept": one.concept,
        "set_language": one.language,
        "intervention": arm.intervention,
        "strength": arm.strength,
        "arm": "random" if arm.draw else "set",
        "draw": arm.draw,
        "sites": ",".join(sorted(one.frame["site"].unique())),
        "n_neurons": one.frame.height if arm.others is None else arm.others.height,
    }
    # what is done depends on the texts for one intervention alone, and a context of hooks is not free
    shared = nullcontext() if arm.intervention == "difference" else arm.acting(live, "", means)
    with shared:
        for language, batches in texts.batches.items():
            with arm.acting(live, language, means) if arm.intervention == "difference" else nullcontext():
                losses = text_losses(live, batches)
            change, error = losses.change(base[language])
            yield {
                **about,
                "language": language,
                "n_texts": len(losses.sums),
                "n_tokens": int(losses.n_tokens.sum()),
                "loss": losses.mean,
                "loss_base": base[language].mean,
                "change": change,
                "change_se": error,
            }


def _check(sets: Sequence[NeuronSet], chosen: EffectOptions, texts: LossTexts) -> None:
    """Refuse what cannot be done to a set, before anything is measured."""
    if not sets:
        raise QueryError(f"no set of language {listed(list(chosen.languages or ()))} in {listed(list(chosen.sources))}")
    for one in sets:
        if "damp" in chosen.interventions and "auroc" not in one.frame.columns:
            raise QueryError(f"{one.name} has no auroc to be damped by; damp experts, or a file with a column auroc")
        if "difference" in chosen.interventions and one.language not in texts.batches:
            raise QueryError(
                f"the difference of means needs texts of the language of {one.name}; {listed(list(texts.batches))} are read"
            )
        if "only" in chosen.interventions and len(sets) < 2:
            raise QueryError(f"only keeps one set of several, and {one.name} is the only one")
