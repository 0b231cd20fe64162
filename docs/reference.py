"""The reference pages: the command line out of its parser, and the Python interface out of docstrings."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import asking
import measuring

#: Page of a public module -> the module.
MODULES = {
    "docs/api/kernels.md": "actlas.kernels",
    "docs/api/store.md": "actlas.store",
    "docs/api/query.md": "actlas.query",
    "docs/api/extract.md": "actlas.extract",
    "docs/api/intervene.md": "actlas.intervene",
    "docs/api/report.md": "actlas.report",
    "docs/api/explore.md": "actlas.explore",
    "docs/api/testing.md": "actlas.testing",
}
CLI = "docs/cli.md"
PAGES = (CLI, asking.PAGE, measuring.PAGE, *MODULES)

_MADE = "<!-- made by python docs/build.py; changes belong into the {} -->\n"
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Source|Example):(.*)$")


def page(name: str) -> str:
    """The text of one reference page."""
    if name == asking.PAGE:
        return asking.page()
    if name == measuring.PAGE:
        return measuring.page()
    return cli_page() if name == CLI else api_page(MODULES[name])


# The command line


def cli_page() -> str:
    """Every verb with every option."""
    from actlas.cli import parser

    top = parser()
    verbs = _subcommands(top)
    parts = [
        "# The command line\n",
        _MADE.format("parser, actlas/cli"),
        f"{top.description} `actlas VERB --help` says the same as this page.\n",
        "Options before the verb: "
        + "; ".join(f"`{', '.join(a.option_strings)}`: {a.help}" for a in top._actions if a.option_strings and a.dest != "help")
        + ".\n\nExit status: 0 success, 1 a refused or failed run with one line on standard error, 2 bad usage. "
        "`ACTLAS_TRACEBACK=1` shows where an error comes from.\n",
        "| verb | what it does |\n|---|---|",
        *(f"| [`{name}`](#actlas-{name}) | {_cell(about)} |" for name, (_, about) in verbs.items()),
        "",
    ]
    for name, (verb, about) in verbs.items():
        parts += _verb(f"actlas {name}", verb, about, "##")
    return "\n".join(parts).rstrip() + "\n"


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """Verb -> its parser and its line of help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            about = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return {name: (verb, about.get(name, "")) for name, verb in action.choices.items()}
    return {}


def _verb(name: str, verb: argparse.ArgumentParser, about: str, heading: str) -> list[str]:
    described = f" {verb.description}" if verb.description and verb.description != about else ""
    parts = [f"{heading} {name}\n", f"{about[:1].upper()}{about[1:]}.{described}\n"]
    kinds = _subcommands(verb)
    for kind, (inner, line) in kinds.items():
        parts += _verb(f"{name} {kind}", inner, line, heading + "#")
    if kinds:
        return parts
    positional = [action for action in verb._actions if not action.option_strings]
    optional = [action for action in verb._actions if action.option_strings and action.dest != "help"]
    required = [action for action in optional if action.required]
    usage = " ".join([name, *map(_value, positional), *(f"{a.option_strings[0]} {_value(a)}" for a in required)])
    parts.append(f"```\n{usage}{' [options]' if len(required) < len(optional) else ''}\n```\n")
    rows = [f"| `{_spelling(action)}` | {_meaning(action)} |" for action in (*positional, *optional)]
    return [*parts, "| | |\n|---|---|", *rows, ""]


def _spelling(action: argparse.Action) -> str:
    if not action.option_strings:
        return _value(action).replace("|", "\\|")
    return " ".join([", ".join(action.option_strings), _value(action)]).strip().replace("|", "\\|")


def _value(action: argparse.Action) -> str:
    """What stands for an option's value in a usage line; nothing for a flag."""
    if action.nargs == 0:
        return ""
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.choices is not None:
        name = "{" + ",".join(map(str, action.choices)) + "}"
    return {"+": f"{name} [{name} ...]", "?": f"[{name}]"}.get(str(action.nargs), name)


def _meaning(action: argparse.Action) -> str:
    words = [_cell((action.help or "").replace("%%", "%"))]
    if action.required and action.option_strings:
        words.append("required")
    default = action.default
    is_told = default in (None, False, argparse.SUPPRESS) or default == [] or "default" in words[0] or action.nargs == 0
    if not is_told:
        words.append(f"default: {','.join(map(str, default)) if isinstance(default, tuple) else default}")
    return "; ".join(word for word in words if word)


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


# The Python interface


def api_page(name: str) -> str:
    """Every public name of a module with its docstring."""
    module = importlib.import_module(name)
    things = {part: getattr(module, part) for part in module.__all__ if part != "__version__"}
    listed = ", ".join(f"[`{part}`](#{part.lower()})" for part in things)
    parts = [f"# {name}\n", _MADE.format("docstrings"), f"{markdown(inspect.getdoc(module) or '')}\n\n{listed}\n"]
    if any(">>>" in (inspect.getdoc(thing) or "") for thing in things.values()):
        parts.append(
            "In the examples, `store` is a planted store (`actlas.testing.planted_store`) with scores, experts and overlap, "
            "opened for reading, `folder` an empty folder, `np` numpy and `pl` polars. `store_writer` writes a store for twelve "
            "texts, `checkpoint_writer` its first checkpoint, and `score_writer` the scores of a planted store; `conftest.py` "
            "makes them.\n"
        )
    for part, thing in things.items():
        parts += _thing(part, thing)
    return "\n".join(parts).rstrip() + "\n"


