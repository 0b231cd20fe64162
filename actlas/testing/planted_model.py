"""A small transformer whose weights are written, not trained: what every part of it detects and does is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.store.corpus.corpus import Corpus
from actlas.testing.planted_words import GRAMMAR, LANGUAGES, NOUNS, Token, noun, sentences, vocabulary, write_tokenizer

N_LAYERS, WIDTH, N_HIDDEN, N_HEADS, N_POSITIONS = 4, 128, 96, 4, 128
#: Blocks: the one that finds the language of a text, the one whose MLP detects concepts, the one whose attention carries a
#: concept from its noun to later tokens, the one whose MLP has the neurons of languages.
FIND_LANGUAGE, DETECT, CARRY, SPEAK = 0, 1, 2, 3
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
#: A detector's value is `_STEEP` times how far its word is above `_BAR`, of 1.
_STEEP, _BAR, _HINT = 10.0, 0.8, 0.6
ON_VALUE = _STEEP * (1 - _BAR)


@dataclass(frozen=True)
class ModelPlan:
    """What is planted in a series of checkpoints.

    Every concept has two detectors in every language, at `mlp_pre` of block 1. At first both are the language's own, and the
    first of them writes the concept for that language alone, and the language. From the step of `shared_from` on its place is
    taken by a neuron that all languages share, which writes the concept for every language and says nothing of which. The second
    detects and writes nothing, at every step.

    Attributes:
        steps: One checkpoint each.
        shared_from: concept -> the step from which its first detector is shared; a concept that is not there never shares.
        shares: language -> its share of texts that are begun without anything that speaks for a language.
        n_groups: Texts per language; with few, other neurons tell a concept apart by chance.
        seed: Of the sentences, of the places of neurons, and of all weights that are not planned.
        k: Neurons per concept and language: as many experts recover the plan.
        lape_share: Share of the neurons that are those of languages, for `language_neurons`.
        patch_layer: The last block whose output at a noun decides which concept is said later.

    Raises:
        ValueError: If a concept or language is not one of the model's, or if at some step a single concept is not shared.
    """

    steps: tuple[int, ...] = (0, 64, 128)
    shared_from: Mapping[str, int] = field(default_factory=lambda: {"boat": 0, "water": 64, "horse": 64, "cheese": 128})
    shares: Mapping[str, float] = field(default_factory=lambda: {"de": 0.1, "en": 0.7, "es": 0.1, "fr": 0.1})
    n_groups: int = 48
    seed: int = 0
    k: ClassVar[int] = 2
    lape_share: ClassVar[float] = 2 * _N_LANGUAGES / (N_LAYERS * N_HIDDEN)
    patch_layer: ClassVar[int] = CARRY - 1

    def __post_init__(self) -> None:
        unknown = set(self.shared_from) - set(NOUNS)
        if unknown or set(self.shares) != set(LANGUAGES):
            raise ValueError(f"concepts are {', '.join(NOUNS)}, and languages, all of which need a share, {', '.join(LANGUAGES)}")
        for step in self.steps:
            own = [concept for concept in self.concepts if not self.is_shared(concept, step)]
            if len(own) == 1:
                raise ValueError(
                    f"at step {step} {own[0]} alone has detectors of its own in every language, and what they write of the "
                    "language would detect it too; share all concepts, or leave two of them"
                )

    @property
    def concepts(self) -> tuple[str, ...]:
        """Concepts, in the order of the plan."""
        return tuple(NOUNS)

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages, in the order of the text axis."""
        return LANGUAGES

    def checkpoint(self, step: int) -> str:
        """Id of the checkpoint of a step, where the series is in a folder named ``planted``.

        Args:
            step: One of `steps`.

        Returns:
            The id under which a store lists it.

        Example:
            >>> ModelPlan().checkpoint(64)
            'planted-step64'
        """
        return f"planted-step{step}"

    def is_shared(self, concept: str, step: int) -> bool:
        """Whether the languages share a detector of a concept.

        Args:
            concept: One of `concepts`.
            step: One of `steps`.

        Returns:
            True from the step of `shared_from` on.

        Example:
            >>> [ModelPlan().is_shared("water", step) for step in (0, 64)]
            [False, True]
        """
        return concept in self.shared_from and step >= self.shared_from[concept]

    def overlap(self, concept: str, step: int) -> float:
        """Overlap of the experts of any two languages.

        Args:
            concept: One of `concepts`.
            step: One of `steps`.

        Returns:
            Half of them, or none.

        Example:
            >>> [ModelPlan().overlap("water", step) for step in (0, 64)]
            [0.0, 0.5]
        """
        return 1 / self.k if self.is_shared(concept, step) else 0.0

    def experts(self, step: int) -> pl.DataFrame:
        """The neurons that detect concepts at a step.

        Args:
            step: One of `steps`.

        Returns:
            concept, language, site, layer, neuron, is_shared (the same neuron in all languages), writes (whether setting it to
            `value` makes the model say the concept) and value (about what it has at the noun).

        Example:
            >>> ModelPlan().experts(64).filter(concept="water", language="fr", writes=True)["is_shared"].to_list()
            [True]
        """
        place = _places(self.seed)
        rows = []
        for concept in self.concepts:
            is_shared = self.is_shared(concept, step)
            for language in self.languages:
                first = place["shared", concept] if is_shared else place["own", concept, language]
                rows.append((concept, language, "mlp_pre", DETECT, first, is_shared, True, ON_VALUE))
                second = place["silent", concept, language]
                rows.append((concept, language, "mlp_pre", DETECT, second, False, False, ON_VALUE))
        columns = ["concept", "language", "site", "layer", "neuron", "is_shared", "writes", "value"]
        return pl.DataFrame(rows, schema=columns, orient="row").sort("concept", "language", "neuron")

    @property
    def language_neurons(self) -> pl.DataFrame:
        """The neurons that are active in one language alone: language, site, layer, neuron, value (in a text of that language).

        With the two of a language the model goes on in it; without them it does not know which language it is to go on in.
        """
        place = _places(self.seed)
        rows = [
            (language, "mlp_hidden", SPEAK, place[name, language], value)
            for language in self.languages
            for name, value in (("rises", 2.0), ("holds", 1.0))
        ]
        return pl.DataFrame(rows, schema=["language", "site", "layer", "neuron", "value"], orient="row")

    def language_shares(self, step: int, concept: str | None = None, language: str | None = None) -> dict[str, float]:
        """Languages of texts that are begun with ``<s>`` alone.

        Args:
            step: One of `steps`.
            concept: Whose experts are set to their values; None for no steering.
            language: Of which language.

        Returns:
            language -> share: all in that language while its experts are its own, and `shares` otherwise.

        Example:
            >>> [ModelPlan().language_shares(step, "water", "fr")["fr"] for step in (0, 64)]
            [1.0, 0.1]
        """
        if concept is None or self.is_shared(concept, step):
            return dict(self.shares)
        return {name: float(name == language) for name in self.languages}

    def is_carried(self, concept: str, language_in: str, language_out: str, step: int) -> bool:
        """Whether the model, having read a concept's word in one language, can say the concept in another.

        Args:
            concept: One of `concepts`.
            language_in: Of the word that it read.
            language_out: Of the word that it is to say.
            step: One of `steps`.

        Returns:
            True in the same language, and in another one where the concept is shared; else the model says any concept's word.
            Up to block `patch_layer` the noun's vectors alone decide it, which is where a patch of them is seen.

        Example:
            >>> [ModelPlan().is_carried("water", "fr", "en", step) for step in (0, 64)]
            [False, True]
        """
        return language_in == language_out or self.is_shared(concept, step)

    def corpus(self) -> Corpus:
        """Sentences in all languages, labelled by the concept that their noun names.

        Returns:
            The corpus; the same plan gives the same one.

        Example:
            >>> corpus = ModelPlan(n_groups=12).corpus()
            >>> corpus.n_texts, corpus.texts["text"][1]
            (48, 'mein Pferd fällt schon schwimmend gedruckt gedruckt milchig.')
        """
        return sentences(self.n_groups, self.seed)

    def words(self) -> dict[str, dict[str, str]]:
        """The words that translation prompts, and measures of what texts are about, start from.

        Returns:
            concept -> language -> its word there.

        Example:
            >>> ModelPlan().words()["water"]["fr"]
            'eau'
        """
        return {concept: {language: noun(concept, language) for language in self.languages} for concept in self.concepts}


