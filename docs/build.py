"""Puts measured things into the documents: output of commands, tables from benchmark results, and the reference pages.

    python docs/build.py            everything
    python docs/build.py README.md  one document
    python docs/build.py reference  docs/cli.md, docs/questions.md, docs/measures.md and docs/api/, out of the source
    python docs/build.py picture    docs/figures/overlap.svg, the first figure of demo-out/report.html

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
RECORDED = {"README.md": True, "docs/demo.md": True, "docs/tutorial.md": False}
PICTURE = "docs/figures/overlap.svg"
#: What the report's page says of ink, rules and font, for a figure that stands alone.
PICTURE_STYLE = (
    "<style>svg { color: #1d2126; font-family: system-ui, sans-serif } .rule { stroke: #d9dde3; stroke-width: .6; fill: none } "
    "@media (prefers-color-scheme: dark) { svg { color: #e4e7eb } .rule { stroke: #3a414a } }</style>"
)
TABLED = (
    "README.md",
    "docs/benchmarks.md",
    "docs/explore.md",
    "docs/kernels.md",
    "docs/extraction.md",
    "docs/results/real-models.md",
    "docs/overlap.md",
    "docs/probing.md",
    "docs/steering.md",
    "docs/recipes.md",
    "docs/decisions/0009-a-group-per-cube.md",
    "docs/decisions/0011-avx512.md",
    "docs/decisions/0021-checks-that-see.md",
    "docs/decisions/0025-parameter-space.md",
    "docs/decisions/0024-language-identifier.md",
    "docs/decisions/0027-chunks-of-scores.md",
    "docs/decisions/0029-texts-of-a-group.md",
    "docs/decisions/0039-reads-in-loops.md",
)


def environment() -> dict[str, str]:
    """The commands' environment: this interpreter's `actlas` and `python`, no network, plain output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "POLARS_FMT_TABLE_FORMATTING": "NOTHING"}


def commands(block: str) -> list[str]:
    """Commands of a console block; a line that ends in a backslash goes on."""
    shown: list[str] = []
    lines = iter(block.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command += "\n" + next(lines)
            shown.append(command)
    return shown


def run(command: str, folder: Path) -> str:
    """Standard output of one command; its failure is ours."""
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"$ {command}\n{done.stdout}{done.stderr}\nexit status {done.returncode}")
    return done.stdout


def recorded(text: str, folder: Path) -> str:
    """`text` with every console block run again, in order."""

    def again(match: re.Match[str]) -> str:
        parts = []
        for command in commands(match.group(1)):
            parts.append(f"$ {command}\n{run(command, folder)}")
        return "```console\n" + "".join(parts) + "```"

    return CONSOLE.sub(again, text)


def tabled(text: str) -> str:
    """`text` with every table made again from benchmark results."""
    from benchmarks.tables import table

    return TABLE.sub(lambda match: f"{match.group(1)}{table(match.group(2))}\n{match.group(3)}", text)


def reference() -> None:
    """Write every reference page."""
    import reference as pages

    for name in pages.PAGES:
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_text(pages.page(name))


def picture() -> None:
    """The first figure of the demo's report, as a file of its own."""
    report = ROOT / "demo-out" / "report.html"
    if not report.is_file():
        raise SystemExit("the picture is taken from demo-out/report.html: make demo")
    start, content, end = re.search(r"(<svg )(.*?>)(.*?</svg>)", report.read_text(encoding="utf-8"), re.DOTALL).groups()  # type: ignore[union-attr]
    alone = f'{start}xmlns="http://www.w3.org/2000/svg" {content}{PICTURE_STYLE}{end}\n'
    (ROOT / PICTURE).write_text(alone, encoding="utf-8")


def build(name: str) -> None:
    if name in MADE:
        MADE[name]()
        return
    path = ROOT / name
    text = path.read_text()
    if name in RECORDED:
        folder = ROOT if RECORDED[name] else Path(tempfile.mkdtemp(prefix="actlas-docs-"))
        text = recorded(text, folder)
        if not RECORDED[name]:
            shutil.rmtree(folder)
    if name in TABLED:
        text = tabled(text)
    path.write_text(text)


MADE = {"reference": reference, "picture": picture}


def main() -> None:
    sys.path.insert(0, str(ROOT))
    for name in sys.argv[1:] or ["reference", *sorted({*RECORDED, *TABLED})]:
        build(name)
        print(name)


if __name__ == "__main__":
    main()
