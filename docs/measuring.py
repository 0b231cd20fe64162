"""The page of the published measures that a store can be asked for."""

from __future__ import annotations

PAGE = "docs/measures.md"

_HEAD = """# Measures

<!-- made by python docs/build.py; changes belong into actlas/query/measures/registry.py -->

`actlas measure NAME STORE` computes a measure that others published, over what the store holds and without the model;
`actlas measure` lists them. Each is a function of [`actlas.query`](api/query.md) with the same options, whose text has the
formula, what the columns mean and what is refused. Of the values, one layer or a block of its neurons is in memory at a time.

An answer is kept in the store as a table that is called like the function, unless `--no-keep` is given: SQL reads it
(`FROM mexa`), the same question is answered from it, other options stand beside it, and it is refused when the values that it
stands on changed.

| `actlas measure` | what it tells | Python | source | options |
|---|---|---|---|---|
"""


_DIFFERING = """
## How they differ from what is published

"""


def page() -> str:
    """The text of the page."""
    from actlas.query.measures.registry import MEASURES

    rows = []
    for measure in MEASURES:
        flags = ", ".join(f"`--{option.dashed}`" for option in measure.options)
        function = f"[`{measure.function}`](api/query.md#{measure.function})"
        rows.append(f"| `{measure.name}` | {measure.about} | {function} | {measure.source} | {flags} |\n")
    differing = [f"- `{measure.name}`: {measure.differs}\n" for measure in MEASURES if measure.differs]
    return _HEAD + "".join(rows) + _DIFFERING + "".join(differing)
