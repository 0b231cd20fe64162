"""The page of the published measures that a store can be asked for."""

from __future__ import annotations

PAGE = "docs/measures.md"

_HEAD = """# Measures

<!-- made by python docs/build.py; changes belong into actlas/query/measures/registry.py -->

`actlas measure NAME STORE` computes a measure that others published, over what the store holds and without the model;
`actlas measure` lists them. Each is a function of [`actlas.query`](api/query.md) with the same options, whose text has the
formula, what the columns mean and what is refused. Of the values, one layer or a block of its neurons is in memory at a time.

| `actlas measure` | what it tells | Python | source | options |
|---|---|---|---|---|
"""


def page() -> str:
    """The text of the page."""
    from actlas.query.measures.registry import MEASURES

    rows = []
    for measure in MEASURES:
        flags = ", ".join(f"`--{option.dashed}`" for option in measure.options)
        function = f"[`{measure.function}`](api/query.md#{measure.function})"
        rows.append(f"| `{measure.name}` | {measure.about} | {function} | {measure.source} | {flags} |\n")
    return _HEAD + "".join(rows)
