"""Functions stay short, or say why not; a module does not print; one word for each thing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "actlas").rglob("*.py"))]
MOST_LINES = 60
#: Words that code and comments do without. Transposing is not turning, what threads end with is a finish, and what adds up is an
#: accumulator.
AVOIDED = re.compile(r"\b(nobody|whoever|somebody|anew|dealt|befell|settle[sdr]?|settling|fold(s|ed|ing)?)\b", re.IGNORECASE)
AVOIDED_NAMES = re.compile(r"(^|_)(turn|turned|turning|fold|settle|settler)(_|$)|Fold(?!er)")
#: Sentences of the demo's corpus are what is measured: their words are data.
DATA = {"actlas/demo/sentences.py"}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return 0 if not body else (function.end_lineno or 0) - body[0].lineno + 1


def is_explained(lines: list[str], function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a comment with a reason stands right above the function or its first decorator."""
    first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    above = first - 2
    while above >= 0 and lines[above].strip().startswith("#"):
        if re.match(r"# Long: \w+", lines[above].strip()):
            return True
        above -= 1
    return False


def functions(name: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse((ROOT / name).read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("name", MODULES)
def test_functions_are_short_or_say_why_not(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    for function in functions(name):
        n_lines = length(function)
        assert n_lines <= MOST_LINES or is_explained(lines, function), (
            f"{name}: {function.name} has {n_lines} lines; shorten it, or say why above it: # Long: reason"
        )


@pytest.mark.parametrize("name", MODULES)
def test_the_plain_word_is_used(name: str) -> None:
    if name in DATA:
        return
    text = (ROOT / name).read_text()
    for number, line in enumerate(text.splitlines(), start=1):
        word = AVOIDED.search(line)
        assert word is None, f"{name}:{number}: {word[0]!r}: {line.strip()}"
    for node in ast.walk(ast.parse(text)):
        used = (
            getattr(node, "name", None) or getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "arg", None)
        )
        assert not (isinstance(used, str) and AVOIDED_NAMES.search(used)), f"{name}:{node.lineno}: {used}"


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith(("actlas/cli/", "actlas/__main__"))])
def test_only_the_command_line_writes_to_standard_output_as_text(name: str) -> None:
    """Processes that answer another process do so in a protocol, which has its own files."""
    protocol = {"actlas/extract/child.py", "actlas/extract/parallel/worker.py", "actlas/extract/backends/vllm/engine.py"}
    if name not in protocol:
        assert "sys.stdout" not in (ROOT / name).read_text(), f"{name} writes to standard output"


def test_a_long_function_is_found_and_its_reason_is_seen() -> None:
    body = "".join(f"    x{number} = {number}\n" for number in range(61))
    for above, explained in (("", False), ("# Long: a table\n", True), ("# Long:\n", False), ("# Long: a table\n@cache\n", True)):
        source = f"{above}def f():\n{body}"
        (function,) = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
        assert length(function) == 61
        assert is_explained(source.splitlines(), function) is explained
