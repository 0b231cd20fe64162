"""Translation prompts as a corpus: a few translated words, then one to translate, whose last token is a named position."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from actlas.allowed import Count, Names, Positive, Seed, checks_arguments
from actlas.errors import WordsError
from actlas.extract.backends.base import BackendSettings, TextTokenizer
from actlas.intervene.concepts.pairs import ConceptPair, choose_pairs, compatible, first_tokens
from actlas.intervene.concepts.settings import language_pair, source_pairs
from actlas.intervene.concepts.words import WordTable, read_words
from actlas.names import PATCH_SETTINGS
from actlas.store.corpus.corpus import Corpus, corpus_from_frames
from actlas.words import listed

_LOG = logging.getLogger(__name__)

#: One line of a prompt; the last line ends where ``{word_out}`` would begin.
TEMPLATE = '{language_in}: "{word_in}" - {language_out}: "{word_out}"'
#: The span whose last token is where latents are taken and put.
SPAN = "source_word"
#: What languages call themselves in a prompt.
LANGUAGE_NAMES: Mapping[str, str] = {
    "ar": "العربية",
    "ca": "Català",
    "cs": "Čeština",
    "cy": "Cymraeg",
    "da": "Dansk",
    "de": "Deutsch",
    "el": "Ελληνικά",
    "en": "English",
    "es": "Español",
    "et": "Eesti",
    "eu": "Euskara",
    "fi": "Suomi",
    "fr": "Français",
    "he": "עברית",
    "hi": "हिन्दी",
    "hu": "Magyar",
    "id": "Bahasa Indonesia",
    "it": "Italiano",
    "ja": "日本語",
    "ko": "한국어",
    "nl": "Nederlands",
    "pl": "Polski",
    "pt": "Português",
    "ro": "Română",
    "ru": "Русский",
    "sv": "Svenska",
    "sw": "Kiswahili",
    "tr": "Türkçe",
    "uk": "Українська",
    "vi": "Tiếng Việt",
    "yue": "粵語",
    "zh": "中文",
}


@dataclass(frozen=True)
class Template:
    """How a prompt is written.

    Attributes:
        line: One translation, with {language_in}, {word_in}, {language_out} and {word_out}.
        names: What each language is called.
    """

    line: str
    names: Mapping[str, str]

    def __post_init__(self) -> None:
        places = [self.line.count("{word_in}"), self.line.count("{word_out}")]
        if places != [1, 1] or self.line.index("{word_in}") > self.line.index("{word_out}"):
            raise WordsError(f"a template has {{word_in}} once, and {{word_out}} once behind it; this one is {self.line!r}")

    @property
    def ends_with(self) -> str:
        """The last character of a prompt."""
        return self.line.partition("{word_out}")[0][-1]

    def _parts(self, pair: tuple[str, str]) -> list[str]:
        """What stands before the first word, between the two, and after the second."""
        line = self.line
        for place, language in zip(("{language_in}", "{language_out}"), pair, strict=True):
            line = line.replace(place, self.names.get(language, language))
        before, _, rest = line.partition("{word_in}")
        between, _, after = rest.partition("{word_out}")
        return [before, between, after]

    def prompt(self, pair: tuple[str, str], shots: Sequence[tuple[str, str]], word: str) -> tuple[str, int, int]:
        """A prompt, and the first and the last character (exclusive) of the word to translate."""
        before, between, after = self._parts(pair)
        lines = "".join(f"{before}{first}{between}{second}{after}\n" for first, second in shots) + before
        return f"{lines}{word}{between}", len(lines), len(lines) + len(word)


@checks_arguments(WordsError)
def translation_prompts(
    words: WordTable | Path | str | None,
    model: Path | str,
    translations: Names,
    *,
    languages: Names | None = None,
    seen: Names | None = None,
    n_pairs: Positive = 256,
    n_shots: Count = 5,
    seed: Seed = 42,
    template: str = TEMPLATE,
    language_names: Mapping[str, str] | None = None,
) -> Corpus:
    """Make prompts that ask for translations of words, for latents to be taken of some and put into others.

    A pair of concepts is a source concept, whose latents are taken, and a target concept, into whose prompt they are put. The
    two share no first token in any language, so that an answer's first token says which of them it is about. Every pair has its
    source prompt in all the languages that any setting of `patch_concepts` needs, and its target prompt in those that are
    translated between. Source and target prompt begin with translations of different concepts, each by the first of its words.

    Args:
        words: A table, or a file as `read_words` takes it; None for the words that come with actlas.
        model: Whose tokenizer decides what a first token is: a folder or hub id.
        translations: Languages of the target prompts, such as ["fr-en"].
        languages: Those whose words are told apart, and that answers are measured in, beside those that are translated between; a
            concept has a word in each of them. None for all of the table.
        seen: Languages that setting `seen` takes the mean over; None for `languages`.
        n_pairs: Pairs of concepts.
        n_shots: Translations that a prompt begins with.
        seed: Of the choice.
        template: One line of a prompt.
        language_names: What languages are called there, where that is not `LANGUAGE_NAMES`.

    Returns:
        A corpus without labels, ready to be extracted with token choice "span": column source_word_start and source_word_end mark
        the word to translate; pair, role (source or target), concept, language_out, shots, answers (the concept's words
        in every language) and made_with (these arguments) say what each text is. Its language is that of the word to translate.

    Raises:
        WordsError: If too few concepts have a word in every language, or too few of them share no first token.

    Source: arXiv 2601.22851, after Dumas et al. 2024.

    Example:
        >>> from actlas.testing import random_checkpoint
        >>> model = random_checkpoint(folder / "tiny")
        >>> corpus = translation_prompts(None, model, ["fr-en"], languages=["en", "fr", "de", "it"], n_pairs=8, n_shots=2)
        >>> corpus.texts.group_by("role").len().sort("role").rows()
        [('source', 32), ('target', 8)]
    """
    table = words if isinstance(words, WordTable) else read_words(words)
    pairs = [language_pair(name) for name in translations]
    translated = [language for pair in pairs for language in pair]
    measured = tuple(dict.fromkeys(table.languages if languages is None else [*languages, *translated]))
    chosen_seen = tuple(measured if seen is None else seen)
    needed = _needed(pairs, measured, chosen_seen)
    every = tuple(dict.fromkeys((*measured, *(language for pair in needed for language in pair))))
    names = table.concepts_in(every)
    if len(names) < 2 * n_shots + 2:
        raise WordsError(
            f"{len(names)} of {len(table.words)} concepts have a word in all of {listed(every)}; {n_shots} translations before "
            f"each of two different concepts need {2 * n_shots + 2}. Name fewer languages, or fewer translations with n_shots"
        )
    writes = Template(template, {**LANGUAGE_NAMES, **(language_names or {})})
    tokenizer = _tokenizer(model)
    tokens = _tokens_of(table, names, every, tokenizer, writes.ends_with)
    fits = compatible(tokens)
    if int(fits.sum()) < n_pairs:
        raise WordsError(
            f"{int(fits.sum())} ordered pairs of the {len(names)} concepts share no first token in any of {listed(every)}, fewer "
            f"than the {n_pairs} asked for; ask for fewer pairs, name fewer languages, or bring more words"
        )
    made_with = {
        "words": table.digest,
        "tokenizer": tokenizer.hash,
        "translations": list(translations),
        "languages": list(measured),
        "seen": list(chosen_seen),
        "n_pairs": n_pairs,
        "n_shots": n_shots,
        "seed": seed,
        "template": template,
        "language_names": {language: writes.names.get(language, language) for language in every},
    }
    chosen = choose_pairs(names, fits, n_pairs, n_shots, seed)
    rows = list(_rows(chosen, pairs, needed, table, measured, writes))
    texts = pl.DataFrame(rows).with_columns(pl.lit(json.dumps(made_with, ensure_ascii=False)).alias("made_with"))
    _tell_tokens(texts, tokenizer)
    labels = pl.DataFrame(schema={"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean})
    return corpus_from_frames(texts, labels)


def _tokenizer(model: Path | str) -> TextTokenizer:
    from actlas.extract.backends.hf.tokenizer import HfTokenizer

    return HfTokenizer.load(str(model), BackendSettings())


def _needed(pairs: Sequence[tuple[str, str]], measured: Sequence[str], seen: Sequence[str]) -> list[tuple[str, str]]:
    """Languages of all source prompts that some setting needs."""
    needed: dict[tuple[str, str], None] = {}
    for pair in pairs:
        for setting in PATCH_SETTINGS:
            own = source_pairs(setting, pair, seen)
            if setting == "seen" and not own:
                _LOG.warning("setting seen of %s-%s has no pair of languages to take the mean over: of %s", *pair, listed(seen))
            # a table without English has no prompts in it
            needed |= dict.fromkeys(one for one in own if setting != "en_en" or one[0] in measured)
    return list(needed)


def _tokens_of(
    table: WordTable, names: Sequence[str], languages: Sequence[str], tokenizer: TextTokenizer, before: str
) -> dict[str, frozenset[int]]:
    """First tokens of all words of each concept; none for a concept of which some word has none."""
    words = {name: [word for language in languages for word in table.words[name][language]] for name in names}
    first = first_tokens(tokenizer, [word for own in words.values() for word in own], before)
    return {
        name: frozenset().union(*(first[word] for word in own)) if all(first[word] for word in own) else frozenset()
        for name, own in words.items()
    }


def _tell_tokens(texts: pl.DataFrame, tokenizer: TextTokenizer) -> None:
    """Say how long the prompts are, and warn of words that end inside of a token."""
    encoded = tokenizer.encode(texts["text"].to_list(), add_special=True)
    _LOG.info("the longest of %d prompts has %d tokens", texts.height, max(map(len, encoded.token_ids)))
    ends = texts[f"{SPAN}_end"].to_list()
    across = [bool(((own[:, 0] < end) & (own[:, 1] > end)).any()) for own, end in zip(encoded.places, ends, strict=True)]
    if any(across):
        first = texts["text"][across.index(True)].rpartition("\n")[2]
        ends_inside = "in %d of %d prompts a token holds the end of the word and what follows it, such as %s"
        _LOG.warning(ends_inside, sum(across), len(ends), first)


def _rows(
    chosen: Sequence[ConceptPair],
    targets: Sequence[tuple[str, str]],
    sources: Sequence[tuple[str, str]],
    table: WordTable,
    measured: Sequence[str],
    writes: Template,
) -> Iterator[dict[str, Any]]:
    """One text of the corpus each."""
    for number, pair in enumerate(chosen):
        parts = (("source", pair.source, pair.source_shots, sources), ("target", pair.target, pair.target_shots, targets))
        for role, concept, shots, between in parts:
            own = table.words[concept]
            answers = json.dumps({language: own[language] for language in measured}, ensure_ascii=False)
            for first, second in between:
                translated = [(table.words[shot][first][0], table.words[shot][second][0]) for shot in shots]
                text, start, end = writes.prompt((first, second), translated, own[first][0])
                yield {
                    "text": text,
                    "language": first,
                    "parallel_id": f"{number}-{role}",
                    "pair": number,
                    "role": role,
                    "concept": concept,
                    "language_out": second,
                    "shots": ", ".join(shots),
                    "answers": answers,
                    f"{SPAN}_start": start,
                    f"{SPAN}_end": end,
                }
