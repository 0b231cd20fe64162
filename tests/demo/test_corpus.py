import re
from collections import Counter
from itertools import combinations

import pytest

from actlas.demo.corpus import (
    CATEGORY_OF,
    CONCEPTS,
    DEMO_LANGUAGES,
    HELD_OUT_PER_CONCEPT,
    DocumentSampler,
    Meaning,
    all_meanings,
    demo_corpus,
    frames_for,
    nouns,
    split_meanings,
)
from actlas.demo.sentences import FRAMES, LANGUAGES, NAMES


def test_counts():
    assert len(CONCEPTS) == len(set(CONCEPTS)) == 24
    per_concept = Counter(meaning.concept for meaning in all_meanings())
    assert set(per_concept.values()) == {265}


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_are_complete_and_distinct(language):
    texts = [meaning.text(language) for meaning in all_meanings()]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert "{" not in text
        assert "}" not in text
        assert "  " not in text
        assert text == text.strip()
        assert next(letter for letter in text if letter.isalpha()).isupper()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_has_the_word_of_its_concept_and_of_no_other(language):
    words = {concept: re.escape(noun.bare) for concept, noun in nouns(language).items()}
    patterns = {concept: re.compile(rf"(?<!\w){word}(?!\w)", re.IGNORECASE) for concept, word in words.items()}
    wrong = [
        (meaning.text(language), concept)
        for meaning in all_meanings()
        if meaning.name in ("", NAMES[0])
        for concept, pattern in patterns.items()
        if bool(pattern.search(meaning.text(language))) != (concept == meaning.concept)
    ]
    assert wrong == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_concepts_have_different_words(language):
    assert len({noun.bare.lower() for noun in nouns(language).values()}) == len(CONCEPTS)


def test_no_two_demo_languages_share_a_concept_word():
    # An expert shared by two of the demo's languages can then not be a detector of one spelling.
    words = {language: {noun.bare.lower() for noun in nouns(language).values()} for language in DEMO_LANGUAGES}
    for a, b in combinations(DEMO_LANGUAGES, 2):
        assert words[a] & words[b] == set()


@pytest.mark.parametrize(
    ("concept", "language", "forms"),
    [
        ("dog", "de", ("Hund", "der Hund", "den Hund")),
        ("cow", "de", ("Kuh", "die Kuh", "die Kuh")),
        ("dog", "es", ("perro", "el perro", "al perro")),
        ("cow", "es", ("vaca", "la vaca", "a la vaca")),
        ("bread", "es", ("pan", "el pan", "el pan")),
        ("church", "fr", ("église", "l'église", "l'église")),
        ("mirror", "it", ("specchio", "lo specchio", "lo specchio")),
        ("river", "id", ("sungai", "sungai itu", "sungai itu")),
        ("cow", "sw", ("ng'ombe", "ng'ombe", "ng'ombe")),
    ],
)
def test_noun_forms(concept, language, forms):
    noun = nouns(language)[concept]
    assert (noun.bare, noun.subject, noun.direct_object) == forms


def test_openers_fit_the_kind_of_sentence():
    question = next(i for i, frame in enumerate(FRAMES) if frame.kind == "question")
    assert Meaning("dog", question, 1).text("es") == "Dime: ¿dónde está el perro?"
    assert Meaning("dog", question, 1).text("de") == "Sag mal: Wo ist der Hund?"
    assert Meaning("dog", question, 3).text("de") == "Entschuldigung, wo ist der Hund?"
    assert Meaning("dog", question, 0).text("es") == "¿Dónde está el perro?"


def test_frames_fit_the_category():
    for concept in CONCEPTS:
        assert {frame.category for _, frame in frames_for(concept)} == {"any", CATEGORY_OF[concept]}


def test_held_out_meanings_are_balanced_unseen_and_decided_by_the_seed():
    training, held_out = split_meanings(seed=3)
    assert Counter(meaning.concept for meaning in held_out) == dict.fromkeys(CONCEPTS, HELD_OUT_PER_CONCEPT)
    assert set(training).isdisjoint(held_out)
    assert sorted(training + held_out) == sorted(all_meanings())
    assert split_meanings(seed=3) == (training, held_out)
    assert split_meanings(seed=4)[1] != held_out


def test_mono_documents_hold_one_language_and_one_concept():
    sampler = DocumentSampler(all_meanings(), DEMO_LANGUAGES, {"mono": 1.0}, seed=1)
    for _ in range(200):
        document = sampler.draw()
        assert len(document) == 3
        assert len({language for _, language in document}) == 1
        assert len({meaning.concept for meaning, _ in document}) == 1


def test_para_documents_say_one_meaning_in_three_languages():
    sampler = DocumentSampler(all_meanings(), DEMO_LANGUAGES, {"para": 1.0}, seed=1)
    for _ in range(200):
        document = sampler.draw()
        assert len({language for _, language in document}) == 3
        assert len({meaning for meaning, _ in document}) == 1


def test_mixed_documents_stay_with_one_concept():
    sampler = DocumentSampler(all_meanings(), DEMO_LANGUAGES, {"mixed": 1.0}, seed=1)
    documents = [sampler.draw() for _ in range(200)]
    assert all(len({meaning.concept for meaning, _ in document}) == 1 for document in documents)
    assert {language for document in documents for _, language in document} == set(DEMO_LANGUAGES)
    assert any(len({language for _, language in document}) > 1 for document in documents)


def test_para_documents_need_three_languages():
    with pytest.raises(ValueError, match="need 3 languages; there are en, es"):
        DocumentSampler(all_meanings(), ("en", "es"), {"para": 1.0}, seed=0)


def test_documents_depend_on_the_seed_alone():
    def draw(seed):
        sampler = DocumentSampler(all_meanings(), DEMO_LANGUAGES, {"para": 0.5, "mixed": 0.5}, seed)
        return [sampler.draw() for _ in range(20)]

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_corpus_of_a_store():
    corpus = demo_corpus()
    assert corpus.languages == DEMO_LANGUAGES
    assert corpus.concepts == tuple(sorted(CONCEPTS))
    assert corpus.n_texts == 5 * 24 * 16
    _, held_out = split_meanings()
    for language in DEMO_LANGUAGES:
        is_concept, is_member = corpus.concept_matrix(language)
        assert is_member.all()
        assert (is_concept.sum(axis=1) == 1).all()
        rows = corpus.texts[corpus.language_slice(language)]
        assert rows["text"].to_list() == [meaning.text(language) for meaning in held_out]
        expressed = [corpus.concepts[i] for i in is_concept.argmax(axis=1)]
        assert expressed == [meaning.concept for meaning in held_out]
    sizes = corpus.texts.group_by("parallel_id").len()["len"]
    assert set(sizes) == {5}


def test_corpus_refuses_an_unknown_language():
    with pytest.raises(ValueError, match="no demo sentences in xx; there are en, es"):
        demo_corpus(("en", "xx"))
