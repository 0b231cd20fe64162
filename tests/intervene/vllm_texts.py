"""A process with one vLLM engine, for a process can have no second one: what it writes under each table of a file, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl

from tests.intervene.recipes import recipe


def main(job: Path) -> None:
    asked = json.loads(job.read_text())
    code = recipe("vllm", job.parent)
    engine = code.engine_of(asked["folder"], dtype="float32", max_model_len=64, max_num_seqs=8, skip_tokenizer_init=True)
    schema = {"module": pl.String, "side": pl.String, "column": pl.Int64, "value": pl.Float64}
    tables = [pl.DataFrame(rows, schema=schema, orient="row") for rows in asked["tables"]]
    texts = [code.steered_by_vllm(engine, table, asked["prompts"], asked["n_new"]) for table in tables]
    (job.parent / "texts.json").write_text(json.dumps(texts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
