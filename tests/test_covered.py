"""What `make coverage` counts: the lines that coverage.py's own tracer sees, for statements of every kind."""

from __future__ import annotations

from pathlib import Path

import coverage

from tests import covered

SOURCE = '''"""A file."""

from __future__ import annotations

import sys


@staticmethod
def told(number):
    """A docstring."""
    match number:
        case 1:
            return "one"
        case 2:
            return "two"
    try:
        return (
            "many",
            1 / number,
        )
    except ZeroDivisionError:
        pass
    except OSError:
        return "never"
    else:
        return "never"
    finally:
        number = 0
    return "none"


class Kept:
    first = 1

    def never(self):
        return 0


for one in (0, 2, 3):
    told(one)
else:
    last = [two for two in range(3) if two]
while last:
    last.pop()
with open(sys.executable) as _:
    if one == 0:
        one = 1
    elif one == 1:
        one = 2
    else:
        one = 3
'''


def test_marks_see_what_a_tracer_sees(tmp_path: Path) -> None:
    path = tmp_path / "source.py"
    path.write_text(SOURCE)
    tracer = coverage.Coverage(data_file=None, config_file=False, include=[str(path)])
    tracer.start()
    exec(compile(SOURCE, str(path), "exec"), {"__name__": "source"})
    tracer.stop()
    _, statements, _, never, _ = tracer.analysis2(str(path))
    lines = [0] * (len(SOURCE.splitlines()) + 1)
    exec(covered.marked(SOURCE.encode(), str(path)), {"__name__": "source", "__ran__": lines})
    covered.ran[str(path)] = lines
    try:
        covered.save(tmp_path, "one")
    finally:
        del covered.ran[str(path)]
    again = coverage.Coverage(data_file=str(tmp_path / ".coverage.one"), config_file=False)
    again.load()
    assert again.analysis2(str(path))[1] == statements
    assert again.analysis2(str(path))[3] == never
    assert 0 < len(never) < len(statements)
