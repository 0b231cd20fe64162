"""One text run through a loaded model: what neurons have at each of its tokens, and whose experts are active there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from actlas.allowed import Names, Positive, checks_arguments
from actlas.errors import InterventionError, QueryError
from actlas.intervene.effects.texts import padded
from actlas.intervene.frames import checked
from actlas.intervene.live import LiveModel
from actlas.intervene.tokens.pieces import piece_rows, text_pieces
from actlas.intervene.tokens.run import check_tokenizer, kept_k
from actlas.query import Atlas, top_experts
from actlas.query.atlas import as_atlas

_PLACE = ["site", "layer", "neuron"]


def text_token_values(
    live: LiveModel, text: str, neurons: pl.DataFrame, *, store: Atlas | str | Path | None = None
) -> pl.DataFrame:
    """What neurons have at every token of a text, by one run of a model.

    Args:
        live: The model.
        text: Any text, of one token at least.
        neurons: Columns site, layer, neuron; others say nothing.
        store: The store whose values these should be comparable with: the text is divided and cut as its texts were, and values
            are rounded to the dtype of their site. None: the tokenizer adds its own tokens, nothing is cut or rounded.

    Returns:
        Columns position (of the token), piece, char_start, char_end, is_special, site, layer, neuron, value: a row per token and
        neuron. Tokens that share a character both have it; one that the tokenizer added has char_start = char_end.

    Raises:
        InterventionError: If the text has no token, the tokenizer is not the store's, or the frame lacks a column or has a neuron
            twice.
        NeuronNotFound: If the model lacks a neuron.
        SiteNotProved: If the model has no such proved site.
        ModelNotLoaded: If it has no tokenizer.

    Example:
        >>> neurons = pl.DataFrame({"site": ["mlp_pre"], "layer": [1], "neuron": [3]})
        >>> values = text_token_values(live, "a cat", neurons)
        >>> values.select("piece", "char_start", "char_end").rows()
        [('a', 0, 1), (' ', 1, 2), ('c', 2, 3), ('a', 3, 4), ('t', 4, 5)]
    """
    # here, and not above: importing this loads no torch
    from actlas.intervene.tokens.reading import TokenReader

    missing = [name for name in _PLACE if name not in neurons.columns]
    if missing:
        raise InterventionError(f"the frame has no column {', '.join(missing)}; it has {', '.join(neurons.columns)}")
    asked = checked(neurons.select(_PLACE).with_columns(value=pl.lit(0.0)), live).select(_PLACE).sort(_PLACE)
    tokens, recipe = text_tokens(live, text, store=store), None if store is None else as_atlas(store).recipe
    rows = tokens.drop("token_id").join(asked, how="cross", maintain_order="left_right")
    values = np.zeros(0, dtype=np.float32)
    if rows.height:
        dtypes = {} if recipe is None else {site: recipe.dtype_of(site) for site in asked["site"].unique()}
        with TokenReader(live, asked, dtypes) as reader:
            found = reader.read(padded([tokens["token_id"].cast(pl.Int64).to_numpy()]))
        values = np.concatenate(list(found.values()), axis=1).reshape(-1)
    return rows.with_columns(pl.Series("value", values, pl.Float32), pl.col("layer", "neuron").cast(pl.Int32))


def text_tokens(live: LiveModel, text: str, *, store: Atlas | str | Path | None = None) -> pl.DataFrame:
    """The tokens of a text, and the characters that each stands for.

    Args:
        live: The model whose tokenizer divides it.
        text: Any text.
        store: As in `text_token_values`.

    Returns:
        Columns position, token_id, piece, char_start, char_end, is_special.

    Raises:
        InterventionError: If the text has no token, or the tokenizer is not the store's.
        ModelNotLoaded: If the model has no tokenizer.

    Example:
        >>> text_tokens(live, "cat").select("position", "piece", "char_start", "char_end").row(1)
        (1, 'a', 1, 2)
    """
    add_special, max_tokens, tokenizer = True, None, live.text_tokenizer
    if store is not None:
        opened = as_atlas(store)
        tokenizer = check_tokenizer(opened, live)
        add_special, max_tokens = opened.recipe.special_tokens != "none", opened.recipe.max_tokens
    (pieces,) = text_pieces(tokenizer, [text], add_special=add_special, max_tokens=max_tokens)
    if not len(pieces.token_ids):
        raise InterventionError("the text has no token; type one that has")
    return piece_rows([0], [pieces]).drop("text_id")


@checks_arguments(QueryError)
def active_experts(
    live: LiveModel,
    text: str,
    store: Atlas | str | Path,
    *,
    k: Positive | None = None,
    languages: Names | None = None,
    concepts: Names | None = None,
    n: Positive = 5,
) -> pl.DataFrame:
    """Whose experts are active at which token of a text, by one run of a model.

    An expert is active at a token where its value is above its median over the texts with its concept: at least as high as in
    half of these texts at their highest token. That holds for pooling "max"; with another, tokens are compared with what texts
    have on the whole.

    Args:
        live: The model: a checkpoint of the store.
        text: Any text.
        store: With scores, the medians among them; or the path of such a store.
        k: Experts per language and concept; None for as many as table `experts` holds.
        languages: Whose experts; None for all.
        concepts: Of which concepts; None for all.
        n: How many pairs of a concept and a language are shown of a token.

    Returns:
        Columns position (of the token), piece, char_start, char_end, rank (among the pairs at this token, by n_active), concept,
        language, n_active, n_experts; and of the best expert among those that are active expert_rank, site, layer, neuron, value
        and median. A token at which none is active has no row, nor one that the tokenizer added and the store does not pool.

    Raises:
        QueryError: If the checkpoint is not the store's, or medians were not scored.
        ScoresNotFound: If the checkpoint was not scored.
        InterventionError: If the text has no token, or the tokenizer is not the store's.

    Example:
        >>> from actlas.testing import random_checkpoint
        >>> texts = pl.DataFrame({"text": ["a cat", "two dogs", "ein Hund", "drei Katzen"], "language": ["en", "en", "de", "de"]})
        >>> labels = pl.DataFrame({"text_id": range(4), "concept": "cat", "is_concept": [True, False, False, True]})
        >>> corpus = actlas.corpus_from_frames(texts, labels)
        >>> summary = actlas.extract_activations(random_checkpoint(folder / "tiny"), corpus, folder / "own.actlas", device="cpu")
        >>> scores = actlas.score_neurons(folder / "own.actlas")
        >>> with actlas.load_live(folder / "own.actlas", "tiny", device="cpu") as own:
        ...     active_experts(own, "drei Katzen, a cat", folder / "own.actlas", k=5, n=1)["concept"].unique().to_list()
        ['cat']
    """
    opened = as_atlas(store)
    if live.checkpoint not in opened.checkpoints:
        raise QueryError(f"{live.checkpoint} is no checkpoint of {opened.path}; load one of {', '.join(opened.checkpoints)}")
    chosen = {"checkpoints": [live.checkpoint], "languages": languages, "concepts": concepts}
    experts = top_experts(opened, k=k or kept_k(opened, live.checkpoint), keep=False, **chosen)  # type: ignore[arg-type]
    if experts.height and experts["median"].null_count() == experts.height:
        raise QueryError(
            f"medians of {live.checkpoint} were not scored; score them: actlas score {opened.path} --stats ap,median"
        )
    values = text_token_values(live, text, experts.select(_PLACE).unique(), store=opened)
    if opened.recipe.special_tokens != "pool":
        values = values.filter(~pl.col("is_special"))
    return _by_token(values, experts, n)


def _by_token(values: pl.DataFrame, experts: pl.DataFrame, n: int) -> pl.DataFrame:
    """The pairs of every token that have most active experts, those of a smaller rank first among equals."""
    key = ["position", "concept", "language"]
    about = experts.select("concept", "language", *_PLACE, pl.col("rank").alias("expert_rank"), "median")
    n_experts = experts.group_by("concept", "language").len("n_experts")
    active = values.join(about, on=_PLACE).filter(pl.col("value") > pl.col("median")).sort(*key, "expert_rank")
    pairs = active.group_by(key, maintain_order=True).agg(
        pl.len().alias("n_active"),
        pl.first("piece", "char_start", "char_end", "expert_rank", *_PLACE, "value", "median"),
    )
    ranked = (
        pairs.join(n_experts, on=["concept", "language"], how="left")
        .sort("position", "n_active", "expert_rank", "concept", "language", descending=[False, True, False, False, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("position"))
        .filter(pl.col("rank") <= n)
    )
    counts = pl.col("n_active", "n_experts").cast(pl.Int32)
    return ranked.with_columns(counts).select(
        *("position", "piece", "char_start", "char_end", "rank", "concept", "language", "n_active", "n_experts"),
        *("expert_rank", *_PLACE, "value", "median"),
    )
