"""`generate_steered`: texts that a store's checkpoints write while experts of a concept are forced, beside controls."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl

from actlas.allowed import Names, Positive, checks_arguments
from actlas.errors import QueryError
from actlas.intervene.foreign import read_neurons
from actlas.intervene.generation.arms import ArmMaker, ForcedArm
from actlas.intervene.generation.languages import IDENTIFIER, identifiable, identify_languages
from actlas.intervene.generation.presence import has_word, probe_texts
from actlas.intervene.generation.probing import ProbeAt
from actlas.intervene.generation.settings import Forcing, ForeignNeurons, Sampling, TextPlan
from actlas.intervene.live import LiveModel, load_live
from actlas.names import ARMS, Arm, Dtype, fingerprint, installed_version
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress, Steps
from actlas.query.choices import chosen_checkpoints, chosen_labels, linear_sites
from actlas.query.keep import Keeper
from actlas.query.questions.interventions.concept_probe import ConceptProbe
from actlas.query.schema import TABLES
from actlas.words import listed

_LOG = logging.getLogger(__name__)
_TABLE = "generations"
#: Concept and language.
Pair = tuple[str, str]
#: What is kept while a checkpoint goes on is written again as a whole, so not after every pair.
_SECONDS_BETWEEN = 20.0


@checks_arguments(QueryError)
def generate_steered(
    store: Atlas | str | Path,
    *,
    concepts: Names,
    languages: Names,
    checkpoints: Names | None = None,
    forcing: Forcing | None = None,
    arms: Sequence[Arm] = ARMS,
    seeds: Positive = 100,
    prompts: Sequence[str] | None = None,
    sampling: Sampling | None = None,
    words: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    probe: ProbeAt | None = None,
    neurons: ForeignNeurons | None = None,
    model: str | Path | None = None,
    device: str = "auto",
    compute_dtype: Literal["auto", Dtype] = "auto",
    trust_remote_code: bool = False,
    batch: Positive | None = None,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Let checkpoints write texts while the experts of a concept in a language are forced, and the same texts under controls.

    Seed i draws the same numbers in every arm, so that two arms differ by what was forced. A concept and language that a store
    holds with these settings is not written again: a run that was stopped goes on where it was. What is said of texts (their
    language, whether a word is in them) is said again where other words are given, or another version identifies languages.

    Args:
        store: With scores, or the path of such a store.
        concepts: What to steer towards.
        languages: Whose experts are forced, each with each concept.
        checkpoints: None for all.
        forcing: Which neurons are forced, to what and how; None for 500 experts set to the median over positives.
        arms: What is done beside: "none", "experts", "random", "next" and "other", see `Forcing`; and "file" with `neurons`.
        seeds: Texts of each arm and prompt, from seed 0 on.
        prompts: What texts go on from; None for the start token alone.
        sampling: How tokens are drawn; None for the usual of `Sampling`.
        words: concept -> language -> its words there, in all their forms, for column has_word; None leaves it as it is.
        probe: Where probes for the concepts read, for column probe_p; None leaves it as it is. Kept texts are not written
            again for it.
        neurons: Neurons of a file, forced in a further arm called "file".
        model: Folder or hub id of the one checkpoint that is named, if it is not where it was extracted from.
        device: "cpu", "cuda" or "auto".
        compute_dtype: What the model computes in.
        trust_remote_code: Run code that the checkpoint brings along.
        batch: Texts that run side by side; None for as many as memory should bear.
        progress: Called with texts written, after every step.
        keep: Whether texts are kept as table `generations`. None: if the store was opened with mode "a".
        replace: Put the texts in the place of kept ones with other settings, instead of beside them.

    Returns:
        Columns of table `generations`: one row per text, by checkpoint, concept, language, arm, prompt and seed.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        ScoresNotFound: If it was not scored.
        QueryError: If a concept or language is unknown, or has no experts there.
        OptionError: If a text does not fit the model.
        BackendUnavailable: If the languages of texts cannot be identified here.
        CubeNotFound: If the site of a probe was not extracted.
        ReadOnlyStore: If texts are to be kept in a store that is open with mode "r".

    Source: Suau et al. 2022 for forcing; arXiv 2506.01629 for K = 500, texts from the start token, and random and next best
    neurons as controls.

    Example:
        >>> generate_steered(store, concepts=["water"], languages=["tlh"])
        Traceback (most recent call last):
        actlas.errors.QueryError: no language 'tlh' in ...; it has fr, en, es
    """
    store = as_atlas(store, "a" if keep else "r")
    names = chosen_checkpoints(store, checkpoints)
    if model is not None and len(names) > 1:
        raise QueryError(f"model {model} is one set of weights, and {len(names)} checkpoints are asked for; name one checkpoint")
    by_language, by_concept = chosen_labels(store, languages, concepts)
    for concept in by_concept:
        if lacking := [language for language in by_language if not store.corpus.has_answer(language, concept)]:
            raise QueryError(f"concept {concept} has no positive or no negative texts in {listed(lacking)}: no experts there")
    if ("file" in arms) and neurons is None:
        raise QueryError("arm file forces the neurons of a file, and none is named")
    plan = _Plan(
        store,
        forcing or Forcing(),
        (*arms, "file") if neurons is not None and "file" not in arms else tuple(arms),
        tuple(range(seeds)),
        (None,) if prompts is None else tuple(prompts),
        sampling or Sampling(),
        compute_dtype,
        words,
        neurons,
    )
    _tell_unidentifiable(plan, by_language)
    pairs = [(concept, language) for concept in by_concept for language in by_language]
    tasks = []
    with Keeper(store, keep, replace) as keeper:
        for name in names:
            task = _Checkpoint(keeper, name, plan, plan.settings(name))
            task.take_kept()
            tasks.append((task, [pair for pair in pairs if pair not in task.done]))
        steps = Steps(progress, sum(task.n_texts(todo) for task, todo in tasks))
        for task, todo in tasks:
            unasked = [] if probe is None else probe.unasked(pairs, task.about.get("probes", {}))
            if not todo and not unasked:
                continue
            maker = task.arm_maker(todo) if todo else None
            probes = {} if probe is None else probe.train(store, task.checkpoint, list(dict.fromkeys(of for of, _ in unasked)))
            with load_live(
                store,
                task.checkpoint,
                model=model,
                device=device,
                compute_dtype=compute_dtype,
                trust_remote_code=trust_remote_code,
            ) as live:
                if maker is not None:
                    task.write(live, maker, todo, batch, steps)
                task.ask(live, probes, unasked)
    frames = [task.done[pair] for task, _ in tasks for pair in pairs]
    return pl.concat([TABLES[_TABLE].empty(), *frames])


