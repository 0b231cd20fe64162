"""What a rank answers: plain values, or the error as plain values. Whole blocks: test_link.py."""

import json

from actlas.errors import CorpusError
from actlas.extract.backends.vllm.worker import ActlasWorker, _answer


def raises(error):
    def step():
        raise error

    return step


def test_an_answer_is_what_json_knows():
    assert _answer(lambda: {"n": 1}) == {"value": {"n": 1}}
    for error in (CorpusError("no texts"), KeyError("width"), MemoryError()):
        answer = json.loads(json.dumps(_answer(raises(error))))
        assert answer["error"]["kind"] == type(error).__name__
        assert answer["error"]["message"] == str(error)


def test_no_name_of_ours_can_be_one_of_vllms():
    # vLLM adds the class to the bases of its own and refuses names that are taken
    own = [name for name in vars(ActlasWorker) if not name.startswith("__")]
    assert own
    assert all(name.lstrip("_").startswith("actlas_") for name in own)
