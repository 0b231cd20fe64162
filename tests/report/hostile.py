"""A report on a corpus that means harm: markup, scripts, terminal codes, marks that turn the direction of writing, formulas."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from actlas.query import expert_overlap, open_store, overlap_controls, score_neurons, top_experts
from actlas.query.schema import TABLES
from actlas.report import Question, write_report
from actlas.store import corpus_from_frames
from actlas.testing import planted

#: What a corpus may hold, whoever wrote it.
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "<img src=x onerror=alert(3)>",
    "&lt;script&gt;alert(4)&lt;/script&gt;",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe\u2066",
    "<!-- </table></main> -->",
    "=HYPERLINK(1)\u2028\x01",
)


def hostile_report(folder: Path) -> Path:
    """Its texts, title, label, questions and steered texts are all hostile."""
    made = planted.planted_corpus

    def corpus(planting):
        whole = made(planting)
        texts = pl.Series("text", [f"{HOSTILE[at % len(HOSTILE)]} {at}" for at in range(whole.n_texts)])
        return corpus_from_frames(whole.texts.drop("source_id").with_columns(texts), whole.labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "planted_corpus", corpus)
        planting = planted.Planting(steps=(0, 64), sharing=(0.0, 1.0), n_groups=16)
        store = open_store(planted.planted_store(folder / "run.actlas", planting), mode="a")
    score_neurons(store, sites=["attn_out", "mlp_pre"], stats=("ap", "median"))
    top_experts(store, k=4)
    expert_overlap(store, k=4)
    overlap_controls(store, k=4, n_repeats=9)
    told = {"checkpoint": "planted-step64", "concept": "salt", "language": "en", "k": 2, "seed": 0, "text_language": "fr"}
    arms = zip(("experts", "none", "random"), HOSTILE, strict=False)
    rows = [{**told, "arm": arm, "text": text, "has_word": arm == "experts"} for arm, text in arms]
    frame = pl.DataFrame(rows).select(
        (pl.col(name) if name in rows[0] else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in TABLES["generations"].columns.items()
    )
    store.publish_table("generations", "planted-step64", frame, {})
    questions = [Question(text, "SELECT text FROM texts ORDER BY text_id LIMIT 16") for text in HOSTILE]
    return write_report({HOSTILE[1]: store}, folder / "r.html", title=HOSTILE[0], about=HOSTILE, questions=questions)
