"""The words that a planted model knows, the grammar it writes by, and sentences of that grammar as a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from actlas.store.corpus.corpus import Corpus, corpus_from_frames

LANGUAGES = ("de", "en", "es", "fr")
#: What a language is called in a translation prompt.
LANGUAGE_NAMES = {"de": "Deutsch", "en": "English", "es": "Español", "fr": "Français"}
#: concept -> its word in each language, as two tokens; all fit behind mein, my, mi and mon.
NOUNS: Mapping[str, tuple[str, ...]] = {
    "water": ("Was|ser", "wat|er", "ag|ua", "ea|u"),
    "horse": ("Pf|erd", "hor|se", "cab|allo", "chev|al"),
    "cheese": ("Käs|e", "che|ese", "que|so", "from|age"),
    "tree": ("Ba|um", "tr|ee", "ár|bol", "ar|bre"),
    "boat": ("Boo|t", "bo|at", "bar|co", "bat|eau"),
    "book": ("Bu|ch", "boo|k", "li|bro", "liv|re"),
}
#: concept -> a word in each language that has to do with it and does not name it: detectors answer, and too weakly to count.
_HINTS: Mapping[str, tuple[str, ...]] = {
    "water": ("nass", "wet", "mojado", "mouillé"),
    "horse": ("gesattelt", "saddled", "ensillado", "sellé"),
    "cheese": ("milchig", "milky", "lechoso", "laiteux"),
    "tree": ("belaubt", "leafy", "frondoso", "feuillu"),
    "boat": ("schwimmend", "afloat", "flotante", "flottant"),
    "book": ("gedruckt", "printed", "impreso", "imprimé"),
}
#: kind -> other words, in each language.
_OTHERS: Mapping[str, tuple[str, ...]] = {
    "opener": ("morgen hier dann jetzt", "tomorrow here then now", "mañana aquí luego ahora", "demain ici puis maintenant"),
    "determiner": ("mein", "my", "mi", "mon"),
    "verb": ("wartet fällt", "waits falls", "espera cae", "attend tombe"),
    "adverb": (
        "wieder langsam oft schon",
        "again slowly often already",
        "siempre despacio todavía ya",
        "encore lentement souvent déjà",
    ),
}
SPECIAL = {"pad": "<pad>", "start": "<s>", "end": "</s>", "unknown": "<unk>"}
_MARKS = {"stop": ".", "colon": ":", "quote": '"', "dash": "-", "comma": ","}

#: kind of a token -> kinds that follow it, with their shares; a noun is a stem and an ending.
GRAMMAR: Mapping[str, Mapping[str, float]] = {
    "start": {"opener": 0.5, "determiner": 0.5},
    "opener": {"opener": 0.4, "determiner": 0.6},
    "determiner": {"stem": 1.0},
    "quote": {"stem": 1.0},
    "stem": {"ending": 1.0},
    "ending": {"verb": 1.0},
    "verb": {"adverb": 0.7, "stop": 0.3},
    "adverb": {"adverb": 0.6, "stop": 0.4},
    "stop": {"opener": 0.2, "determiner": 0.2, "end": 0.6},
}


@dataclass(frozen=True)
class Token:
    """One row of the vocabulary.

    Attributes:
        text: As it stands there; an ending begins with ``##``.
        kind: Its part of speech: a key of `GRAMMAR`, or what no rule is about.
        language: None for marks and special tokens.
        concept: Of a stem, an ending or a hint.
    """

    text: str
    kind: str
    language: str | None = None
    concept: str | None = None


def vocabulary() -> tuple[Token, ...]:
    """All tokens, in the order of their ids.

    Example:
        >>> vocabulary()[-1]
        Token(text='##re', kind='ending', language='fr', concept='book')
    """
    tokens = [Token(text, kind) for kind, text in (SPECIAL | _MARKS).items()]
    for number, language in enumerate(LANGUAGES):
        tokens.append(Token(LANGUAGE_NAMES[language], "label", language))
        for kind, words in _OTHERS.items():
            tokens += [Token(word, kind, language) for word in words[number].split()]
        tokens += [Token(words[number], "adverb", language, concept) for concept, words in _HINTS.items()]
        for concept, words in NOUNS.items():
            stem, ending = words[number].split("|")
            tokens += [Token(stem, "stem", language, concept), Token(f"##{ending}", "ending", language, concept)]
    return tuple(tokens)


def noun(concept: str, language: str) -> str:
    """The word of a concept.

    Example:
        >>> noun("water", "fr")
        'eau'
    """
    return NOUNS[concept][LANGUAGES.index(language)].replace("|", "")


def write_tokenizer(folder: Path) -> None:
    """Write the tokenizer of these words, which puts ``<s>`` in front of a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token.text: number for number, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=SPECIAL["unknown"], max_input_chars_per_word=40))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    start = SPECIAL["start"]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A", special_tokens=[(start, ids[start])])
    names = {"pad_token": "pad", "bos_token": "start", "eos_token": "end", "unk_token": "unknown"}
    special = {name: SPECIAL[kind] for name, kind in names.items()}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def sentences(n_groups: int, seed: int) -> Corpus:
    """Sentences of the grammar, each in all languages, labelled by the concept that its noun names.

    Args:
        n_groups: Texts per language; concepts take turns. Those of one group say the same, word by word.
        seed: Of openers, adverbs, verbs and lengths.

    Returns:
        The corpus; a text has 5 tokens or more.

    Example:
        >>> sentences(6, seed=0).texts.filter(pl.col("parallel_id") == "group0")["text"].to_list()
        ['mein Wasser fällt schon.', 'my water falls already.', 'mi agua cae ya.', 'mon eau tombe déjà.']
    """
    rng = np.random.default_rng(seed)
    n_concepts = len(NOUNS)
    texts: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for group in range(n_groups):
        concept = tuple(NOUNS)[group % n_concepts]
        words = list(_sentence(rng))
        for number, language in enumerate(LANGUAGES):
            text_id = number * n_groups + group
            said = [noun(concept, language) if kind == "stem" else _word(kind, number, which) for kind, which in words]
            text = " ".join(said).replace(" .", ".")
            texts.append({"text_id": text_id, "text": text, "language": language, "parallel_id": f"group{group}", "split": None})
            labels += [{"text_id": text_id, "concept": name, "is_concept": name == concept} for name in NOUNS]
    schema = {"text_id": pl.Int64, "text": pl.String, "language": pl.String, "parallel_id": pl.String, "split": pl.String}
    return corpus_from_frames(pl.DataFrame(texts, schema=schema), pl.DataFrame(labels))


def _word(kind: str, language: int, which: int) -> str:
    if kind == "stop":
        return _MARKS["stop"]
    words = _OTHERS[kind][language].split()
    if kind == "adverb":
        words += [hints[language] for hints in _HINTS.values()]
    return words[which % len(words)]


def _sentence(rng: np.random.Generator) -> Iterator[tuple[str, int]]:
    """Kinds, and a number that decides the word, by the grammar up to the end; a noun is its stem."""
    kind = "start"
    while True:
        following = GRAMMAR[kind]
        kind = str(rng.choice(list(following), p=list(following.values())))
        if kind == "end":
            return
        if kind != "ending":
            yield kind, int(rng.integers(1 << 20))
