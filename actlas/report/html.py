"""HTML of the report: escaping, tables, figures, and the page with its style."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import polars as pl

_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1d2126; --soft: #5b6470; --rule: #d9dde3; --panel: #f5f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171b; --ink: #e4e7eb; --soft: #a2abb6; --rule: #3a414a; --panel: #1d2127; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 .75rem; padding-top: 1.25rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p, ul { max-width: 46rem; margin: .6rem 0; }
ul { padding-left: 1.2rem; }
li { margin: .3rem 0; }
figure { margin: 1.5rem 0 .75rem; }
svg { display: block; width: 100%; min-width: 36rem; height: auto; color: var(--ink); }
svg .rule { stroke: var(--rule); stroke-width: .6; fill: none; }
figcaption, caption { color: var(--soft); font-size: .875rem; text-align: left; }
caption { padding-bottom: .4rem; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .75rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th { font-weight: 600; color: var(--soft); }
.number { text-align: right; }
.long { white-space: normal; min-width: 18rem; }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--soft); font-size: .875rem; }
pre { background: var(--panel); padding: .75rem 1rem; overflow-x: auto; font: .8125rem/1.5 ui-monospace, Menlo, Consolas,
  monospace; border-radius: 6px; }
"""
_LONG_TEXT = 40


def escape(text: object) -> str:
    """`text` with the characters that HTML reads as markup written out."""
    return html.escape(str(text))


def document(title: str, body: str) -> str:
    """A whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, *parts: str) -> str:
    return f"<section>\n<h2>{escape(heading)}</h2>\n{''.join(parts)}\n</section>\n"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>\n"


def bullets(texts: Sequence[str]) -> str:
    return "<ul>\n" + "".join(f"<li>{escape(text)}</li>\n" for text in texts) + "</ul>\n" if texts else ""


def figure(svg: str, caption: str) -> str:
    return f'<figure><div class="wide">{svg}</div><figcaption>{escape(caption)}</figcaption></figure>\n'


def disclosure(summary: str, *parts: str) -> str:
    """Parts that stay closed until the reader opens them."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>\n"


def code(text: str) -> str:
    return f"<pre>{escape(text)}</pre>\n"


def table(frame: pl.DataFrame, caption: str = "") -> str:
    """A frame as a table, numbers to the right; it scrolls by itself where it is wider than the page."""
    classes = [_column_class(frame[name]) for name in frame.columns]
    head = "".join(f'<th scope="col"{shape}>{escape(name)}</th>' for name, shape in zip(frame.columns, classes, strict=True))
    rows = "".join(
        "<tr>" + "".join(f"<td{shape}>{_cell(value)}</td>" for value, shape in zip(row, classes, strict=True)) + "</tr>\n"
        for row in frame.iter_rows()
    )
    heading = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{heading}<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n'


def _column_class(column: pl.Series) -> str:
    if column.dtype.is_numeric():
        return ' class="number"'
    if column.dtype == pl.String and (column.str.len_chars().max() or 0) > _LONG_TEXT:  # type: ignore[operator]
        return ' class="long"'
    return ""


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if value == value else "–"
    return escape(value)