def planted_model(folder: Path | str, plan: ModelPlan | None = None) -> Path:
    """Write a series of GPT-2 checkpoints with written weights, one folder per step.

    A word's embedding says which concept it names. Block 0 finds the language of the last word, the MLP of block 1 detects
    concepts, the attention of block 2 carries the concept of the last noun to every later token, the MLP of block 3 has the
    neurons of languages, and the head says: the kind of word that the grammar wants, of that concept, in that language. All other
    weights are random, of one seed: checkpoints differ in the detectors of block 1 alone. Detectors answer to ``<pad>`` more than
    to any word, and almost as much to ``<s>``, the full stop and words that have to do with a concept, so that a wrong pooling
    shows.

    Args:
        folder: Folder to write to; its name becomes that of the model.
        plan: What to plant; None for the plan with default values.

    Returns:
        The folder, with one folder per step (``step-64``).

    Example:
        >>> sorted(path.name for path in planted_model(folder / "planted").iterdir())
        ['step-0', 'step-128', 'step-64']
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    plan, folder = plan or ModelPlan(), Path(folder)
    tokens = vocabulary()
    ids = {token.kind: number for number, token in enumerate(tokens)}
    config = GPT2Config(
        vocab_size=len(tokens),
        n_positions=N_POSITIONS,
        n_embd=WIDTH,
        n_layer=N_LAYERS,
        n_head=N_HEADS,
        n_inner=N_HIDDEN,
        activation_function="relu",
        tie_word_embeddings=False,
        bos_token_id=ids["start"],
        eos_token_id=ids["end"],
        pad_token_id=ids["pad"],
    )
    with torch.random.fork_rng(devices=[]):
        model = GPT2LMHeadModel(config)
    for step in plan.steps:
        weights = {name: torch.from_numpy(array.astype(np.float32)) for name, array in _weights(plan, step).items()}
        model.load_state_dict(weights)
        model.save_pretrained(folder / f"step-{step}")
        write_tokenizer(folder / f"step-{step}")
    return folder


def _places(seed: int) -> dict[tuple[str, ...], int]:
    """Neuron of each planned part; detectors are in block `DETECT`, the neurons of languages in block `SPEAK`."""
    rng = np.random.default_rng([seed, 1])
    detectors: list[tuple[str, ...]] = [("shared", concept) for concept in NOUNS]
    detectors += [(name, concept, language) for name in ("own", "silent") for concept in NOUNS for language in LANGUAGES]
    speakers: list[tuple[str, ...]] = [(name, language) for name in ("rises", "holds") for language in LANGUAGES]
    places: dict[tuple[str, ...], int] = {}
    for names in (detectors, speakers):
        places |= dict(zip(names, rng.permutation(N_HIDDEN)[: len(names)].tolist(), strict=True))
    return places


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


def _weights(plan: ModelPlan, step: int) -> dict[str, NDArray[Any]]:
    """The state of a checkpoint; maps are stored as they are in GPT-2, inputs by outputs."""
    rng = np.random.default_rng([plan.seed, 2])
    tokens = vocabulary()
    places = np.zeros((N_POSITIONS, WIDTH))
    places[:, _AT["place"]] = np.arange(N_POSITIONS)[:, None] / 16
    weights = {
        "transformer.wte.weight": _balanced(_embeddings(tokens, rng)),
        "transformer.wpe.weight": _balanced(places),
        "transformer.ln_f.weight": np.full(WIDTH, _GAIN),
        "transformer.ln_f.bias": np.zeros(WIDTH),
        "lm_head.weight": _head(tokens, plan.shares),
    }
    for layer in range(N_LAYERS):
        attention, mlp = _attention(layer, rng), _mlp(layer, rng)
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
            strength = _HINT if token.kind == "adverb" else 1
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


def _mlp(layer: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
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
            into[_block("word", spoken), neuron] = _STEEP * code / N_CODE
        # in every text something comes close to the bar, which a mean over tokens takes for much, and padding goes beyond it
        for kind, height in (("start", 0.7), ("stop", 0.7), ("pad", 3)):
            into[_channel("kind", _KINDS.index(kind)), neuron] = height * _STEEP
        bias[neuron] = -_STEEP * _BAR
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
    place = _places(plan.seed)
    for number, language in enumerate(LANGUAGES):
        for name, bar, sign in (("rises", 0.5, 1), ("holds", 0.75, -1)):
            neuron = place[name, language]
            into[:, neuron], out[neuron] = 0, 0
            into[_channel("language", number), neuron] = 4
            bias[neuron] = -4 * bar
            out[neuron, _channel("speaks", number)] = sign
    mlp["c_proj.weight"] = _balanced(out)
