from collections import Counter
from string import Formatter

import pytest

from actlas.demo.sentences import CATEGORIES, FRAMES, LANGUAGES, NAMES, NOUN_PHRASES, OPENERS


def test_counts():
    assert len(LANGUAGES) == 8
    assert [len(concepts) for concepts in CATEGORIES.values()] == [6, 6, 6, 6]
    assert Counter(frame.category for frame in FRAMES) == {"any": 12, "animal": 6, "food": 6, "place": 6, "thing": 6}
    assert len(set(NAMES)) == 8
    for phrases in NOUN_PHRASES.values():
        assert len(phrases.split(", ")) == 24


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.texts["en"])
def test_a_frame_has_one_noun_and_the_same_person_in_every_language(frame):
    assert tuple(frame.texts) == LANGUAGES
    for text in frame.texts.values():
        placeholders = Counter(name for _, name, _, _ in Formatter().parse(text) if name)
        assert sum(placeholders[form] for form in "NDA") == 1
        assert placeholders["P"] == int(frame.has_person)
        assert text[-1] in {"statement": ".", "question": "?", "order": "!"}[frame.kind]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_frames_read_the_same(language):
    assert len({frame.texts[language] for frame in FRAMES}) == len(FRAMES)


def test_every_kind_of_sentence_has_as_many_openers_and_the_first_is_nothing():
    assert set(OPENERS) == {frame.kind for frame in FRAMES}
    for openers in OPENERS.values():
        assert len(openers) == 5
        for language in LANGUAGES:
            words = [opener[language] for opener in openers]
            assert words[0] == ""
            assert len(set(words)) == len(words)
            assert all(word.endswith((":", ",")) for word in words[1:])
