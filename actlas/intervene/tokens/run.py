"""`token_values`: the values that neurons have at every token of their strongest texts, by one more run of the model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, Positive, checks_arguments
from actlas.errors import InterventionError, QueryError
from actlas.extract.backends.agreement import OTHER_ENGINE, deviation
from actlas.extract.inputs.batches import plan_batches
from actlas.extract.sites.proofs import EPSILON
from actlas.intervene.effects.texts import padded
from actlas.intervene.foreign import READ, file_digest, read_neurons
from actlas.intervene.live import LiveModel, load_live
from actlas.intervene.sets import store_sets
from actlas.intervene.tokens.pieces import Pieces, piece_rows, text_pieces
from actlas.intervene.tokens.strongest import Gathered, Strongest, pooled, spread, strongest_texts
from actlas.names import EXPERTS, Dtype, fingerprint
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress, Steps
from actlas.query.choices import chosen_checkpoints, chosen_n, linear_sites
from actlas.query.keep import Keeper, kept_parts
from actlas.query.neurons import NeuronAxis
from actlas.query.schema import TABLES
from actlas.store import layout
from actlas.store.files.parquet import read_parquet
from actlas.store.store import Store

if TYPE_CHECKING:
    from actlas.extract.backends.hf.tokenizer import HfTokenizer

_LOG = logging.getLogger(__name__)
_PLACE = ["site", "layer", "neuron"]
#: The two sides of an activation function.
_MLP = {"mlp_hidden": "mlp_pre"}
#: Experts of a language and concept, where table `experts` does not say how many it holds.
_USUAL_K = 500
#: Token values of a checkpoint in memory: 1 GB.
_MOST_VALUES = 1 << 28
#: Share of texts of neurons that may be further from the store's values than rounding explains.
_MOST_OFF = 0.01


# Long: the documentation of its arguments is part of it
@checks_arguments(QueryError)
def token_values(
    store: Atlas | str | Path,
    of: str = EXPERTS,
    *,
    n_texts: Positive | None = None,
    checkpoints: Names | None = None,
    languages: Names | None = None,
    concepts: Names | None = None,
    k: Positive | None = None,
    model: str | Path | None = None,
    tokenizer: str | None = None,
    device: str = "auto",
    compute_dtype: Literal["auto", Dtype] = "auto",
    trust_remote_code: bool = False,
    any_weights: bool = False,
    keep: bool | None = None,
    replace: bool = False,
    progress: StepProgress | None = None,
) -> pl.DataFrame:
    """The values of a set of neurons at every token of the texts that are strongest for each, by one more run of the model.

    What is kept of a text is one value per neuron; which token it comes from is not. So the model reads the strongest texts once
    more. Its values have to give the store's, pooled the same way, within what rounding explains.

    Args:
        store: With cubes, or the path of such a store.
        of: Which neurons: "experts", "lape", "all" (of the MLPs), the name of imported sets, or a file that `read_neurons` reads.
        n_texts: Texts per neuron; None for 64, or as many as the corpus has. A kept table answers every smaller number.
        checkpoints: None for all.
        languages: Of which languages the sets are; None for all. The strongest texts are those of any language.
        concepts: Of experts; None for all.
        k: Of experts, how many per language and concept; None for as many as table `experts` holds (without it 500, or a tenth of
            the neurons where that is fewer).
        model: Folder or hub id of the checkpoint, where it is not where the store's record says; the weights have to be the same.
        tokenizer: Folder or hub id of the tokenizer, where the checkpoint has none.
        device: cpu, cuda, cuda:N, or auto.
        compute_dtype: What the model computes in.
        trust_remote_code: Whether code that a checkpoint brings along may run.
        any_weights: Take a file of neurons that names no weights, or others.
        keep: Whether the answer is kept as tables `token_values` and `token_places`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.
        progress: Called after every batch of texts.

    Returns:
        Columns of table `token_values`: checkpoint, site, layer, neuron, rank, text_id, value (what the store has of the text),
        by_token (a list: what the neuron has at each of its tokens, special ones included). Where the tokens stand in the text
        says table `token_places`; `neuron_token_values` joins the two. A checkpoint whose answer is kept does not run again.

    Raises:
        QueryError: If there are no such sets, or too many values for the memory.
        CubeNotFound: If the store has no cube of a site.
        CheckpointNotFound: If a checkpoint is not in the store.
        WeightsDiffer: If a checkpoint has other weights than the store's values are of.
        InterventionError: If it gives other values, or divides the texts otherwise.
        NeuronSetError: If a file cannot be used.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Example:
        >>> from actlas.testing import random_checkpoint
        >>> texts = pl.DataFrame({"text": ["a cat", "two dogs", "ein Hund", "drei Katzen"], "language": ["en", "en", "de", "de"]})
        >>> labels = pl.DataFrame({"text_id": [0, 1], "concept": ["cat", "cat"], "is_concept": [True, False]})
        >>> corpus = actlas.corpus_from_frames(texts, labels)
        >>> summary = actlas.extract_activations(random_checkpoint(folder / "tiny"), corpus, folder / "own.actlas", device="cpu")
        >>> scores = actlas.score_neurons(folder / "own.actlas")
        >>> row = token_values(folder / "own.actlas", k=3, n_texts=2, device="cpu").row(0, named=True)
        >>> len(row["by_token"]) == len(texts["text"][row["text_id"]]), max(row["by_token"]) == row["value"]
        (True, True)
    """
    store = as_atlas(store, "a" if keep else "r")
    n, answers = chosen_n(store, n_texts, 64), [TABLES["token_values"].empty()]
    options = {"model": model, "tokenizer": tokenizer, "device": device, "compute_dtype": compute_dtype}
    with Keeper(store, keep, replace) as keeper:
        for checkpoint in chosen_checkpoints(store, checkpoints):
            own_k = k or (kept_k(store, checkpoint) if of == EXPERTS else _USUAL_K)
            settings: dict[str, Any] = {"of": of, "texts": n, "languages": languages, "concepts": concepts}
            settings |= {"k": own_k} if of == EXPERTS else {}
            is_file = Path(of).suffix in READ
            neurons = None if is_file else set_neurons(store, checkpoint, of, languages, concepts, own_k)
            settings["neurons"] = file_digest(of) if neurons is None else fingerprint(neurons.rows())
            part = keeper.find("token_values", checkpoint, settings, along=("token_places",))
            # every checkpoint has neurons of its own, so they do not decide beside what an answer stands, but whether it stands
            if part is not None and part.settings["neurons"] == settings["neurons"]:
                answers.append(part.scan().filter(pl.col("rank") <= n).collect())
                continue
            with load_live(store, checkpoint, trust_remote_code=trust_remote_code, **options) as live:  # type: ignore[arg-type]
                if neurons is None:
                    neurons = read_neurons(of, live, any_weights=any_weights).select(_PLACE).unique().sort(_PLACE)
                read = _Reading(store, live, strongest_texts(store, checkpoint, neurons, n))
                read.tell_size()
                values, places, about = read.tables(progress)
            tables = {"token_places": places, "token_values": values}
            tables = {
                name: TABLES[name].conform(frame.with_columns(checkpoint=pl.lit(checkpoint))) for name, frame in tables.items()
            }
            keeper.put(checkpoint, tables, {**settings, **about})
            answers.append(tables["token_values"])
            if keeper.is_on:
                _tell_size(store, checkpoint, neurons.height)
    return pl.concat(answers)


def kept_k(store: Store, checkpoint: str) -> int:
    """Experts per language and concept that table `experts` holds; where it is not kept the usual number, or a tenth of all."""
    held = [part.settings["k"] for part in kept_parts(store, EXPERTS) if part.checkpoint == checkpoint and part.is_shown]
    if held:
        return int(held[0])
    n_neurons = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, None)).n_neurons
    return min(_USUAL_K, max(1, n_neurons // 10))


def set_neurons(
    store: Atlas, checkpoint: str, of: str, languages: Sequence[str] | None, concepts: Sequence[str] | None, k: int
) -> pl.DataFrame:
    """Site, layer and neuron of all sets of a kind, each once, in that order; of an MLP, on the side that there is a cube of.

    Raises:
        QueryError: If there are no such sets.
    """
    sets = store_sets(store, checkpoint, of, languages=languages, concepts=concepts, k=k)
    rows = pl.concat([one.frame.select(_PLACE) for one in sets])
    existing = store.sites(checkpoint)
    moved = {site: other for site, other in _MLP.items() if site not in existing and other in existing}
    return rows.with_columns(pl.col("site").replace(moved)).unique().sort(_PLACE)


def _cube_bytes(store: Atlas, checkpoint: str) -> int:
    return sum(file.stat().st_size for file in (store.path / "cubes" / checkpoint).rglob("*") if file.is_file())


def _tell_size(store: Atlas, checkpoint: str, n_neurons: int) -> None:
    cubes = _cube_bytes(store, checkpoint)
    parts = [part for name in ("token_values", "token_places") for part in kept_parts(store, name)]
    n_bytes = sum(part.path.stat().st_size for part in parts if part.checkpoint == checkpoint)
    _LOG.info(
        "token values of %s neurons of %s: %s KB, %.2g %% of its cubes",
        f"{n_neurons:,}", checkpoint, f"{n_bytes / 1000:,.0f}", 100 * n_bytes / cubes,
    )  # fmt: skip


def check_tokenizer(store: Store, live: LiveModel) -> HfTokenizer:
    """The tokenizer of a model, which is the one that the texts of a store were divided by.

    Raises:
        InterventionError: If it is another one.
    """
    tokenizer = live.text_tokenizer
    if store.recipe.tokenizer not in tokenizer.hashes:
        raise InterventionError(
            f"the tokenizer of {live.checkpoint} is {tokenizer.hash}, and the texts of {store.path} were divided by "
            f"{store.recipe.tokenizer}; name the folder or hub id of that one as the tokenizer"
        )
    return tokenizer


def corpus_pieces(store: Store, live: LiveModel, rows: NDArray[np.int64]) -> list[Pieces]:
    """The tokens of some texts of a store, by their places on the text axis.

    Raises:
        InterventionError: If the model divides them otherwise than the store's run did.
    """
    recipe, texts = store.recipe, store.corpus.texts[rows.tolist()]
    found = text_pieces(
        check_tokenizer(store, live),
        texts["text"].to_list(),
        add_special=recipe.special_tokens != "none",
        max_tokens=recipe.max_tokens if recipe.over_long == "truncate" else None,
    )
    for text_id, ids, own in zip(texts["text_id"], token_ids(store, rows), found, strict=True):
        if ids != own.token_ids.tolist():
            raise InterventionError(
                f"text {text_id} of {store.path} was divided into {len(ids)} tokens, and {live.checkpoint} divides it into "
                f"{len(own.token_ids)} others; install the versions that the checkpoint's record names"
            )
    return found


def token_ids(store: Store, rows: NDArray[np.int64]) -> list[list[int]]:
    """The token ids that the run of a store made of some texts."""
    tokens = read_parquet(store.checked(store.path / layout.TOKEN_IDS))
    chosen = store.corpus.texts.select("text_id")[rows.tolist()].join(tokens, on="text_id", how="left", maintain_order="left")
    # earlier versions wrote arrays of fixed width where all texts have the same number of tokens
    ids: list[list[int]] = chosen["token_ids"].cast(pl.List(pl.Int32)).to_list()
    return ids


class _Reading:
    """Everything of one checkpoint."""

    def __init__(self, store: Atlas, live: LiveModel, strongest: Sequence[Strongest]) -> None:
        self.store, self.live = store, live
        if not strongest:
            raise QueryError(f"there are no neurons to read of {live.checkpoint}")
        self.rows = np.unique(np.concatenate([one.texts.reshape(-1) for one in strongest]))
        self.pieces = corpus_pieces(store, live, self.rows)
        self.lengths = np.array([len(one.token_ids) for one in self.pieces], dtype=np.int64)
        n_values = sum(int(self.lengths[np.searchsorted(self.rows, one.texts)].sum()) for one in strongest)
        self.n_neurons, self.n_values = sum(len(one.neurons) for one in strongest), n_values
        if n_values > _MOST_VALUES:
            raise QueryError(
                f"token values of {self.n_neurons:,} neurons at {strongest[0].texts.shape[1]} texts each take "
                f"{n_values * 4 / 1e9:.1f} GB, more than {_MOST_VALUES * 4 / 1e9:.1f} GB; ask for fewer texts, a smaller k, or "
                "some of the concepts"
            )
        self.gathered = [Gathered(one, self.rows, self.lengths) for one in strongest]

    def tell_size(self) -> None:
        """Say what is going to be kept, before the model runs."""
        checkpoint, strongest = self.live.checkpoint, [one.strongest for one in self.gathered]
        stored = [np.dtype(layout.storage_dtype(self.store.recipe.dtype_of(one.site))).itemsize for one in strongest]
        each = [size * int(one.lengths.sum()) for size, one in zip(stored, self.gathered, strict=True)]
        cubes = max(_cube_bytes(self.store, checkpoint), 1)
        _LOG.info(
            "%s reads %s texts once: %s neurons at %s texts each have %s token values, about %s KB, %.2g %% of its cubes",
            checkpoint, f"{len(self.rows):,}", f"{self.n_neurons:,}", strongest[0].texts.shape[1], f"{self.n_values:,}",
            f"{sum(each) / 1000:,.0f}", 100 * sum(each) / cubes,
        )  # fmt: skip

    def tables(self, progress: StepProgress | None) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
        """Tables `token_values` and `token_places` without their column checkpoint, and what should be known of them."""
        # here, and not above: importing this loads no torch
        from actlas.intervene.effects.losses import tokens_per_batch
        from actlas.intervene.tokens.reading import TokenReader

        live, steps = self.live, Steps(progress, len(self.rows))
        neurons = pl.concat([_neurons(one.strongest) for one in self.gathered])
        dtypes = {site: self.store.recipe.dtype_of(site) for site in neurons["site"].unique()}
        with TokenReader(live, neurons, dtypes) as reader:
            for batch in plan_batches(self.lengths, tokens_per_batch(live)):
                found = reader.read(padded([self.pieces[text].token_ids.astype(np.int64) for text in batch]))
                for one in self.gathered:
                    one.add(batch, self.lengths[batch], found[one.strongest.site, one.strongest.layer])
                steps.add(len(batch), f"{live.checkpoint} texts")
        n_off = self._check()
        about = {"weight_hash": live.weight_hash, "device": str(live.device), "computed_in": live.compute_dtype, "n_off": n_off}
        text_ids = self.store.corpus.texts["text_id"].to_numpy()
        return pl.concat(map(self._rows_of, self.gathered)), piece_rows(text_ids[self.rows].tolist(), self.pieces), about

    def _check(self) -> int:
        """How many texts of neurons are further from the store's values than rounding explains.

        Raises:
            InterventionError: If those are more than a few.
        """
        is_all = self.store.recipe.special_tokens == "pool"
        is_pooled = np.concatenate([np.ones_like(one.is_special) if is_all else ~one.is_special for one in self.pieces])
        first = np.cumsum(self.lengths) - self.lengths
        n_off = n_all = 0
        farthest, where = 0.0, ""
        for one in self.gathered:
            own, excess = self._compared(one, is_pooled[spread(first[one.texts], one.lengths)])
            # NaN is off, too
            n_off, n_all = n_off + int((~(excess <= 0)).sum()), n_all + excess.size
            if np.nanmax(excess, initial=-1.0) > farthest:
                neuron, rank = np.unravel_index(np.nanargmax(excess), excess.shape)
                farthest, kept = float(excess[neuron, rank]), one.strongest.values[neuron, rank]
                place = f"{one.strongest.site}, layer {one.strongest.layer}, neuron {one.strongest.neurons[neuron]}"
                where = f" (farthest: {place} has {own[neuron, rank]:.4g}, not {kept:.4g})"
        if n_off > _MOST_OFF * n_all:
            raise InterventionError(
                f"{self.live.checkpoint} gives other values than {self.store.path} holds, for {n_off:,} of {n_all:,} texts of "
                f"neurons{where}; run the model that was extracted, in the versions that its record names"
            )
        return n_off

    def _compared(self, one: Gathered, is_pooled: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What tokens give when they are pooled, and by how much more than rounding explains it is off what the store has."""
        recipe, kept = self.store.recipe, one.strongest.values.astype(np.float64)
        own = pooled(one.values, one.first, is_pooled, recipe.pooling).reshape(kept.shape)
        off = own - kept if recipe.pooling == "max_with_pad" else np.abs(own - kept)
        # a mean takes over what rounding did to its terms
        rounded = np.maximum.reduceat(np.abs(one.values), one.first).reshape(kept.shape) if recipe.pooling == "mean" else kept
        last_bit = np.maximum(np.abs(rounded), 2.0**-14) * EPSILON[recipe.dtype_of(one.strongest.site)]
        return own, off - last_bit - _explained(kept, recipe.compute_dtype, one.strongest.layer)

    def _rows_of(self, one: Gathered) -> pl.DataFrame:
        """Table `token_values` of one layer of a site, without its column checkpoint."""
        n_ranks = one.strongest.texts.shape[1]
        row = np.repeat(np.arange(len(one.lengths)), one.lengths)
        by_token = pl.DataFrame({"row": row, "by_token": one.values}).group_by("row", maintain_order=True).agg("by_token")
        columns = {
            "site": one.strongest.site,
            "layer": one.strongest.layer,
            "neuron": np.repeat(one.strongest.neurons, n_ranks),
            "rank": np.tile(np.arange(1, n_ranks + 1), len(one.strongest.neurons)),
            "text_id": self.store.corpus.texts["text_id"].to_numpy()[one.strongest.texts.reshape(-1)],
            "value": one.strongest.values.reshape(-1),
        }
        return pl.DataFrame(columns).with_columns(by_token["by_token"])


def _neurons(one: Strongest) -> pl.DataFrame:
    return pl.DataFrame({"site": one.site, "layer": one.layer, "neuron": one.neurons})


def _explained(values: NDArray[np.float64], compute_dtype: str, layer: int) -> NDArray[np.float64]:
    """How far values of neurons may be off by what the arithmetic of a model rounds."""
    # a neuron adds up what others have as well: none counts as smaller than most are
    sizes = np.abs(values).max(axis=1, keepdims=True)
    return np.asarray(OTHER_ENGINE * deviation(compute_dtype, layer) * np.maximum(sizes, np.median(sizes)))
