import pytest

from actlas.report.questions import QUESTIONS


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.text[:40])
def test_each_question_has_an_answer(question, shared_store):
    answer = shared_store.sql(question.sql)
    assert answer.height > 0


def test_concepts_come_in_order_of_overlap(shared_store):
    answer = shared_store.sql(QUESTIONS[0].sql)
    assert answer["overlap"].is_sorted(descending=True)
    assert (answer["lowest_pair"] <= answer["highest_pair"]).all()


def test_neurons_shared_by_all_languages_are_found_with_their_first_step(shared_store, apart_store):
    shared = shared_store.sql(QUESTIONS[1].sql)
    assert set(shared["first_step"]) <= {0, 64, 128}
    assert shared.height > apart_store.sql(QUESTIONS[1].sql).height


def test_two_texts_of_each_language_with_their_values(shared_store):
    answer = shared_store.sql(QUESTIONS[2].sql)
    assert dict(answer["language"].value_counts().iter_rows()) == dict.fromkeys(shared_store.corpus.languages, 2)
    assert answer.select("site", "layer", "neuron").n_unique() == 1
    site, layer, neuron, value, _, text = answer.row(0)
    row = shared_store.corpus.texts["text"].index_of(text)
    assert shared_store.cube("planted-step128", site).read(layer=layer, neurons=[neuron])[0, row] == value
