"""The weights of a planted checkpoint: what each channel of the residual stream means, and what reads and writes it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.testing.planted_gpt2.plan import (
    BAR,
    CARRY,
    DETECT,
    FIND_LANGUAGE,
    HINT,
    N_HEADS,
    N_HIDDEN,
    N_LAYERS,
    N_POSITIONS,
    ON_VALUE,
    SPEAK,
    STEEP,
    WIDTH,
    ModelPlan,
    places,
)
from actlas.testing.planted_gpt2.words import GRAMMAR, LANGUAGES, NOUNS, Token, vocabulary

#: Each concept raises two of these and lowers the others, so that no single channel tells concepts apart.
N_CODE = 4
_CODES = {
    concept: np.array([1.0 if row in pair else -1.0 for row in range(N_CODE)])
    for concept, pair in zip(NOUNS, combinations(range(N_CODE), 2), strict=True)
}

_KINDS = tuple(dict.fromkeys(token.kind for token in vocabulary()))
_N_LANGUAGES = len(LANGUAGES)
#: Channels of the residual stream: what is known of a token, by part, and how many numbers each part takes.
_PARTS: Mapping[str, int] = {
    "word": _N_LANGUAGES * N_CODE,  # of nouns, and weaker of hints: which concept, in a block per language
    "stem": _N_LANGUAGES * N_CODE,  # of stems: which ending follows
    "meaning": _N_LANGUAGES * N_CODE,  # what detectors make of `word`
    "carried": _N_LANGUAGES * N_CODE,  # the meaning of the last noun
    "own_language": _N_LANGUAGES,
    "language": _N_LANGUAGES,  # of the last word
    "speaks": _N_LANGUAGES,  # what the neurons of a language make of `language`
    "kind": len(_KINDS),
    "has_language": 1,
    "place": 1,
    "shade": 16,  # tells openers and adverbs apart, and feeds what is not planned
    "noise": 15,  # what neurons that are not planned write
    "ballast": 2,  # so large that every norm is the same
    "balance": 1,  # minus the sum of all others, so that every mean is 0
}


def _channels() -> dict[str, slice]:
    ends = np.cumsum(list(_PARTS.values())).tolist()
    assert ends[-1] == WIDTH, f"the parts take {ends[-1]} channels of {WIDTH}"
    return {part: slice(end - n, end) for (part, n), end in zip(_PARTS.items(), ends, strict=True)}


_AT = _channels()
_BALLAST = 256.0
#: What a layer norm has to multiply by, for its output to be its input.
_GAIN = _BALLAST * float(np.sqrt(2 / WIDTH))


def _block(part: str, language: str) -> slice:
    """Channels of a part that has a code per language."""
    first = _AT[part].start + N_CODE * LANGUAGES.index(language)
    return slice(first, first + N_CODE)


def _channel(part: str, which: int) -> int:
    return int(_AT[part].start) + which


def _balanced(rows: NDArray[Any]) -> NDArray[Any]:
    """The same with `balance` in place: vectors of the residual stream, or maps into it, whose sum is 0."""
    rows = rows.copy()
    rows[..., _AT["balance"]] = 0
    rows[..., _AT["balance"]] = -rows.sum(axis=-1, keepdims=True)
    return rows


def weights_of(plan: ModelPlan, step: int) -> dict[str, NDArray[Any]]:
    """The state of a checkpoint; maps are stored as they are in GPT-2, inputs by outputs."""
    rng = np.random.default_rng([plan.seed, 2])
    tokens = vocabulary()
    positions = np.zeros((N_POSITIONS, WIDTH))
    positions[:, _AT["place"]] = np.arange(N_POSITIONS)[:, None] / 16
    weights = {
        "transformer.wte.weight": _balanced(_embeddings(tokens, rng)),
        "transformer.wpe.weight": _balanced(positions),
        "transformer.ln_f.weight": np.full(WIDTH, _GAIN),
        "transformer.ln_f.bias": np.zeros(WIDTH),
        "lm_head.weight": _head(tokens, plan.shares),
    }
    for layer in range(N_LAYERS):
        attention, mlp = _attention(layer, rng), _mlp(rng)
        if layer == DETECT:
            _plant_detectors(mlp, plan, step)
        elif layer == SPEAK:
            _plant_speakers(mlp, plan)
        block = {"ln_1.weight": np.full(WIDTH, _GAIN), "ln_1.bias": np.zeros(WIDTH)}
        block |= {"ln_2.weight": np.full(WIDTH, _GAIN), "ln_2.bias": np.zeros(WIDTH)}
        block |= {f"attn.{name}": array for name, array in attention.items()}
        block |= {f"mlp.{name}": array for name, array in mlp.items()}
        weights |= {f"transformer.h.{layer}.{name}": array for name, array in block.items()}
    return weights


def _embeddings(tokens: tuple[Token, ...], rng: np.random.Generator) -> NDArray[Any]:
    rows = np.zeros((len(tokens), WIDTH))
    shades = {kind: rng.standard_normal(_PARTS["shade"]) / 2 for kind in _KINDS}
    for row, token in zip(rows, tokens, strict=True):
        row[_AT["ballast"]] = _BALLAST, -_BALLAST
        row[_channel("kind", _KINDS.index(token.kind))] = 1
        is_plain = token.kind in ("opener", "adverb")
        if token.kind != "ending":  # all endings are alike but for their word
            row[_AT["shade"]] = rng.standard_normal(_PARTS["shade"]) if is_plain else shades[token.kind]
        if token.language is None:
            continue
        row[_AT["has_language"]] = 1
        row[_channel("own_language", LANGUAGES.index(token.language))] = 1
        if token.concept is not None:
            part = "stem" if token.kind == "stem" else "word"
            strength = HINT if token.kind == "adverb" else 1
            row[_block(part, token.language)] = strength * _CODES[token.concept]
    return rows


def _head(tokens: tuple[Token, ...], shares: Mapping[str, float]) -> NDArray[Any]:
    """What each token reads from the last block: does the grammar want it, is it of this language, is it this concept."""
    rows = np.zeros((len(tokens), WIDTH))
    n_words = {kind: sum(token.kind == kind and token.language in (None, "en") for token in tokens) for kind in _KINDS}
    for row, token in zip(rows, tokens, strict=True):
        for before, following in GRAMMAR.items():
            if token.kind in following:
                is_one = token.kind in ("stem", "ending")
                logit = 40 + np.log(following[token.kind] / (1 if is_one else n_words[token.kind]))
                if before == "start" and token.language is not None:
                    logit += np.log(shares[token.language])
                row[_channel("kind", _KINDS.index(before))] = logit
        if token.language is None:
            row[_AT["speaks"]] = 16
            continue
        row[_channel("speaks", LANGUAGES.index(token.language))] = 16
        if token.concept is None:
            continue
        code = _CODES[token.concept] / N_CODE
        if token.kind == "stem":
            row[_block("meaning", token.language)] = row[_block("carried", token.language)] = 8 * code
        elif token.kind == "ending":
            row[_block("stem", token.language)] = 40 * code
    return rows


def _attention(layer: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Heads that mix what is not planned, the first of which is planned in two of the blocks.

    A planned head looks at the last token that has a channel set: that channel outweighs all places, and of two places the later
    one wins by far.
    """
    head = WIDTH // N_HEADS
    into, bias, out = np.zeros((WIDTH, 3 * WIDTH)), np.zeros(3 * WIDTH), np.zeros((WIDTH, WIDTH))
    for part in ("shade", "noise"):
        into[_AT[part]] = rng.standard_normal((_PARTS[part], 3 * WIDTH)) * ([0.1] * 2 * WIDTH + [0.25] * WIDTH)
    out[head:, _AT["noise"]] = rng.standard_normal((WIDTH - head, _PARTS["noise"])) / 10
    planned = {FIND_LANGUAGE: ("own_language", "language"), CARRY: ("meaning", "carried")}
    if layer in planned:
        read, written = planned[layer]
        looks_at = _channel("has_language", 0) if layer == FIND_LANGUAGE else _channel("kind", _KINDS.index("ending"))
        query, key, value = 0, WIDTH, 2 * WIDTH
        into[:, query] = into[:, key] = 0
        bias[query] = np.sqrt(head)
        into[looks_at, key], into[_AT["place"], key] = 300, 2 * 16
        n = _PARTS[read]
        into[:, value : value + n] = 0
        into[_AT[read], value : value + n] = np.eye(n)
        out[:n, _AT[written]] = np.eye(n)
    out = _balanced(out)
    return {"c_attn.weight": into, "c_attn.bias": bias, "c_proj.weight": out, "c_proj.bias": np.zeros(WIDTH)}


