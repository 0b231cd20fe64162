"""`patch_concepts`: latents of one concept put into the prompt of another, and which of the two the model says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Count, Names, Positive, checks_arguments
from actlas.errors import QueryError
from actlas.intervene.concepts.answers import CONCEPTS, Answers, answers_of
from actlas.intervene.concepts.greedy import GreedyPrompts, PromptBatch, prompt_batches
from actlas.intervene.concepts.latents import LatentRows, PromptRows, latent_rows, prompt_rows
from actlas.intervene.concepts.prompts import Template
from actlas.intervene.concepts.settings import UNPATCHED, language_pair
from actlas.intervene.live import LiveModel, load_live
from actlas.names import PATCH_SETTINGS, Dtype
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress, Steps
from actlas.query.choices import chosen_checkpoints
from actlas.query.keep import Keeper
from actlas.query.schema import TABLES
from actlas.store.store import Store
from actlas.words import no_such


# Long: the documentation of its arguments is part of it
@checks_arguments(QueryError)
def patch_concepts(
    store: Atlas | str | Path,
    translations: Names | None = None,
    *,
    settings: Names | None = None,
    checkpoints: Names | None = None,
    seen: Names | None = None,
    layers: Sequence[Count] | None = None,
    n_tokens: Count = 10,
    rows_per_batch: Positive = 64,
    model: str | Path | None = None,
    device: str = "auto",
    compute_dtype: Literal["auto", Dtype] = "auto",
    trust_remote_code: bool = False,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Put latents of a concept into the prompt of another one, and see which of the two the model says.

    For every pair of concepts, target prompt and layer j: at the last token of the word to translate, block outputs of layers j
    to the last are replaced by a mean of latents of the source concept, and the probability of the next token is summed over the
    first tokens of all words of either concept, with and without a space before them. Which latents is the setting:

    - seen: the mean over all ordered pairs of seen languages without English and the two that are translated between
    - tgt: of the source concept's prompt in the same two languages
    - en_en: of its prompt from English to English; self: from the output language to itself
    - tgt_tgt: the target prompt's own latents. A control: nothing changes but for the rounding of the stored dtype
    - unpatched: none; unpatched_source: none, in the source concept's prompt

    Args:
        store: With the vectors of prompts that `translation_prompts` made, or the path of such a store.
        translations: Languages of target prompts, such as ["fr-en"]; None for all that the prompts were made for.
        settings: Some of the above; None for all that the prompts are there for (self is left out where it is en_en).
        checkpoints: None for all.
        seen: Languages of setting seen; None for those that the prompts were made for.
        layers: Values of j; None for every layer.
        n_tokens: Greedy tokens of text to go on with, first one included; 0 for none.
        rows_per_batch: Prompts that go through the model together. The answer is the same for any number, but for rounding.
        model: Folder or hub id of the checkpoint, where it is not where the store's record says.
        device: cpu, cuda, cuda:N, or auto.
        compute_dtype: What the model computes in.
        trust_remote_code: Whether code that a checkpoint brings along may run.
        progress: Called after every batch.
        keep: Whether the answer is kept as table `patches`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        Columns of table `patches`: checkpoint, step, language_in, language_out, setting, layer (j; null where nothing is
        patched), pair, source_concept, target_concept, language (whose words are measured), p_source, p_target, continuation
        (text; in the rows of the output language alone).

    Raises:
        QueryError: If the store holds no such prompts, lacks those of a setting, or a name is not known.
        CubeNotFound: If no vectors of block outputs were kept.
        CheckpointNotFound: If a checkpoint is not in the store.
        WeightsDiffer: If a checkpoint has other weights than those that the store's vectors are of.
        SiteNotProved: If the block outputs of a model are not what their name says.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: arXiv 2601.22851, after Dumas et al. 2024.

    Example:
        >>> patch_concepts(store, ["fr-en"])
        Traceback (most recent call last):
        actlas.errors.QueryError: the texts of ... are no translation prompts: they lack column ...
    """
    store = as_atlas(store, "a" if keep else "r")
    prompts = prompt_rows(store)
    names = chosen_checkpoints(store, checkpoints)
    asked = _asked(prompts, translations, settings, seen, layers, n_tokens, compute_dtype)
    for translation, own in asked.settings.items():
        for setting in own:
            if setting not in UNPATCHED:
                latent_rows(prompts, setting, translation, asked.seen)
    answers = [TABLES["patches"].empty()]
    with Keeper(store, keep, replace) as keeper:
        parts = {name: keeper.find("patches", name, asked.to_json()) for name in names}
        left = [name for name in names if parts[name] is None]
        steps = Steps(progress, sum(asked.n_runs(prompts, store.token_cube(name, "resid").shape[0]) for name in left))
        for name, part in parts.items():
            if part is not None:
                answers.append(TABLES["patches"].conform(part.scan().collect()))
                continue
            with load_live(
                store, name, model=model, device=device, compute_dtype=compute_dtype, trust_remote_code=trust_remote_code
            ) as live:
                run = _Run(store, live, prompts, asked, rows_per_batch)
                answers.append(run.table(name, steps))
                about = {
                    "device": str(live.device),
                    "computed_in": live.compute_dtype,
                    "rows_per_batch": rows_per_batch,
                    "weight_hash": live.weight_hash,
                    "made_with": prompts.made_with,
                }
                keeper.put(name, {"patches": answers[-1]}, {**asked.to_json(), **about})
    return pl.concat(answers)


