"""Where the tokens of a text stand in it, in characters.

Tokenizers say so in ways of their own: spaces are left out, a byte has the place of its character or of its whole word, the space
before a text has that of the first letter. So the bytes of the tokens are put side by side first: where they are the text, their
places follow. Only where the tokenizer changes a text first (letters composed, lower case) is it asked, and its answer is mended.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    from actlas.extract.backends.hf.tokenizer import HfTokenizer

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_WORD_END = re.compile(r"\S*")
#: How SentencePiece writes a space.
_SPACE = "▁"
_SCHEMA = {
    "text_id": pl.Int64(),
    "position": pl.Int32(),
    "token_id": pl.Int32(),
    "piece": pl.String(),
    "char_start": pl.Int32(),
    "char_end": pl.Int32(),
    "is_special": pl.Boolean(),
}


@dataclass(frozen=True)
class Pieces:
    """The tokens of one text.

    Attributes:
        token_ids: int32.
        written: Each as text; what is no whole character as its bytes, ``<0xE6>``.
        places: int64 ``"tokens 2"``: first and last character (exclusive), neither ever before that of an earlier token. Tokens
            that share a character both have it; together they cover the text up to where it was cut. -1 where the tokenizer
            does not say.
        is_special: Which the tokenizer added; these have an empty place.
    """

    token_ids: NDArray[np.int32]
    written: list[str]
    places: NDArray[np.int64]
    is_special: NDArray[np.bool_]


def text_pieces(
    tokenizer: HfTokenizer, texts: Sequence[str], *, add_special: bool, max_tokens: int | None = None
) -> list[Pieces]:
    """The tokens of texts, as extraction divides them.

    Args:
        tokenizer: The tokenizer.
        texts: The texts.
        add_special: Whether it adds its own tokens.
        max_tokens: What is longer is cut there; None cuts nothing.
    """
    encoded = tokenizer.encode(texts, add_special=add_special, max_tokens=max_tokens)
    is_byte_level = _is_byte_level(tokenizer.tokenizer)
    found = []
    for text, ids, is_special, places in zip(texts, encoded.token_ids, encoded.is_special, encoded.places, strict=True):
        names = tokenizer.tokenizer.convert_ids_to_tokens(ids.tolist())
        data = [_bytes_of(name, is_byte_level) for name in names]
        is_cut = max_tokens is not None and len(ids) >= max_tokens
        found.append(Pieces(ids, [_written(one) for one in data], _places(text, data, places, is_special, is_cut), is_special))
    return found


def piece_rows(text_ids: Sequence[int], pieces: Sequence[Pieces]) -> pl.DataFrame:
    """Tokens of texts as rows of table `token_places`, without its column checkpoint; null where a place is not known."""
    lengths = [len(one.token_ids) for one in pieces]
    places = np.concatenate([one.places for one in pieces]) if pieces else np.zeros((0, 2), dtype=np.int64)
    frame = pl.DataFrame(
        {
            "text_id": np.repeat(np.asarray(text_ids, dtype=np.int64), lengths),
            "position": np.concatenate([np.arange(length) for length in lengths]) if pieces else [],
            "token_id": np.concatenate([one.token_ids for one in pieces]) if pieces else [],
            "piece": [piece for one in pieces for piece in one.written],
            "char_start": places[:, 0],
            "char_end": places[:, 1],
            "is_special": np.concatenate([one.is_special for one in pieces]) if pieces else [],
        },
        schema=_SCHEMA,
    )
    is_known = pl.col("char_start") >= 0
    return frame.with_columns(pl.when(is_known).then(pl.col("char_start", "char_end")))


def _is_byte_level(tokenizer: Any) -> bool:
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    return decoder is not None and b"ByteLevel" in decoder.__getstate__()


@cache
def _byte_letters() -> dict[str, int]:
    """The letter that byte-level BPE writes for every byte: what can be printed stands for itself, the others from 256 on.

    Source: Radford et al. 2019, the tokenizer of GPT-2.
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + number): byte for number, byte in enumerate(others)}


def _bytes_of(name: str, is_byte_level: bool) -> bytes:
    """What a token stands for, by its name in the vocabulary.

    Example:
        >>> _bytes_of("Ġcat", True), _bytes_of("▁cat", False), _bytes_of("<0xE6>", False)
        (b' cat', b' cat', b'\\xe6')
    """
    letters = _byte_letters()
    if is_byte_level and all(letter in letters for letter in name):
        return bytes(letters[letter] for letter in name)
    byte = _BYTE.fullmatch(name)
    if byte is not None and not is_byte_level:
        return bytes([int(byte[1], 16)])
    return name.replace(_SPACE, " ").encode("utf-8", "surrogatepass")


