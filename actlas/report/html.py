"""HTML of the report: escaping, tables, figures, and the page with its style."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from actlas.report.style import STYLE
from actlas.words import printable

_LONG_TEXT = 40
_ENDS_SCRIPT = re.compile("</script|<!--", re.IGNORECASE)
#: A heading of a section, as `section` writes it, and what cannot stand in its name.
_SECTION = re.compile('<h2 id="([^"]*)">(.*?)</h2>')
_NO_NAME = re.compile(r"[^a-z0-9]+")


def escape(text: object) -> str:
    """`text` with the characters that HTML reads as markup written out, and those that nothing shows made visible."""
    lines = str(text).split("\n")
    return html.escape("\n".join(printable(line) for line in lines))


def document(title: str, body: str, script: str = "") -> str:
    """A whole page, which asks nothing of a network and lets no script run but its own.

    Args:
        title: Heading of the page.
        body: What stands below it; a list of contents leads to its sections.
        script: An ES module; "" for none.

    Raises:
        ValueError: If the script holds what ends a script in a page.
    """
    if _ENDS_SCRIPT.search(script):
        raise ValueError("a script that holds </script or <!-- ends itself in a page")
    scripts = f"'sha256-{_digest(script)}'" if script else "'none'"
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src 'sha256-{_digest(STYLE)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    contents = "".join(f'<li><a href="#{name}">{heading}</a></li>\n' for name, heading in _SECTION.findall(body))
    return (
        '<!doctype html>\n<html lang="en" class="actlas-page">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        '<body class="actlas">\n<a class="skip" href="#content">Skip to the content</a>\n'
        f"<header>\n<h1>{escape(title)}</h1>\n{_THEMES}</header>\n"
        + (f'<nav class="contents" aria-label="Contents">\n<ol>\n{contents}</ol>\n</nav>\n' if contents else "")
        + f'<main id="content" tabindex="-1">\n{body}\n</main>\n'
        + (f'<script type="module">{script}</script>\n' if script else "")
        + "</body>\n</html>\n"
    )


#: Works without a script: the style asks which one is checked.
_THEMES = (
    '<fieldset class="themes"><legend>Colours</legend>'
    + "".join(
        f'<label><input type="radio" name="theme" value="{name}"{" checked" if name == "auto" else ""}> {name}</label>'
        for name in ("auto", "light", "dark")
    )
    + "</fieldset>\n"
)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def name_of(heading: str) -> str:
    """What a link to a section calls it.

    Example:
        >>> name_of("Do languages share their experts?")
        'do-languages-share-their-experts'
    """
    return _NO_NAME.sub("-", heading.lower()).strip("-")


def section(heading: str, *parts: str) -> str:
    name = name_of(heading)
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{escape(heading)}</h2>\n{"".join(parts)}\n</section>\n'


def heading(text: str) -> str:
    return f"<h3>{escape(text)}</h3>\n"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>\n"


def bullets(texts: Sequence[str]) -> str:
    return "<ul>\n" + "".join(f"<li>{escape(text)}</li>\n" for text in texts) + "</ul>\n" if texts else ""


def figure(svg: str, caption: str, *parts: str, name: str = "", data: Mapping[str, Any] | None = None) -> str:
    """A drawing with what belongs to it.

    Args:
        svg: The drawing; "" where the parts say it.
        caption: What is seen.
        parts: Tables and queries behind it.
        name: What the page's script calls it; "" where it leaves it alone.
        data: What the script draws it from, as JSON can hold it.
    """
    drawing = f'<div class="fallback wide">{svg}</div>' if svg else ""
    inlined = f'<script type="application/json">{inline_json(data)}</script>' if data is not None else ""
    named = f' data-actlas="{escape(name)}"' if name else ""
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure{named}>{drawing}{told}\n{''.join(parts)}{inlined}</figure>\n"


def inline_json(data: Any) -> str:
    """JSON that can stand in a page: nothing in it ends a script, begins a comment or breaks a line of a script.

    Example:
        >>> inline_json({"text": "</script><!--"})
        '{"text":"\\\\u003c/script\\\\u003e\\\\u003c!--"}'
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def disclosure(summary: str, *parts: str) -> str:
    """Parts that stay closed until the reader opens them."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>\n"


def code(text: str) -> str:
    return f'<pre tabindex="0">{escape(text)}</pre>\n'


def table(frame: pl.DataFrame, caption: str = "", *, is_headed: bool = False) -> str:
    """A frame as a table, numbers to the right; it scrolls by itself where it is wider than the page.

    Args:
        frame: The rows.
        caption: Names the table.
        is_headed: Whether a heading above says the same: then the caption is only read aloud.
    """
    classes = [_column_class(frame[name]) for name in frame.columns]
    # long names may break between their words
    names = [escape(name).replace("_", "_<wbr>") for name in frame.columns]
    head = "".join(f'<th scope="col"{shape}>{name}</th>' for name, shape in zip(names, classes, strict=True))
    rows = "".join(
        "<tr>" + "".join(f"<td{shape}>{_cell(value)}</td>" for value, shape in zip(row, classes, strict=True)) + "</tr>\n"
        for row in frame.iter_rows()
    )
    shape = ' class="unseen"' if is_headed else ""
    told = f"<caption{shape}>{escape(caption)}</caption>" if caption else ""
    named = f' role="region" aria-label="{escape(caption)}"' if caption else ""
    whole = f"<table>{told}<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table>"
    return f'<div class="wide" tabindex="0"{named}>{whole}</div>\n'


def _column_class(column: pl.Series) -> str:
    if column.dtype.is_numeric():
        return ' class="number"'
    if column.dtype == pl.String and (column.str.len_chars().max() or 0) > _LONG_TEXT:  # type: ignore[operator]
        return ' class="long" dir="auto"'
    return ' dir="auto"' if column.dtype == pl.String else ""


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if value == value else "–"
    return escape(value)
