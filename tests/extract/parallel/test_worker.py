"""A call as text, there and back, and the process that does what it says; two of them at once: test_devices.py."""

import json

import pytest

from actlas.errors import ModelNotLoaded
from actlas.extract.child import Child
from actlas.extract.options import ExtractOptions
from actlas.extract.parallel.worker import RemoteRequest, merged, summary_from
from actlas.extract.results import CheckpointResult, ExtractSummary
from actlas.extract.run.prepare import Request
from actlas.names import Checkpoint, RandomTwin, TokenSample


def remote(models, corpus, store, **options):
    return RemoteRequest(models, str(corpus), Request(store, ExtractOptions(**options)))


@pytest.fixture
def worker():
    child = Child("actlas.extract.parallel.worker", "the worker")
    yield child
    child.close()


def test_a_request_survives_the_way(tmp_path):
    for options in (
        {},
        {"token_sample": TokenSample(2, seed=3, sites=("resid",)), "devices": ("cpu", "cpu")},
        {"part": (1, 2)},
        {"count_threshold": (0.0, 1.5), "stats_only": ("counts", "moments"), "revisions": ("step*",)},
    ):
        twin = Checkpoint("m-random0", "org/m", None, "step2", RandomTwin("m-step2", 0))
        models = ("org/m@step1", Checkpoint("m-step2", "org/m", 2, "step2"), twin)
        sent = remote(models, tmp_path / "c", tmp_path / "s", **options)
        assert RemoteRequest.from_json(sent.to_json()) == sent
    assert sent.with_options(device="cuda:1").request.options.device == "cuda:1"


def summary(status, n_texts, seconds=1.0, warnings=()):
    return ExtractSummary("s", (CheckpointResult("m", status, n_texts, seconds),), 10, 0, warnings)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("extracted", "shared"), "extracted"),
        (("there", "shared"), "extracted"),
        (("shared", "shared"), "shared"),
        (("skipped", "skipped"), "skipped"),
    ],
)
def test_what_several_did_is_one_result(statuses, expected):
    one, other = (summary(status, 5, 2.0 + number, ("same", str(number))) for number, status in enumerate(statuses))
    both = merged([one, other])
    (result,) = both.checkpoints
    assert (result.status, result.n_texts, result.seconds) == (expected, 10, 3.0)
    assert both.warnings == ("same", "0", "1")


def test_nothing_computed_is_nothing_extracted():
    assert merged([summary("there", 0), summary("there", 0)]).checkpoints[0].status == "there"


def test_the_process_does_what_is_asked_and_says_how_far_it_is(worker, tiny_models, corpus_folder, tmp_path):
    request = remote((str(tiny_models("llama")),), corpus_folder, tmp_path / "s", device="cpu", max_tokens=60)
    worker.send("run", request=request.to_json())
    messages = []
    for message in worker.messages():
        messages.append(message)
        if "report" not in message:
            break
    assert {message["report"]["stage"] for message in messages[:-1]} >= {"locate", "load", "extract", "done"}
    done = summary_from(json.loads(json.dumps(messages[-1]["value"])))
    assert isinstance(done, ExtractSummary)
    assert done.checkpoints[0].status == "extracted"


def test_the_process_goes_on_after_an_error(worker, corpus_folder, tmp_path):
    for _ in range(2):
        with pytest.raises(ModelNotLoaded, match="no model folder at"):
            worker.ask("run", request=remote((str(tmp_path / "nowhere"),), corpus_folder, tmp_path / "s").to_json())