def _written(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in data)


def _places(
    text: str, data: Sequence[bytes], places: NDArray[np.int64], is_special: NDArray[np.bool_], is_cut: bool
) -> NDArray[np.int64]:
    plain = np.flatnonzero(~is_special).tolist()
    found = _by_bytes(text, [data[token] for token in plain], is_cut)
    if found is None:
        if len(plain) and (places[plain] < 0).any():
            return np.full((len(data), 2), -1, dtype=np.int64)
        found = _mended(text, [data[token] for token in plain], places[plain], is_cut)
    whole = np.zeros((len(data), 2), dtype=np.int64)
    whole[plain] = found
    # an added token stands between its neighbours
    before = np.concatenate([[0], found[:, 1]]).astype(np.int64)
    whole[is_special] = before[np.cumsum(~is_special)[is_special]][:, None]
    return whole


def _by_bytes(text: str, data: Sequence[bytes], is_cut: bool) -> NDArray[np.int64] | None:
    """Places of tokens whose bytes, one after the other, are the text; None where they are not.

    Many tokenizers put a space before a text, which is then in no character.
    """
    joined, own = b"".join(data), text.encode("utf-8", "surrogatepass")
    n_before = next((n for n in (0, 1) if _agree(joined, b" " * n + own, is_cut)), None)
    if n_before is None:
        return None
    # character of every byte, and of the one behind the last
    sizes = np.array([len(letter.encode("utf-8", "surrogatepass")) for letter in text], dtype=np.int64)
    character = np.append(np.repeat(np.arange(len(text)), sizes), len(text))
    last = np.maximum(np.cumsum([len(one) for one in data], dtype=np.int64) - n_before, 0)
    first = np.append(0, last)[:-1]
    end = np.where(last > first, character[np.maximum(last - 1, 0)] + 1, character[first])
    return np.stack([character[first], end], axis=1).astype(np.int64)


def _agree(joined: bytes, own: bytes, is_cut: bool) -> bool:
    return joined == own or (is_cut and own.startswith(joined))


def _mended(text: str, data: Sequence[bytes], places: NDArray[np.int64], is_cut: bool) -> NDArray[np.int64]:
    """Places as the tokenizer says, without overlap where none is, and without gaps.

    Bytes that share the place of a word get those of their characters. What lies between two tokens belongs to the one behind,
    from the first space on, and what comes before that to the one before: accents that were composed, for instance.
    """
    found = places.copy()
    for first, last in _byte_runs(data, places):
        found[first:last] = _places_of_bytes(b"".join(data[first:last]), *places[first])
    for token in range(len(found)):
        start, end = found[token]
        if data[token] == b" " and end > start and not text[start:end].isspace():
            # a space that was put before the text
            found[token] = start, start
    found = np.maximum.accumulate(found, axis=0)
    reached = 0
    for token in range(len(found)):
        start = int(found[token, 0])
        if start > reached:
            # nothing is before the first token
            middle = reached + (len(_WORD_END.match(text[reached:start])[0]) if token else 0)  # type: ignore[index]
            _extend(found, token, reached, middle)
            found[token, 0] = middle
        reached = max(reached, int(found[token, 1]))
    if len(found) and reached < len(text) and not is_cut:
        _extend(found, len(found), reached, len(text))
    return found


def _extend(places: NDArray[np.int64], token: int, reached: int, end: int) -> None:
    """Let the tokens before one that end at a character end at another."""
    while token > 0 and places[token - 1, 1] == reached and end > reached:
        token -= 1
        places[token, 1] = end


def _byte_runs(data: Sequence[bytes], places: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of tokens of one byte each that have one place of several characters."""
    runs, first = [], 0
    for token in range(1, len(data) + 1):
        if token < len(data) and len(data[token]) == len(data[first]) == 1 and (places[token] == places[first]).all():
            continue
        if token - first > 1 and places[first, 1] - places[first, 0] > 1:
            runs.append((first, token))
        first = token
    return runs


def _places_of_bytes(data: bytes, start: int, end: int) -> NDArray[np.int64]:
    """Places of single bytes, which together have one; all of them have that where they are not as many characters."""
    letters = data.decode("utf-8", "replace")
    if len(letters) != end - start or len(letters.encode()) != len(data):
        return np.tile(np.array([start, end]), (len(data), 1))
    first = start + np.repeat(np.arange(len(letters)), [len(letter.encode()) for letter in letters])
    return np.stack([first, first + 1], axis=1)