@dataclass(frozen=True)
class _Plan:
    """What is written for every checkpoint, concept and language."""

    store: Atlas
    forcing: Forcing
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    prompts: tuple[str | None, ...]
    sampling: Sampling
    compute_dtype: str
    words: Mapping[str, Mapping[str, Sequence[str]]] | None
    neurons: ForeignNeurons | None

    @property
    def n_of_arm(self) -> int:
        """Texts of one arm."""
        return len(self.seeds) * len(self.prompts)

    @property
    def text_languages(self) -> tuple[str, ...] | None:
        """Those that a text may be in: of the corpus, where the identifier tells two or more of them apart; else any."""
        known = identifiable(self.store.corpus.languages)
        return known if len(known) > 1 else None

    def settings(self, checkpoint: str) -> dict[str, Any]:
        """What decides the rows of a checkpoint."""
        forcing = asdict(self.forcing)
        return {
            "k": forcing.pop("k"),
            "sites": list(linear_sites(self.store, checkpoint, forcing.pop("sites"))),
            "forcing": forcing,
            "arms": list(self.arms),
            "seeds": list(self.seeds),
            "prompts": list(self.prompts),
            "sampling": asdict(self.sampling),
            "compute_dtype": self.compute_dtype,
            "neurons": None if self.neurons is None else self.neurons.to_json(),
        }

    @cached_property
    def told_by(self) -> dict[str, Any]:
        """What says what texts are like; recorded, and asked again where it changed."""
        words = {} if self.words is None else {"words": fingerprint(self.words)}
        return {"identifier": [IDENTIFIER.name, IDENTIFIER.version, *(self.text_languages or ())], **words}

    def told(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of table `generations` with what is said of their texts."""
        found = identify_languages(rows["text"].to_list(), self.text_languages)
        rows = rows.with_columns(found["language"].alias("text_language"), found["confidence"].alias("language_confidence"))
        if self.words is None:
            return rows
        own = [
            part.with_columns(has_word(part["text"].to_list(), part["text_language"].to_list(), self.words.get(str(concept), {})))
            for (concept,), part in rows.group_by("concept", maintain_order=True)
        ]
        return pl.concat([rows.clear(), *own])


@dataclass
class _Checkpoint:
    """Texts of one checkpoint: what is kept already, what is written now.

    Attributes:
        done: (concept, language) -> rows of table `generations`.
        about: What is recorded of the models that wrote them.
    """

    keeper: Keeper
    checkpoint: str
    plan: _Plan
    settings: dict[str, Any]
    done: dict[Pair, pl.DataFrame] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def take_kept(self) -> None:
        """Take over what the store holds with the same settings."""
        part = self.keeper.find(_TABLE, self.checkpoint, self.settings)
        if part is None:
            return
        rows = part.scan().collect()
        self.about = {name: part.settings[name] for name in part.settings if name not in self.settings} | self.about
        if {name: part.settings.get(name) for name in self.plan.told_by} != self.plan.told_by:
            self.done = _by_pair(self.plan.told(rows)) | self.done
            self._put()
        self.done = _by_pair(rows) | self.done

    def n_texts(self, pairs: Sequence[Pair]) -> int:
        """Texts that have to be written for some pairs: without neurons forced, they are the same for all."""
        n_arms = len(pairs) * sum(arm != "none" for arm in self.plan.arms) + (bool(pairs) and "none" in self.plan.arms)
        return n_arms * self.plan.n_of_arm

    def arm_maker(self, pairs: Sequence[Pair]) -> ArmMaker:
        """Of some pairs; what cannot be forced for the first of them is refused."""
        concepts, languages = (list(dict.fromkeys(pair[place] for pair in pairs)) for place in (0, 1))
        maker = ArmMaker(self.plan.store, self.checkpoint, languages, concepts, self.plan.forcing)
        maker.make(*pairs[0], [arm for arm in self.plan.arms if arm != "file"])
        return maker

    def write(self, live: LiveModel, maker: ArmMaker, pairs: Sequence[Pair], batch: int | None, steps: Steps) -> None:
        """Write the texts of some pairs, and keep them from time to time, and at the end of whatever kind."""
        from actlas.intervene.generation.sampling import usual_batch

        self.about |= _about(self.plan.store, live)
        forced = [name for name in self.plan.arms if name != "none"]
        if (file := self.plan.neurons) is not None:
            maker.foreign = read_neurons(file.path, live, any_weights=file.any_weights, value=file.value)
        size = batch or usual_batch(live)
        # pairs whose texts are one batch together
        n_pairs = max(1, size // max(1, len(forced) * self.plan.n_of_arm))
        unsteered: list[pl.DataFrame] = []
        kept, n_done = time.monotonic(), 0
        try:
            while n_done < len(pairs):
                own = pairs[n_done : n_done + n_pairs]
                arms = [arm for pair in own for arm in maker.make(*pair, forced)]
                if len(forced) < len(self.plan.arms) and not unsteered:
                    unsteered, texts = (parts := self._texts(live, [ForcedArm("none"), *arms], size, steps))[:1], parts[1:]
                else:
                    texts = self._texts(live, arms, size, steps)
                for number, pair in enumerate(own):
                    of_pair = texts[number * len(forced) : (number + 1) * len(forced)]
                    self.done[pair] = self._rows(*pair, [*unsteered, *of_pair])
                n_done += len(own)
                if time.monotonic() - kept > _SECONDS_BETWEEN:
                    self._keep()
                    kept = time.monotonic()
        finally:
            if n_done:
                self._keep()

    def ask(self, live: LiveModel, probes: Mapping[str, ConceptProbe], pairs: Sequence[Pair]) -> None:
        """Ask probes about the texts of some pairs, which nothing is forced in now, and keep the answers."""
        for concept, language in pairs:
            rows, probe = self.done[concept, language], probes[concept]
            found = probe_texts(live, self.plan.store.recipe, probe, rows["text"].to_list())
            self.done[concept, language] = rows.with_columns(found)
            records = self.about.get("probes", {})
            self.about["probes"] = {**records, concept: {**records.get(concept, {}), language: probe.to_json()}}
        if pairs:
            self._keep()

    def _texts(self, live: LiveModel, arms: Sequence[ForcedArm], batch: int, steps: Steps) -> list[pl.DataFrame]:
        """The texts of each arm, by prompt and seed."""
        from actlas.intervene.generation.sampling import write_texts

        plan = self.plan
        of_arm = pl.DataFrame(
            [(prompt, seed) for prompt in plan.prompts for seed in plan.seeds],
            {"prompt": pl.String, "seed": pl.Int64},
            orient="row",
        )
        texts = write_texts(
            live,
            [TextPlan(prompt, seed, arm.frame) for arm in arms for prompt, seed in of_arm.iter_rows()],
            plan.sampling,
            how=plan.forcing.how,
            position=plan.forcing.position,
            strength=plan.forcing.strength,
            batch=batch,
            written=lambda n_texts: steps.add(n_texts, self.checkpoint),
        )
        return [
            of_arm.hstack(texts.slice(number * of_arm.height, of_arm.height)).with_columns(
                pl.lit(arm.name).alias("arm"),
                pl.lit(arm.experts_of, pl.String).alias("experts_of"),
                # a file says itself how many neurons it has, and what they are set to
                pl.lit(arm.frame.height if arm.name == "file" and arm.frame is not None else plan.forcing.k).alias("k"),
                pl.lit(None if arm.name == "file" else plan.forcing.on_value, pl.String).alias("on_value"),
            )
            for number, arm in enumerate(arms)
        ]

    def _rows(self, concept: str, language: str, texts: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Rows of table `generations`, arm by arm."""
        constant: dict[str, Any] = {
            "checkpoint": self.checkpoint,
            "step": self.plan.store.checkpoint(self.checkpoint)["step"],
            "concept": concept,
            "language": language,
        }
        own = pl.concat(texts)
        order = {arm: number for number, arm in enumerate(self.plan.arms)}
        own = own.sort(pl.col("arm").replace_strict(order, return_dtype=pl.Int64), maintain_order=True)
        missing = [name for name in TABLES[_TABLE].columns if name not in own.columns]
        more = [pl.lit(constant.get(name)).alias(name) for name in missing]
        return self.plan.told(TABLES[_TABLE].conform(own.with_columns(more)))

    def _keep(self) -> None:
        """Keep all that is done, together with what another process kept meanwhile."""
        if self.keeper.is_on:
            self.take_kept()
            self._put()

    def _put(self) -> None:
        settings = {**self.about, **self.settings, **self.plan.told_by}
        self.keeper.put(self.checkpoint, {_TABLE: pl.concat(self.done.values())}, settings)


def _tell_unidentifiable(plan: _Plan, languages: Sequence[str]) -> None:
    """Say which languages no text will be found in: shares of 0 there are no finding."""
    if lacking := [language for language in languages if language not in (plan.text_languages or ())]:
        _LOG.warning(
            "%s does not know %s, or not apart from other languages of the store: column text_language never names it, so its "
            "shares and shifts say nothing",
            *(IDENTIFIER.name, listed(lacking)),
        )


def _by_pair(rows: pl.DataFrame) -> dict[Pair, pl.DataFrame]:
    return {(concept, language): own for (concept, language), own in rows.group_by("concept", "language", maintain_order=True)}


def _about(store: Atlas, live: LiveModel) -> dict[str, Any]:
    """What wrote the texts."""
    from actlas.intervene.generation.sampling import start_token

    return {
        "weight_hash": live.weight_hash,
        "recipe": store.recipe.fingerprint,
        "start_token": start_token(live),
        "device": live.device.type,
        "computed_in": str(live.compute_dtype),
        "versions": {name: installed_version(name) for name in ("torch", "transformers")},
    }
