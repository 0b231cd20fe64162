"""Code of docs/steering.md, to be run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).resolve().parents[2] / "docs" / "steering.md"


def recipe(library: str, folder: Path) -> ModuleType:
    """The block of the page that imports a library, as a module: nnsight reads the source of what it traces."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (code,) = [block for block in blocks if f"def steered_by_{library}(" in block]
    path = folder / f"{library}_recipe.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
