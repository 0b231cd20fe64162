"""Latents of concepts: means over prompts in several languages of the vectors that a store kept at the word to translate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, checks_arguments
from actlas.errors import QueryError
from actlas.intervene.concepts.prompts import SPAN
from actlas.intervene.concepts.settings import ENGLISH, UNPATCHED, language_pair, source_pairs
from actlas.names import PATCH_SETTINGS
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import chosen_checkpoints
from actlas.store.store import Store
from actlas.words import listed, no_such

_COLUMNS = ("pair", "role", "concept", "language_out", "shots", "answers", "made_with")


@dataclass(frozen=True)
class PromptRows:
    """The prompts of a store.

    Attributes:
        rows: text_id, text, pair, role, concept, language_in, language_out, answers, position (of the last token of the word to
            translate), token_id (that token), token (place of its vector in a token cube; null where it has none).
        made_with: What the prompts were made with.
    """

    rows: pl.DataFrame
    made_with: dict[str, Any]

    @cached_property
    def pairs(self) -> pl.DataFrame:
        """pair, source_concept, target_concept; one row per pair, in their order."""
        by_role = [
            self.rows.filter(pl.col("role") == role).select("pair", pl.col("concept").alias(f"{role}_concept")).unique()
            for role in ("source", "target")
        ]
        return by_role[0].join(by_role[1], on="pair").sort("pair")

    def of(self, role: str, languages: Sequence[tuple[str, str]], what: str) -> pl.DataFrame:
        """The prompts of one role in some languages, each with its vector, by pair.

        Args:
            role: "source" or "target".
            languages: Input and output language of each.
            what: What needs them, for a message.

        Raises:
            QueryError: If a pair lacks one of them, or its vector.
        """
        wanted = pl.DataFrame(list(languages), schema={"language_in": pl.String, "language_out": pl.String}, orient="row")
        found = self.rows.filter(pl.col("role") == role).join(wanted, on=["language_in", "language_out"], how="semi")
        there = found.group_by("language_in", "language_out").len().filter(pl.col("len") == self.pairs.height)
        lacking = wanted.join(there, on=["language_in", "language_out"], how="anti")
        if lacking.height or not languages:
            existing = self.rows.filter(pl.col("role") == role).select("language_in", "language_out").unique().sort(pl.all())
            raise QueryError(
                f"{what} needs {role} prompts of {listed([f'{a}-{b}' for a, b in lacking.iter_rows()])}, and the store has "
                f"{listed([f'{a}-{b}' for a, b in existing.iter_rows()])}; make them with actlas patch-prompts, and extract them"
            )
        lost = found.filter(pl.col("token").is_null())
        if lost.height:
            raise QueryError(
                f"{what}: {lost.height} of {found.height} prompts have no vector at the word to translate; extract them whole "
                "(--max-tokens) with --token-choice span --token-sites resid"
            )
        return found.sort("pair", "language_in", "language_out")

    def settings_of(self, translation: str) -> tuple[str, ...]:
        """Settings that the prompts are there for; `self` is left out where it is `en_en`."""
        pair, seen = language_pair(translation), self.made_with["seen"]
        left_out = {"self"} if pair[1] == ENGLISH else set()
        left_out |= set() if source_pairs("seen", pair, seen) else {"seen"}
        left_out |= set() if ENGLISH in self.made_with["languages"] else {"en_en"}
        return tuple(name for name in PATCH_SETTINGS if name not in left_out)


def prompt_rows(store: Store) -> PromptRows:
    """The prompts of a store.

    Raises:
        QueryError: If its texts are no prompts.
    """
    texts = store.corpus.texts
    missing = [name for name in _COLUMNS if name not in texts.columns]
    if missing:
        raise QueryError(
            f"the texts of {store.path} are no translation prompts: they lack column {', '.join(missing)}; make prompts with "
            "actlas patch-prompts, then extract them with --token-choice span --token-sites resid"
        )
    tokens = store.sampled_tokens.drop("language", "split", "parallel_id")
    if "span" in tokens.columns:
        # a token's place in a cube is its row here
        tokens = tokens.with_row_index("token").filter(pl.col("span") == SPAN)
    else:
        tokens = tokens.clear().with_columns(pl.lit(0, pl.UInt32).alias("token"))
    texts = texts.rename({"language": "language_in"}).select(
        "text_id", "text", "pair", "role", "concept", "language_in", "language_out", "answers", "made_with"
    )
    made_with = json.loads(texts["made_with"][0])
    rows = texts.drop("made_with").join(tokens.select("text_id", "position", "token_id", "token"), on="text_id", how="left")
    return PromptRows(rows, made_with)


@dataclass(frozen=True)
class LatentRows:
    """Which vectors of a token cube a setting takes the mean over, for every pair.

    Attributes:
        pairs: Numbers of the pairs, ascending; one mean each.
        tokens: Places in the token cube, those of a pair one after the other, as many of each.
        n_latents: How many of each.
    """

    pairs: NDArray[np.int64]
    tokens: NDArray[np.int64]
    n_latents: int

    def rows_of(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places in `pairs` of some of them, in any order: which mean belongs to which prompt of a batch."""
        rows = np.searchsorted(self.pairs, pairs)
        assert np.array_equal(self.pairs[rows], pairs), "a prompt of a pair that has no mean"
        return rows

    def means(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Means of the vectors of one layer of the cube: ``"pairs channels"``, in the order of `pairs`."""
        grouped = vectors[self.tokens].reshape(len(self.pairs), self.n_latents, -1)
        return np.asarray(grouped.mean(axis=1, dtype=np.float64), dtype=np.float32)


def latent_rows(prompts: PromptRows, setting: str, translation: str, seen: Sequence[str]) -> LatentRows:
    """What a setting takes the mean over.

    Raises:
        QueryError: If the setting has no latents, or the store lacks what it needs.
    """
    if setting not in PATCH_SETTINGS or setting in UNPATCHED:
        patched = [name for name in PATCH_SETTINGS if name not in UNPATCHED]
        raise QueryError(no_such("setting with latents", [setting], patched, "concept patching"))
    pair, what = language_pair(translation), f"setting {setting} of {translation}"
    role, languages = ("target", [pair]) if setting == "tgt_tgt" else ("source", source_pairs(setting, pair, seen))
    if not languages:
        raise QueryError(f"{what} needs two seen languages, neither English nor translated between; seen are {listed(seen)}")
    rows = prompts.of(role, languages, what)
    pairs = rows["pair"].unique().sort()
    return LatentRows(pairs.cast(pl.Int64).to_numpy(), rows["token"].cast(pl.Int64).to_numpy(), rows.height // pairs.len())


@checks_arguments(QueryError)
def concept_latents(
    store: Atlas | str | Path,
    setting: str,
    translation: str,
    *,
    checkpoints: Names | None = None,
    seen: Names | None = None,
) -> pl.DataFrame:
    """Mean latents of the source concepts, as `patch_concepts` puts them into target prompts.

    Args:
        store: With the vectors of prompts that `translation_prompts` made, or the path of such a store.
        setting: What the mean is over: seen, tgt, en_en, self or tgt_tgt; see `patch_concepts`.
        translation: Languages of the target prompts, such as "fr-en".
        checkpoints: None for all.
        seen: Languages of setting `seen`; None for those that the prompts were made for.

    Returns:
        checkpoint, layer, pair, concept (whose latents these are), n_latents (how many the mean is over), latent (an array of
        float32, one number per channel).

    Raises:
        QueryError: If the store holds no such prompts, or lacks those of this setting.
        CubeNotFound: If no vectors of block outputs were kept.
        CheckpointNotFound: If a checkpoint is not in the store.

    Source: arXiv 2601.22851, after Dumas et al. 2024.

    Example:
        >>> concept_latents(store, "seen", "fr-en")
        Traceback (most recent call last):
        actlas.errors.QueryError: the texts of ... are no translation prompts: they lack column ...
    """
    store = as_atlas(store, "r")
    prompts = prompt_rows(store)
    rows = latent_rows(prompts, setting, translation, seen or prompts.made_with["seen"])
    concepts = prompts.pairs["target_concept" if setting == "tgt_tgt" else "source_concept"]
    frames = []
    for checkpoint in chosen_checkpoints(store, checkpoints):
        cube = store.token_cube(checkpoint, "resid")
        for layer in range(cube.shape[0]):
            means = rows.means(cube.read(layer))
            frames.append(
                pl.DataFrame({"pair": rows.pairs, "concept": concepts, "latent": means}).select(
                    pl.lit(checkpoint).alias("checkpoint"),
                    pl.lit(layer, pl.Int32).alias("layer"),
                    pl.col("pair").cast(pl.Int32),
                    "concept",
                    pl.lit(rows.n_latents, pl.Int32).alias("n_latents"),
                    "latent",
                )
            )
    return pl.concat(frames)
