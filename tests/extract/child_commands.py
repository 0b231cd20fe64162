"""What the children of test_child.py answer; run as a module."""

import os
import subprocess
import sys
import time

from actlas.errors import CorpusError
from actlas.extract.child import serve


def commands(report):
    def add(numbers):
        for number in numbers:
            report(number)
        return sum(numbers)

    def fail(kind):
        raise {"corpus": CorpusError, "key": KeyError}[kind]("the words")

    def die():
        os._exit(3)

    def chatter():
        # a library that prints, in Python and below it
        print("hello from a library")
        os.system("echo hello from a program")
        return "fine"

    def sleep(seconds):
        report("asleep")
        time.sleep(seconds)

    def start_another():
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid

    def environment(name):
        return os.environ.get(name)

    return {
        "add": add,
        "fail": fail,
        "die": die,
        "chatter": chatter,
        "sleep": sleep,
        "start_another": start_another,
        "environment": environment,
    }


if __name__ == "__main__":
    serve(commands, at_end=lambda: print("the end", file=sys.stderr, flush=True))