@dataclass(frozen=True)
class _Asked:
    """What decides the rows of the table.

    Attributes:
        settings: Translation -> settings.
        seen: Languages of setting seen.
        layers: Values of j; None for all.
        n_tokens: Of a continuation.
        prompts: Digest of what the texts of the store are prompts for.
        compute_dtype: What the model computes in.
    """

    settings: Mapping[str, tuple[str, ...]]
    seen: tuple[str, ...]
    layers: tuple[int, ...] | None
    n_tokens: int
    prompts: str
    compute_dtype: str

    def to_json(self) -> dict[str, Any]:
        """As it is kept with the table."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def n_runs(self, prompts: PromptRows, n_layers: int) -> int:
        """How often a prompt goes through a model of so many layers."""
        n_patched = n_layers if self.layers is None else len(self.layers)
        per_pair = sum(1 if one in UNPATCHED else n_patched for own in self.settings.values() for one in own)
        return per_pair * prompts.pairs.height


def _asked(
    prompts: PromptRows,
    translations: Sequence[str] | None,
    settings: Sequence[str] | None,
    seen: Sequence[str] | None,
    layers: Sequence[int] | None,
    n_tokens: int,
    compute_dtype: str,
) -> _Asked:
    unknown = [name for name in settings or () if name not in PATCH_SETTINGS]
    if unknown:
        raise QueryError(no_such("setting", unknown, list(PATCH_SETTINGS), "concept patching"))
    existing = prompts.made_with["translations"]
    unknown = [name for name in translations or () if name not in existing]
    if unknown:
        raise QueryError(no_such("translation", unknown, existing, "the store's prompts"))
    chosen = {
        name: tuple(one for one in PATCH_SETTINGS if one in (settings or prompts.settings_of(name)))
        for name in translations or existing
    }
    about = prompts.rows.select("text_id", "pair", "role", "concept", "language_out", "answers").sort("text_id")
    digest = hashlib.sha256(about.write_csv().encode()).hexdigest()[:16]
    return _Asked(
        chosen,
        tuple(seen or prompts.made_with["seen"]),
        None if layers is None else tuple(sorted(set(layers))),
        n_tokens,
        digest,
        compute_dtype,
    )


class _Run:
    """Everything of one checkpoint."""

    def __init__(self, store: Store, live: LiveModel, prompts: PromptRows, asked: _Asked, rows_per_batch: int) -> None:
        from actlas.extract.backends.hf.tokenizer import HfTokenizer

        self.store, self.live, self.prompts, self.asked, self.rows = store, live, prompts, asked, rows_per_batch
        self.tokenizer = HfTokenizer(live.tokenizer)
        writes = Template(prompts.made_with["template"], prompts.made_with["language_names"])
        self.answers: Answers = answers_of(prompts, prompts.made_with["languages"], self.tokenizer, writes.ends_with)
        every = tuple(range(live.n_layers))
        unknown = [str(layer) for layer in asked.layers or () if layer not in every]
        if unknown:
            raise QueryError(f"no layer {', '.join(unknown)}; {live.checkpoint} has layers 0 to {live.n_layers - 1}")
        self.layers = every if asked.layers is None else asked.layers

    def table(self, checkpoint: str, steps: Steps) -> pl.DataFrame:
        """Its rows of table `patches`."""
        frames = [
            frame
            for translation, settings in self.asked.settings.items()
            for frame in self._translation(checkpoint, translation, settings, steps)
        ]
        step = self.store.checkpoint(checkpoint).get("step")
        labels = [pl.lit(checkpoint).alias("checkpoint"), pl.lit(step, pl.Int64).alias("step")]
        rows = pl.concat(frames).join(self.prompts.pairs, on="pair", how="left", maintain_order="left").with_columns(labels)
        return TABLES["patches"].conform(
            rows.sort("language_in", "language_out", "setting", "layer", "pair", maintain_order=True)
        )

    def _translation(self, checkpoint: str, translation: str, settings: Sequence[str], steps: Steps) -> Iterator[pl.DataFrame]:
        pair = language_pair(translation)
        chosen = {one: latent_rows(self.prompts, one, translation, self.asked.seen) for one in settings if one not in UNPATCHED}
        latents = self._latents(checkpoint, chosen)
        roles = {"target": [one for one in settings if one != "unpatched_source"], "source": ["unpatched_source"]}
        for role, own in roles.items():
            if not set(own) & set(settings):
                continue
            for batch in self._batches(role, pair):
                prompts = GreedyPrompts(self.live, batch, self.asked.n_tokens, self.tokenizer.pad_id)
                for setting in own:
                    for layer in (None,) if setting in UNPATCHED else self.layers:
                        values = None
                        if layer is not None:
                            values = latents[setting][:, chosen[setting].rows_of(batch.pairs)].swapaxes(0, 1)
                        logits, texts = prompts.run(values, layer)
                        yield self._frame(batch.pairs, logits, texts, pair, setting, layer)
                        steps.add(len(batch.pairs), f"{checkpoint} {translation} {setting}")

    def _latents(self, checkpoint: str, chosen: Mapping[str, LatentRows]) -> dict[str, NDArray[np.float32]]:
        """Setting -> mean latents, ``"layers pairs channels"``; every layer of the store is read once."""
        if not chosen:
            return {}
        cube = self.store.token_cube(checkpoint, "resid")
        by_layer = []
        for layer in range(cube.shape[0]):
            vectors = cube.read(layer)
            by_layer.append({setting: rows.means(vectors) for setting, rows in chosen.items()})
        return {setting: np.stack([means[setting] for means in by_layer]) for setting in chosen}

    def _batches(self, role: str, pair: tuple[str, str]) -> Iterator[PromptBatch]:
        rows = self.prompts.of(role, [pair], f"{role} prompts of {'-'.join(pair)}")
        encoded = self.tokenizer.encode(rows["text"].to_list(), add_special=self.store.recipe.special_tokens != "none")
        positions = rows["position"].cast(pl.Int64).to_numpy()
        own = [int(ids[position]) for ids, position in zip(encoded.token_ids, positions, strict=True)]
        if own != rows["token_id"].to_list():
            raise QueryError(f"the tokenizer of {self.live.checkpoint} divides the prompts in other tokens than the store's")
        pairs = rows["pair"].cast(pl.Int64).to_numpy()
        return prompt_batches(pairs, encoded.token_ids, positions, self.rows, self.tokenizer.pad_id)

    def _frame(
        self,
        pairs: NDArray[np.int64],
        logits: Any,
        texts: list[str] | None,
        pair: tuple[str, str],
        setting: str,
        layer: int | None,
    ) -> pl.DataFrame:
        """Rows of a batch: one per pair and language."""
        found = self.answers.probabilities(logits, pairs)
        languages = self.answers.languages
        n_rows, n_languages = len(pairs), len(languages)
        continuation = [
            None if texts is None or language != pair[1] else texts[row] for row in range(n_rows) for language in languages
        ]
        return pl.DataFrame(
            {
                "language_in": [pair[0]] * (n_rows * n_languages),
                "language_out": pair[1],
                "setting": setting,
                "layer": pl.Series([layer] * (n_rows * n_languages), dtype=pl.Int32),
                "pair": pl.Series(np.repeat(pairs, n_languages), dtype=self.prompts.pairs["pair"].dtype),
                "language": list(languages) * n_rows,
                **{f"p_{name}": found[:, number].reshape(-1) for number, name in enumerate(CONCEPTS)},
                "continuation": pl.Series(continuation, dtype=pl.String),
            }
        )
