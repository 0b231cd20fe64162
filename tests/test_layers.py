"""The import rule: layers import downwards only, and third parties have homes.

Imports inside functions and under TYPE_CHECKING count too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "actlas"
MODULES = {path.relative_to(ROOT): path for path in sorted(PACKAGE.rglob("*.py"))}

#: part -> parts of actlas it may import (itself and the bottom are always allowed)
MAY_IMPORT = {
    "allowed": set(),
    "words": set(),
    "names": set(),
    "options": set(),
    "errors": set(),
    "timing": set(),
    "lazy": set(),
    "compiled": set(),
    "store": {"compiled"},
    "kernels": {"compiled"},
    "extract": {"store", "kernels", "compiled"},
    "query": {"store", "kernels"},
    "intervene": {"extract", "query", "store"},
    "explore": {"query", "store", "intervene"},
    "report": {"explore", "query", "store"},
    "testing": {"store", "extract", "kernels", "query"},
    "demo": {"store", "extract", "kernels", "query", "intervene", "report", "explore", "testing"},
    "reproduce": {"store", "extract", "kernels", "query", "intervene", "report", "testing", "demo"},
    "cli": {"__init__", "store", "extract", "kernels", "query", "intervene", "report", "explore", "demo", "reproduce"},
    "__init__": {"store", "extract", "query", "intervene", "report", "explore"},
    "__main__": {"cli"},
}
BOTTOM = {"allowed", "options", "words", "names", "errors", "timing", "lazy"}

#: third party -> where it may be imported (prefixes of paths below actlas/)
HOMES = {
    "zarr": ("store/", "testing/"),
    "numcodecs": ("store/",),
    "transformers": ("extract/backends/hf/", "intervene/", "demo/", "reproduce/", "testing/"),
    "tokenizers": ("extract/backends/hf/", "demo/", "testing/"),
    "vllm": ("extract/backends/vllm/",),
    "triton": ("kernels/gpu/",),
    "torch": (
        *("extract/backends/", "extract/pooling/", "intervene/", "kernels/gpu/", "demo/", "reproduce/", "testing/"),
        "store/neuron_sets",
    ),
    "sklearn": ("query/probing/", "query/questions/interventions/concept_probe"),
    "duckdb": ("query/sql/",),
    "py3langid": ("intervene/generation/languages",),
    "numba": ("compiled/", "kernels/cpu/"),
    "llvmlite": ("compiled/", "kernels/cpu/"),
    "dask": ("extract/parallel/dask_cluster", "store/cube"),
    "distributed": ("extract/parallel/dask_cluster",),
    "starlette": ("explore/server/",),
    "uvicorn": ("explore/server/",),
    "anywidget": ("explore/widget",),
    "traitlets": ("explore/widget",),
    "matplotlib": (),
    "pickle": (),
    "joblib": (),
}
#: Python files of one folder at most.
MOST_FILES = 14
STANDARD_ONLY = ("allowed.py", "options.py", "words.py", "names.py", "errors.py", "timing.py", "lazy.py")


def imports(path: Path) -> list[str]:
    """Full names that a file imports, anywhere in it: inside functions and under `if TYPE_CHECKING`, too."""
    tree = ast.parse(path.read_text())
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")) and node.args:
            names += [c.value for c in ast.walk(node.args[0]) if isinstance(c, ast.Constant) and isinstance(c.value, str)]
    return names


def part_of(relative: Path) -> str:
    return relative.parts[1].removesuffix(".py")


@pytest.mark.parametrize("relative", MODULES, ids=str)
def test_imports_follow_the_rule(relative: Path) -> None:
    part = part_of(relative)
    assert part in MAY_IMPORT, f"{relative}: unknown part; name it in the rule"
    for name in imports(MODULES[relative]):
        top, *rest = name.split(".")
        if top == "actlas" and rest:
            target = rest[0] if (PACKAGE / rest[0]).exists() or (PACKAGE / f"{rest[0]}.py").exists() else "__init__"
            assert target == part or target in MAY_IMPORT[part] | BOTTOM, f"{relative} imports {name}"
        if top in HOMES:
            below = relative.relative_to("actlas").as_posix()
            assert below.startswith(HOMES[top]) if HOMES[top] else False, f"{relative} imports {name}, whose home is {HOMES[top]}"
        if relative.name in STANDARD_ONLY and relative.parent == Path("actlas"):
            assert top in sys.stdlib_module_names or top == "actlas", f"{relative} imports {name}"


def test_there_are_no_cycles_between_files() -> None:
    dotted = {".".join(r.with_suffix("").parts).removesuffix(".__init__"): path for r, path in MODULES.items()}
    graph = {
        name: {target if target in dotted else target.rpartition(".")[0] for target in imports(path)} & dotted.keys() - {name}
        for name, path in dotted.items()
        if name not in ("actlas", "actlas.__main__")
    }
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, f"import cycle: {' -> '.join((*trail, name))}"
        if state.get(name) == 2:
            return
        state[name] = 1
        for other in graph.get(name, ()):
            visit(other, (*trail, name))
        state[name] = 2

    for name in graph:
        visit(name, ())


def test_no_folder_holds_more_than_can_be_seen_at_once() -> None:
    for folder in {path.parent for path in MODULES.values()}:
        files = sorted(path.name for path in folder.glob("*.py"))
        assert len(files) <= MOST_FILES, f"{folder.relative_to(ROOT)} holds {len(files)} files"


@pytest.mark.parametrize("relative", MODULES, ids=str)
def test_no_file_repeats_its_folder_in_its_name(relative: Path) -> None:
    first, underscore, _ = relative.stem.strip("_").partition("_")
    assert not underscore or first not in relative.parts[1:-1], f"{relative}: the folder already says {first}"


HEAVY = ("torch", "transformers", "vllm", "triton", "sklearn", "numba", "matplotlib")


@pytest.mark.parametrize("module", ["actlas", "actlas.query", "actlas.store", "actlas.cli"])
def test_a_fresh_interpreter_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == []


@pytest.mark.parametrize(
    ("modules", "unneeded"),
    [("actlas", ["zarr", "polars"]), ("actlas.cli, actlas.query.sql.session", ["zarr", "actlas.intervene.live"])],
)
def test_what_an_answer_does_not_need_is_not_imported(modules: str, unneeded: list[str]) -> None:
    code = f"import sys, {modules}; print(*[name for name in {unneeded!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == []


def test_only_the_command_line_prints() -> None:
    for relative, path in MODULES.items():
        if part_of(relative) in ("cli", "__main__"):
            continue
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"], f"{relative} prints"