def _thing(name: str, thing: Any) -> Iterator[str]:
    yield f"## {name}\n"
    if inspect.isclass(thing):
        if dataclasses.is_dataclass(thing):
            yield f"```python\n{_signature(name, thing)}\n```\n"
        yield markdown(inspect.getdoc(thing) or "") + "\n"
        for base in filter(_is_public, thing.__bases__):
            page = base.__module__.split(".")[1]
            yield f"It has everything of [{base.__name__}]({page}.md#{base.__name__.lower()}), and:\n"
        for part, value in _members(thing).items():
            if isinstance(value, property | functools.cached_property):
                yield f"### {name}.{part}\n"
            else:
                yield f"### {name}.{part}\n\n```python\n{_signature(part, value)}\n```\n"
            yield markdown(inspect.getdoc(value) or "") + "\n"
    elif inspect.isfunction(thing):
        yield f"```python\n{_signature(name, thing)}\n```\n"
        yield markdown(inspect.getdoc(thing) or "") + "\n"
    elif isinstance(thing, tuple) and all(isinstance(part, str) for part in thing):
        yield f"`{thing!r}`\n"
    elif hasattr(thing, "__len__"):
        keys = ", ".join(f"`{part}`" for part in thing) if isinstance(thing, dict) else f"{len(thing)} of them"
        yield f"{type(thing).__name__}: {keys}\n"


def _is_public(thing: type) -> bool:
    """Whether a class stands on a page of its own."""
    page = ".".join(thing.__module__.split(".")[:2])
    return page in MODULES.values() and thing.__name__ in importlib.import_module(page).__all__


def _members(thing: type) -> dict[str, Any]:
    """Public methods and properties of a class, but for those of bases that have a page: general ones first, as in the source."""
    owners = {thing}.union(*(base.__mro__ for base in thing.__bases__ if not _is_public(base)))
    members: dict[str, Any] = {}
    for owner in reversed(thing.__mro__):
        if owner not in owners or not owner.__module__.startswith("actlas."):
            continue
        for name, value in vars(owner).items():
            value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            is_told = inspect.isfunction(value) or isinstance(value, property | functools.cached_property)
            if is_told and not name.startswith("_"):
                members[name] = value
    return members


def _signature(name: str, thing: Any) -> str:
    """Name and parameters, one to a line where they are many; annotations as they are written."""
    signature = inspect.signature(thing)
    kinds = inspect.Parameter
    words: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls") or parameter.name.startswith("_"):
            continue
        if parameter.kind is kinds.KEYWORD_ONLY and not any(word.startswith("*") for word in words):
            words.append("*")
        word = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
        if parameter.annotation is not kinds.empty:
            word += f": {parameter.annotation}"
        if parameter.default is not kinds.empty:
            word += f" = {_default(parameter.default)}"
        words.append(word)
    returned = signature.return_annotation
    end = f" -> {returned}" if returned not in (inspect.Signature.empty, None, "None") and not inspect.isclass(thing) else ""
    line = f"{name}({', '.join(words)}){end}"
    return line if len(line) <= 100 else f"{name}(\n    " + ",\n    ".join(words) + f",\n){end}"


def _default(value: Any) -> str:
    """A default as it reads; objects by their kind."""
    if isinstance(value, str | int | float | bool | tuple | frozenset | None):
        return repr(value)
    return "..."


def markdown(docstring: str) -> str:
    """A docstring with its sections as lists and its example as code."""
    parts: list[str] = []
    lines = docstring.splitlines()
    while lines:
        match = _SECTION.match(lines[0])
        if match is None:
            parts.append(lines.pop(0).replace("``", "`"))
            continue
        lines.pop(0)
        body = []
        while lines and (not lines[0].strip() or lines[0].startswith(" ")):
            body.append(lines.pop(0))
        parts += _section(match[1], match[2].strip(), textwrap.dedent("\n".join(body)).strip("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).strip()


def _section(title: str, rest: str, body: str) -> list[str]:
    if title == "Example":
        return ["", f"```python\n{body}\n```", ""]
    text = " ".join([rest, body]).strip().replace("``", "`") if title in ("Source", "Returns") else body.replace("``", "`")
    if title in ("Source", "Returns"):
        return ["", f"**{title}**: {' '.join(text.split())}", ""]
    items: list[str] = []
    for line in text.splitlines():
        if line.startswith(" ") and items:
            items[-1] += " " + line.strip()
        elif line.strip():
            name, _, meaning = line.partition(":")
            items.append(f"- `{name}`:{meaning}")
    return ["", f"**{title}**", "", *items, ""]
