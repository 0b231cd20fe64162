"""The documents are under test: recorded commands run, tables come from results, every verb and public name is explained."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import actlas
from actlas.cli import parser, run
from actlas.testing import Planting, planted_store
from tests.extract.conftest import short_waits  # noqa: F401  the tutorial's OMP_NUM_THREADS=1

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "docs"))
build = __import__("build")
reference = __import__("reference")


def without_numbers(text: str) -> list[str]:
    """Lines with their numbers blanked: they depend on the machine's arithmetic, the words do not."""
    return [" ".join(re.sub(r"-?\d[\d,.]*(e[+-]?\d+)?", "#", line).split()) for line in text.splitlines()]


def shell(command: str, given: str = "") -> str:
    line = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(line, env=build.environment(), input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
    return done.stdout


def printed(command: str, capfd: pytest.CaptureFixture[str]) -> str:
    """What a command prints. `actlas` and lines of Python run in this process, where all that they import is there already."""
    first, is_piped, others = command.removeprefix("OMP_NUM_THREADS=1 ").replace("\\\n", " ").partition(" | ")
    if not first.startswith(("actlas ", "python -c ")):
        return shell(command)
    program, *arguments = shlex.split(first)
    capfd.readouterr()
    if program == "actlas":
        assert run(arguments) == 0, capfd.readouterr().err
    else:
        exec(arguments[1], {})
    output = capfd.readouterr().out
    return shell(others, output) if is_piped else output


@pytest.mark.slow
def test_the_tutorial_s_commands_print_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in build.environment().items():
        monkeypatch.setenv(name, value)
    for recorded in build.CONSOLE.findall((ROOT / "docs/tutorial.md").read_text()):
        now = "".join(f"$ {command}\n{printed(command, capfd)}" for command in build.commands(recorded))
        assert len(without_numbers(recorded)) == len(without_numbers(now)), f"recorded:\n{recorded}\nnow:\n{now}"
        # rows are ordered by scores, which may differ in the last bit elsewhere: compare headers and commands word by word
        for was, is_ in zip(recorded.splitlines(), now.splitlines(), strict=True):
            if was.startswith("$ "):
                assert was == is_


def verbs() -> dict[str, object]:
    (choices,) = [action.choices for action in parser()._actions if action.dest == "verb"]
    return dict(choices)


def test_every_verb_is_documented() -> None:
    text = "\n".join(path.read_text() for path in DOCS)
    missing = [verb for verb in verbs() if f"actlas {verb}" not in re.sub(r"actlas --quiet ", "actlas ", text)]
    assert not missing


class DemoPlanting(Planting):
    """The names that the demo's store has, around planted values."""

    def checkpoint(self, step: int) -> str:
        return f"multi-step{step}"


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a planted `demo-out`."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "demo-out").mkdir()
    planting = DemoPlanting(sites={"attn_qkv": (2, 288), "mlp_pre": (2, 12)}, steps=(0, 512, 1024), token_sites={})
    store = actlas.open_store(planted_store(folder / "demo-out" / "store.actlas", planting), "a")
    actlas.score_neurons(store, stats=("ap", "median", "p90"))
    actlas.top_experts(store, k=50)
    actlas.overlap_controls(store, k=50, n_repeats=9)
    store.close()
    shutil.copytree(store.path, folder / "demo-out" / "control.actlas")
    actlas.write_report(store.path, folder / "demo-out" / "report.html")
    return folder


@pytest.mark.parametrize(("name", "least"), [("README.md", 4), ("docs/demo.md", 2)])
def test_sessions_with_the_demo_work_on_stores_with_its_names(
    demo_folder: Path, name: str, least: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(demo_folder)
    text = (ROOT / name).read_text()
    shown = [command for block in build.CONSOLE.findall(text) for command in build.commands(block)]
    assert len(shown) >= least
    for command in shown:
        program, *arguments = shlex.split(command)
        assert program == "actlas"
        assert run(arguments) == 0, capfd.readouterr().err
        assert capfd.readouterr().out.count("\n") > 1, command
    if name == "README.md":
        (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        exec(code, {})


def test_the_picture_is_the_first_figure_of_the_report(demo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ElementTree.fromstring((ROOT / build.PICTURE).read_text(encoding="utf-8"))
    assert f"({build.PICTURE})" in (ROOT / "README.md").read_text()
    (demo_folder / "docs" / "figures").mkdir(parents=True)
    monkeypatch.setattr(build, "ROOT", demo_folder)
    build.picture()
    made = ElementTree.fromstring((demo_folder / build.PICTURE).read_text(encoding="utf-8"))
    svg = "{http://www.w3.org/2000/svg}"
    for root in (shown, made):
        assert root.tag == f"{svg}svg"
        words = [element.text for element in root.iter(f"{svg}text")]
        assert {"overlap", "null", "null_independent", "chance"} <= set(words)
    (demo_folder / "demo-out" / "report.html").unlink()
    with pytest.raises(SystemExit, match="make demo"):
        build.picture()


def commands_of(path: Path) -> list[list[str]]:
    """Every `actlas` command of a document as a list of words, out of code blocks of any kind."""
    found = []
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
        if kind not in ("", "console", "sh"):
            continue
        block = re.sub(r"\$\w+", "1", block)  # a variable of the shell
        shown = build.commands(block) or block.replace("\\\n", " ").splitlines()
        for command in shown:
            for part in re.split(r"\s(?:\||&&)\s", command.replace("\\\n", " ")):
                try:
                    words = shlex.split(part, comments=True)
                except ValueError:  # not a shell's line
                    continue
                if words[:1] == ["actlas"] and not {"VERB", "[options]"} & set(words):
                    found.append(words[1:])
    return found


@pytest.mark.parametrize(
    "path", [path for path in DOCS if "docs/cli" not in str(path)], ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_every_command_in_the_documents_is_one_that_the_parser_takes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands_of(path):
        if "..." in words or "…" in words:
            continue
        try:
            parser().parse_args(words)
        except SystemExit as stop:
            if stop.code:
                pytest.fail(f"{path.name}: actlas {' '.join(words)}: {capsys.readouterr().err}")


def test_there_are_commands_in_the_documents() -> None:
    assert len(commands_of(ROOT / "README.md")) >= 8
    assert len(commands_of(ROOT / "docs/tutorial.md")) >= 15


def test_every_public_name_is_in_the_reference() -> None:
    text = (ROOT / "docs/api.md").read_text()
    assert not [name for name in actlas.__all__ if f"`{name}" not in text]


@pytest.mark.parametrize("name", build.TABLED)
def test_tables_are_those_of_the_result_files(name: str) -> None:
    text = (ROOT / name).read_text()
    assert build.tabled(text) == text, f"python docs/build.py {name} would change it"


@pytest.mark.parametrize("name", reference.PAGES)
def test_reference_pages_are_those_of_parser_and_docstrings(name: str) -> None:
    assert (ROOT / name).read_text() == reference.page(name), "python docs/build.py reference would change it"


def test_every_option_is_in_the_reference() -> None:
    text = (ROOT / reference.CLI).read_text()
    for name, verb in verbs().items():
        options = [option for action in verb._actions for option in action.option_strings if option not in ("-h", "--help")]
        section = text.split(f"## actlas {name}\n")[1].split("\n## ")[0]
        assert not [option for option in options if f"{option}" not in section], name


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text()):
        linked = path.parent / target if target else path
        anchors = {heading.strip().lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", linked.read_text(), re.M)}
        assert anchor in anchors, f"{path.name} links to {target}#{anchor}"
