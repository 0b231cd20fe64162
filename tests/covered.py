"""Which lines of actlas run: every statement is compiled with a mark before it.

A tracer, as coverage.py has one for Python 3.11, sees every line of every library and doubles the time of all Python code; a mark
costs a few nanoseconds, and only where it stands. Reports are coverage.py's own.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from coverage import CoverageData

#: Packages whose functions are compiled by numba and Triton, which know no marks.
COMPILED = ("actlas.compiled", "actlas.kernels")
_NAME = "__ran__"


class _Marking(ast.NodeTransformer):
    """Puts `__ran__[line] = 1` before every statement."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, [one for statement in statements for one in _with_marks(statement)])
        # one of the branches is taken where those before it were tried
        tried: list[int] = []
        for branch in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            tried.append(branch.lineno if isinstance(branch, ast.ExceptHandler) else branch.pattern.lineno)
            branch.body = [*(_mark(line, branch.body[0]) for line in tried), *branch.body]
        return node


def _with_marks(statement: ast.stmt) -> list[ast.stmt]:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return [statement]  # a docstring has to come first, and is not counted
    if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
        return [statement, _mark(statement.lineno, statement)]
    lines = [*(one.lineno for one in getattr(statement, "decorator_list", ())), statement.lineno]
    return [*(_mark(line, statement) for line in lines), statement]


def _mark(line: int, at: ast.AST) -> ast.stmt:
    target = ast.Subscript(ast.Name(_NAME, ast.Load()), ast.Constant(line), ast.Store())
    return ast.fix_missing_locations(ast.copy_location(ast.Assign([target], ast.Constant(1)), at))


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        return marked(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        n_lines = self.get_data(self.path).count(b"\n") + 2
        vars(module)[_NAME] = ran[self.path] = [0] * n_lines
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] != "actlas" or name.startswith(COMPILED):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


#: Of every file that was imported, by its line: whether it ran.
ran: dict[str, list[int]] = {}


def marked(source: bytes, path: str) -> CodeType:
    """The code of a file, which notes what runs of it."""
    code: CodeType = compile(_Marking().visit(ast.parse(source)), path, "exec", dont_inherit=True)
    return code


def install() -> None:
    """Every module of actlas that is imported from here on notes what runs of it."""
    sys.meta_path.insert(0, _Finder())


def save(folder: Path, suffix: str) -> None:
    """Leave what ran for `coverage combine`."""
    data = CoverageData(str(folder / ".coverage"), suffix=suffix)
    data.add_lines({path: [line for line, was in enumerate(lines) if was] for path, lines in ran.items()})
    data.write()