def _mlp(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Neurons that read and write what is not planned."""
    into, out = np.zeros((WIDTH, N_HIDDEN)), np.zeros((N_HIDDEN, WIDTH))
    for part in ("shade", "noise"):
        into[_AT[part]] = rng.standard_normal((_PARTS[part], N_HIDDEN)) / 4
    out[:, _AT["noise"]] = rng.standard_normal((N_HIDDEN, _PARTS["noise"])) / 10
    bias = rng.standard_normal(N_HIDDEN) / 10 - 1
    return {"c_fc.weight": into, "c_fc.bias": bias, "c_proj.weight": _balanced(out), "c_proj.bias": np.zeros(WIDTH)}


def _plant_detectors(mlp: dict[str, NDArray[Any]], plan: ModelPlan, step: int) -> None:
    """Put the detectors of a step in the place of neurons that are not planned."""
    into, bias, out = mlp["c_fc.weight"], mlp["c_fc.bias"], mlp["c_proj.weight"]
    # chance moves all of them alike: what a detector writes is not told from what another writes by how much it is
    chance = np.random.default_rng([plan.seed, 3]).standard_normal(_PARTS["noise"]) / 8
    for row in plan.experts(step).iter_rows(named=True):
        concept, language, neuron = row["concept"], row["language"], row["neuron"]
        code = _CODES[concept]
        into[:, neuron] = 0
        into[_AT["noise"], neuron] = chance
        for spoken in LANGUAGES if row["is_shared"] else (language,):
            into[_block("word", spoken), neuron] = STEEP * code / N_CODE
        # in every text something comes close to the bar, which a mean over tokens takes for much, and padding goes beyond it
        for kind, height in (("start", 0.7), ("stop", 0.7), ("pad", 3)):
            into[_channel("kind", _KINDS.index(kind)), neuron] = height * STEEP
        bias[neuron] = -STEEP * BAR
        out[neuron] = 0
        if not row["writes"]:
            continue
        for spoken in LANGUAGES:
            # for another language it says that there is a concept and not which one: all channels alike, as no code has them
            is_told = row["is_shared"] or spoken == language
            out[neuron, _block("meaning", spoken)] = (code if is_told else 1) / ON_VALUE
        if not row["is_shared"]:
            for number, spoken in enumerate(LANGUAGES):
                out[neuron, _channel("language", number)] = (2 if spoken == language else -2) / ON_VALUE
    mlp["c_proj.weight"] = _balanced(out)


def _plant_speakers(mlp: dict[str, NDArray[Any]], plan: ModelPlan) -> None:
    """Two neurons per language: one rises with its evidence, the other keeps their sum from rising above 1."""
    into, bias, out = mlp["c_fc.weight"], mlp["c_fc.bias"], mlp["c_proj.weight"]
    place = places(plan.seed)
    for number, language in enumerate(LANGUAGES):
        for name, bar, sign in (("rises", 0.5, 1), ("holds", 0.75, -1)):
            neuron = place[name, language]
            into[:, neuron], out[neuron] = 0, 0
            into[_channel("language", number), neuron] = 4
            bias[neuron] = -4 * bar
            out[neuron, _channel("speaks", number)] = sign
    mlp["c_proj.weight"] = _balanced(out)
