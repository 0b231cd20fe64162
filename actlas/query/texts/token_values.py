"""What neurons have at every token of a text, where that is kept."""

from __future__ import annotations

import re
from bisect import bisect_right
from pathlib import Path
from typing import Any

import polars as pl

from actlas.allowed import Count, Positive, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import chosen_checkpoints, place_of_text
from actlas.query.keep import kept_parts

_WORD = re.compile(r"\S+")


@checks_arguments(QueryError)
def neuron_token_values(
    store: Atlas | str | Path, checkpoint: str, site: str, layer: Count, neuron: Count, *, n: Positive | None = None
) -> pl.DataFrame:
    """What one neuron has at every token of the texts that are strongest for it, and the characters that each token stands for.

    Args:
        store: With tables `token_values` and `token_places`, which `actlas.intervene.token_values` keeps; or its path.
        checkpoint: Which.
        site: Where the neuron is.
        layer: Where the neuron is.
        neuron: Its coordinate.
        n: How many texts; None for 10, or as many as are kept.

    Returns:
        Columns rank (of the text), text_id, language, position (of the token), piece, char_start, char_end, is_special, value.
        Tokens that share a character both have it; one that the tokenizer added has char_start = char_end.

    Raises:
        TableNotFound: If no token values are kept.
        CheckpointNotFound: If the checkpoint is not in the store.
        QueryError: If those of this neuron, or of so many texts, are not kept.

    Example:
        >>> neuron_token_values(store, "planted-step64", "mlp_pre", 0, 4)
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table token_values was not computed yet: actlas tokens ...
    """
    given: dict[str, Any] = {"checkpoint": checkpoint, "site": site, "layer": layer, "neuron": neuron}
    given |= {} if n is None else {"n": n}
    return as_atlas(store).ask("neuron_token_values", **given)


@checks_arguments(QueryError)
def sampled_token_values(
    store: Atlas | str | Path, checkpoint: str, site: str, layer: Count, neuron: Count, *, text_id: Count | None = None
) -> pl.DataFrame:
    """What one neuron has at the tokens whose vectors the extraction kept: few of each text, or all, as it was told.

    Args:
        store: With token vectors at the site, or the path of such a store.
        checkpoint: Which.
        site: Where the neuron is.
        layer: Where the neuron is.
        neuron: Its coordinate.
        text_id: Of which text; None for all.

    Returns:
        Columns text_id, language, position (of the token, or of the first one of a word), piece (what it is in the text),
        char_start, char_end, value. The two places are null where the piece is in its word more than once, and no table
        `token_places` says which it is.

    Raises:
        CheckpointNotFound: If the checkpoint is not in the store.
        CubeNotFound: If no token vectors of the site are kept.
        QueryError: If the site has no such neuron, or there is no such text.

    Example:
        >>> sampled_token_values(store, "planted-step64", "resid", 1, 3, text_id=0).columns
        ['text_id', 'language', 'position', 'piece', 'char_start', 'char_end', 'value']
    """
    store = as_atlas(store)
    chosen_checkpoints(store, [checkpoint])
    cube = store.token_cube(checkpoint, site)
    n_layers, _, n_neurons = cube.shape
    if layer >= n_layers or neuron >= n_neurons:
        raise QueryError(f"{site} of {checkpoint} has {n_layers} layers of {n_neurons:,} neurons, no {layer}/{neuron}")
    rows = cube.table.with_row_index("token")
    # earlier versions kept single tokens, and not what they are in the text
    older = {"n_tokens": pl.lit(1), "surface": pl.lit(None, pl.String), "word": pl.lit(None, pl.Int32)}
    rows = rows.with_columns(value.alias(name) for name, value in older.items() if name not in rows.columns)
    if text_id is not None:
        place_of_text(store, text_id)
        rows = rows.filter(pl.col("text_id") == text_id)
    values = cube.read(layer, rows["token"].to_numpy(), neuron)
    texts = store.corpus.texts.filter(pl.col("text_id").is_in(rows["text_id"].unique().implode()))
    found = _placed(rows, dict(texts.select("text_id", "text").rows()), _known_places(store, text_id))
    columns = ["text_id", "language", "position", pl.col("surface").alias("piece"), "char_start", "char_end"]
    return found.select(columns).with_columns(pl.Series("value", values, pl.Float32))


def _known_places(store: Atlas, text_id: int | None) -> dict[tuple[int, int], tuple[int, int]]:
    """(text, position) -> the characters that its token stands for, where that is kept; the same at every checkpoint."""
    known: dict[tuple[int, int], tuple[int, int]] = {}
    for part in kept_parts(store, "token_places"):
        rows = part.scan().filter(pl.lit(True) if text_id is None else pl.col("text_id") == text_id)
        for text, position, start, end in rows.select("text_id", "position", "char_start", "char_end").collect().rows():
            known.setdefault((text, position), (start, end))
    return known


def _placed(rows: pl.DataFrame, texts: dict[int, str], known: dict[tuple[int, int], tuple[int, int]]) -> pl.DataFrame:
    """Sampled tokens with the characters that they stand for."""
    places: list[tuple[int | None, int | None]] = []
    for text_id, position, n_tokens, surface, word in rows.select("text_id", "position", "n_tokens", "surface", "word").rows():
        ends = known.get((text_id, position)), known.get((text_id, position + n_tokens - 1))
        if ends[0] is not None and ends[1] is not None:
            places.append((ends[0][0], ends[1][1]))
        else:
            places.append(_place_in(texts[text_id], surface, word))
    schema = {"char_start": pl.Int32(), "char_end": pl.Int32()}
    return rows.hstack(pl.DataFrame(places, schema=schema, orient="row"))


def _place_in(text: str, surface: str | None, word: int | None) -> tuple[int | None, int | None]:
    """Where a piece is that ends in a word of a text; nowhere if it is there more than once.

    Example:
        >>> _place_in("a cat, a dog", " a", 2), _place_in("banana", "an", 0)
        ((6, 8), (None, None))
    """
    if not surface or word is None:
        return None, None
    starts = [match.start() for match in _WORD.finditer(text)]
    found = [
        start
        for start in range(len(text) - len(surface) + 1)
        # blanks before the first word go with it, as where tokens are chosen
        if text.startswith(surface, start) and max(bisect_right(starts, start + len(surface) - 1) - 1, 0) == word
    ]
    return (found[0], found[0] + len(surface)) if len(found) == 1 else (None, None)
