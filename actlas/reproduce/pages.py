"""A reproduction as a folder: a page in HTML and in Markdown, a file for each figure and table, the verdicts as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from actlas.report.html import bullets, code, disclosure, document, figure, paragraph, section, table
from actlas.reproduce.drawing import draw, standalone
from actlas.reproduce.gather import Answer
from actlas.reproduce.verdicts import CRITERION

#: Rows of a table that a page shows; its file has all.
_MOST_ROWS = 40


def write_pages(folder: Path, name: str, title: str, about: Sequence[str], parts: Sequence[tuple[str, Sequence[Answer]]]) -> Path:
    """Write the pages; the same answers give the same bytes.

    Args:
        folder: Made where missing.
        name: Of the pages' files, and what the others begin with.
        title: Heading of the pages.
        about: Paragraphs under it.
        parts: Heading and answers of each part.

    Returns:
        The page in HTML.
    """
    (folder / name).mkdir(parents=True, exist_ok=True)
    body, lines = [], [f"# {title}", ""]
    for text in (*about, CRITERION):
        body.append(paragraph(text))
        lines += [text, ""]
    verdicts = pl.DataFrame([row for _, answers in parts for answer in answers for row in _verdict_rows(answer)])
    if not verdicts.is_empty():
        body.append(table(verdicts.select("figure", "finding", "verdict"), "Findings"))
        lines += [*_markdown_table(verdicts.select("figure", "finding", "verdict")), ""]
    for heading, answers in parts:
        if len(parts) > 1:
            lines += [f"## {heading}", ""]
        shown = [_section(folder, name, answer) for answer in answers]
        body += [
            section(f"{heading}: {answer.figure.title}" if len(parts) > 1 else answer.figure.title, *html)
            for answer, (html, _) in zip(answers, shown, strict=True)
        ]
        lines += [line for _, markdown in shown for line in markdown]
    _write(
        folder / f"{name}.json",
        json.dumps([_as_json(heading, answer) for heading, answers in parts for answer in answers], indent=1) + "\n",
    )
    _write(folder / f"{name}.md", "\n".join(lines).rstrip("\n") + "\n")
    page = folder / f"{name}.html"
    _write(page, document(title, "".join(body)))
    return page


def figure_word(answer: Answer) -> str:
    """One word for a figure: pass where all its findings do, fail where one does, else not shown; "" where there is none."""
    words = {verdict.word for verdict in answer.verdicts}
    if not words:
        return ""
    return "fail" if "fail" in words else "not shown" if "not shown" in words else "pass"


def _verdict_rows(answer: Answer) -> list[dict[str, str]]:
    return [
        {"figure": answer.figure.name, "finding": verdict.claim.text, "verdict": verdict.word, "why": verdict.sentence}
        for verdict in answer.verdicts
    ]


def _section(folder: Path, name: str, answer: Answer) -> tuple[list[str], list[str]]:
    """The figure in HTML and in Markdown; its files are written."""
    asked = answer.figure
    sentences = [f"{verdict.word}: {verdict.claim.text} {_capital(verdict.sentence)}" for verdict in answer.verdicts]
    html = [paragraph(asked.text), bullets(sentences)]
    lines = [f"### {asked.title}", "", asked.text, ""]
    lines += [f"- **{verdict.word}**: {verdict.claim.text} {_capital(verdict.sentence)}" for verdict in answer.verdicts]
    lines += [""] if answer.verdicts else []
    if answer.missing:
        html.append(paragraph(f"Not there: {answer.missing}"))
        lines += [f"Not there: {answer.missing}", ""]
    if answer.sides:
        svg = draw(answer, " ".join(sentences) or asked.text)
        _write(folder / name / f"{asked.name}.svg", standalone(svg))
        rows = _rows(answer)
        _write(folder / name / f"{asked.name}.csv", rows.write_csv(float_precision=6))
        html.append(figure(svg, asked.text))
        html.append(disclosure("Numbers of this figure", table(rows, asked.title)))
        lines += [f"![{asked.title}]({name}/{asked.name}.svg)", "", f"Numbers: [{asked.name}.csv]({name}/{asked.name}.csv).", ""]
        lines += [*_markdown_table(_last(rows)), ""]
    queries = [asked.sql, *(claim.sql for claim in asked.claims)]
    html.append(disclosure("SQL", *(code(query) for query in queries)))
    lines += ["<details><summary>SQL</summary>", "", *(f"```sql\n{query}\n```\n" for query in queries), "</details>", ""]
    return html, lines


def _rows(answer: Answer) -> pl.DataFrame:
    """All points of a figure, both sides."""
    frames = [
        frame.select(pl.lit(side).alias("side"), "panel", "series", "step", "value", "low", "high", "n_runs")
        for side, frame in answer.sides.items()
    ]
    return pl.concat(frames)


def _last(rows: pl.DataFrame) -> pl.DataFrame:
    """Value and interval of each line at the last step, the sides beside each other."""
    sides = rows["side"].unique(maintain_order=True).to_list()
    ends = rows.group_by("side", "panel", "series", maintain_order=True).last()
    step = ends["step"][-1]
    said = ends.with_columns(pl.struct("value", "low", "high").map_elements(_with_interval, return_dtype=pl.String).alias("said"))
    wide = said.pivot("side", index=["panel", "series"], values="said", maintain_order=True).fill_null("–")
    shown = wide.rename({side: f"{side}, step {step}" for side in sides}).head(_MOST_ROWS)
    return shown.drop("panel") if set(rows["panel"]) == {""} else shown


def _with_interval(point: dict[str, float | None]) -> str:
    value, low, high = (point[name] for name in ("value", "low", "high"))
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _as_json(heading: str, answer: Answer) -> dict[str, Any]:
    return {
        "part": heading,
        "figure": answer.figure.name,
        "word": figure_word(answer),
        "missing": answer.missing,
        "claims": [
            {"finding": verdict.claim.text, "verdict": verdict.word, "why": verdict.sentence, "sql": verdict.claim.sql}
            for verdict in answer.verdicts
        ],
        "sql": answer.figure.sql,
    }


def _markdown_table(frame: pl.DataFrame) -> list[str]:
    rows = [frame.columns, ["--"] * frame.width, *([_cell(value) for value in row] for row in frame.iter_rows())]
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
