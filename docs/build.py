"""Puts measured things into the documents: output of commands, and tables from benchmark results. Nothing there is typed by hand.

    python docs/build.py            everything
    python docs/build.py README.md  one document

In a document, a fenced block of kind `console` is recorded: every line that begins with `$ ` is run by bash in the folder that
the document works in, and what it prints to standard output replaces what stood below it. A pair of comments
`<!-- table: NAME -->` and `<!-- end -->` is filled with the table that `benchmarks/tables.py` makes of that name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

#: Documents with recorded commands -> whether they run in the checkout, whose demo-out they use, or in an empty folder.
RECORDED = {"README.md": True, "docs/tutorial.md": False}
TABLED = ("README.md", "docs/kernels.md", "docs/extraction.md")


def environment() -> dict[str, str]:
    """The commands' environment: this interpreter's `actlas` and `python`, no network, plain output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "POLARS_FMT_TABLE_FORMATTING": "NOTHING"}


def commands(block: str) -> list[str]:
    """Commands of a console block; a line that ends in a backslash goes on."""
    found: list[str] = []
    lines = iter(block.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command += "\n" + next(lines)
            found.append(command)
    return found


def run(command: str, folder: Path) -> str:
    """Standard output of one command; its failure is ours."""
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"$ {command}\n{done.stdout}{done.stderr}\nexit status {done.returncode}")
    return done.stdout


def recorded(text: str, folder: Path) -> str:
    """`text` with every console block run anew, in order."""

    def again(match: re.Match[str]) -> str:
        parts = []
        for command in commands(match.group(1)):
            parts.append(f"$ {command}\n{run(command, folder)}")
        return "```console\n" + "".join(parts) + "```"

    return CONSOLE.sub(again, text)


def tabled(text: str) -> str:
    """`text` with every table made anew from benchmark results."""
    from benchmarks.tables import table

    return TABLE.sub(lambda match: f"{match.group(1)}{table(match.group(2))}\n{match.group(3)}", text)


def build(name: str) -> None:
    path = ROOT / name
    text = path.read_text()
    if name in RECORDED:
        here = ROOT if RECORDED[name] else Path(tempfile.mkdtemp(prefix="actlas-docs-"))
        text = recorded(text, here)
        if not RECORDED[name]:
            shutil.rmtree(here)
    if name in TABLED:
        text = tabled(text)
    path.write_text(text)


def main() -> None:
    sys.path.insert(0, str(ROOT))
    for name in sys.argv[1:] or sorted({*RECORDED, *TABLED}):
        build(name)
        print(name)


if __name__ == "__main__":
    main()
