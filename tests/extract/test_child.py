"""Child processes that answer commands: what they say, how they fail, and that none is left."""

import os
import queue
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from actlas.errors import CorpusError, ExtractionError
from actlas.extract import child
from actlas.extract.child import Child, error_from_json, error_to_json


@pytest.fixture
def start():
    """Starts children that end with the test."""
    children = []

    def begin(**options):
        children.append(Child("tests.extract.child_commands", "the child", **options))
        return children[-1]

    yield begin
    for one in children:
        one.close()


def is_running(pid):
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid, seconds=20):
    until = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_running(pid)


def test_a_child_answers_one_command_after_the_other(start):
    one = start()
    assert one.ask("add", numbers=[1, 2, 3]) == 6
    assert one.ask("add", numbers=[]) == 0
    assert one.status is None


def test_reports_come_before_the_answer_and_none_at_the_end(start):
    one, heard = start(), queue.SimpleQueue()
    one.send("add", numbers=[1, 2])
    one.listen(heard.put)
    assert [heard.get(timeout=20) for _ in range(3)] == [{"report": 1}, {"report": 2}, {"value": 3}]
    one.end()
    assert heard.get(timeout=20) is None
    one.close()


def test_errors_come_across_with_class_text_and_traceback(start):
    one = start()
    with pytest.raises(CorpusError, match="the words") as caught:
        one.ask("fail", kind="corpus")
    assert "child_commands.py" in caught.value.__notes__[0]
    with pytest.raises(ExtractionError, match="the child, asked to fail, failed with KeyError: 'the words'"):
        one.ask("fail", kind="key")
    # an error is no end
    assert one.ask("add", numbers=[1]) == 1
    with pytest.raises(ExtractionError, match="failed with KeyError: 'unheard of'"):
        one.ask("unheard of")


def test_an_error_of_any_process_has_one_form():
    data = error_to_json(ValueError("odd"))
    assert set(data) == {"kind", "message", "traceback"}
    error = error_from_json(data, "rank 1", "; see there")
    assert type(error) is ExtractionError
    assert str(error) == "rank 1 failed with ValueError: odd; see there"
    assert type(error_from_json(error_to_json(CorpusError("no texts")), "rank 1", "; see there")) is CorpusError


def test_a_child_that_dies_is_told_and_its_output_is_kept(start):
    one = start(log_name="actlas-test")
    assert one.ask("chatter") == "fine"
    with pytest.raises(ExtractionError, match=r"the child ended while it was asked to die \(hello from .*\); its output is in"):
        one.ask("die")
    one.close()
    assert one.status == 3
    assert {"hello from a library", "hello from a program"} <= set(one.log.read_text().splitlines())
    one.log.unlink()


def test_output_is_kept_with_the_traceback_where_a_command_failed(start):
    one = start(log_name="actlas-test")
    with pytest.raises(ExtractionError, match=f"failed with KeyError: 'the words'; its output is in {one.log}"):
        one.ask("fail", kind="key")
    one.close()
    assert "child_commands.py" in one.log.read_text()
    one.log.unlink()


def test_nothing_is_kept_of_a_child_that_did_well(start):
    one = start(log_name="actlas-test")
    one.ask("chatter")
    one.close()
    assert not one.log.exists()
    one.close()


def test_what_a_child_started_ends_with_it(start):
    one = start()
    other = one.ask("start_another")
    assert is_running(other)
    one.close()
    wait_until_gone(other)
    wait_until_gone(one.pid)


def test_what_a_child_started_ends_when_the_child_dies(start):
    one = start()
    other = one.ask("start_another")
    with pytest.raises(ExtractionError, match="ended while it was asked to die"):
        one.ask("die")
    wait_until_gone(other)


def test_a_busy_child_is_ended_without_waiting_for_it(start):
    one, heard = start(), queue.SimpleQueue()
    one.listen(heard.put)
    one.send("sleep", seconds=600)
    assert heard.get(timeout=20) == {"report": "asleep"}
    began = time.monotonic()
    one.close()
    assert time.monotonic() - began < 5
    assert heard.get(timeout=20) is None


def test_an_idle_child_does_what_is_to_be_done_at_its_end(start):
    one = start(log_name="actlas-test")
    one.ask("add", numbers=[])
    one._keeps_log = True
    one.close()
    assert "the end" in one.log.read_text()
    one.log.unlink()


@pytest.mark.parametrize("seconds", [0, 600])
def test_a_child_ends_with_its_parent_however_that_ends(seconds):
    code = f"""
        from actlas.extract.child import Child
        one = Child("tests.extract.child_commands", "the child")
        print(one.pid, flush=True)
        one.send("sleep", seconds={seconds})
        next(one.messages())
        print("ready", flush=True)
        import time; time.sleep(600)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    assert parent.stdout.readline() == "ready\n"
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_until_gone(pid)


def test_a_child_runs_the_package_that_its_parent_runs(start, monkeypatch, tmp_path):
    package = str(Path(child.__file__).resolve().parents[2])
    one = start(environment={**os.environ, "PYTHONPATH": "/other", "NAME": "value"})
    assert one.ask("environment", name="PYTHONPATH") == f"{package}:/other"
    assert one.ask("environment", name="NAME") == "value"


def test_a_group_is_killed_once(start, monkeypatch):
    one = start()
    one.close()
    # its number may be another group's by now
    monkeypatch.setattr(child.os, "killpg", lambda *_: pytest.fail("a group was killed twice"))
    one.close()
