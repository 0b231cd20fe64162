"""Malformed arguments and inputs over all verbs: each is one clear line, a status that is not 0, and nothing written.

Arguments are split at spaces. ``{store}`` is a store with scores, kept experts (k = 5) and language neurons; ``{corpus}`` a
corpus; ``{model}`` a folder that holds no model, which is looked at after all arguments; ``{new}`` a path where nothing is.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from actlas.cli import run
from actlas.testing.planted import planted_store

EXTRACT = "extract {model} --corpus {corpus} --store {new}"
#: Flags of extract -> what is said of them.
EXTRACT_FLAGS = {
    "--max-tokens -1": "max_tokens must be at least 1, not -1",
    "--max-tokens 0": "max_tokens must be at least 1, not 0",
    "--max-tokens 2.5": "invalid int value: '2.5'",
    "--max-tokens 99999999999999999999": "max_tokens must be at least 1 and at most 2,147,483,647",
    "--max-tokens many": "invalid int value: 'many'",
    "--tokens-per-batch 0": "tokens_per_batch must be at least 1, not 0",
    "--tokens-per-batch -1": "tokens_per_batch must be at least 1",
    "--texts-per-block 0": "texts_per_block must be at least 1, not 0",
    "--texts-per-block -3": "texts_per_block must be at least 1, not -3",
    "--token-sample -1": "token_sample.per_text must be at least 0, not -1",
    "--token-sample 9999999999": "token_sample.per_text must be at least 0 and at most",
    "--seed -1": "token_sample.seed must be at least 0, not -1",
    "--seed 4294967296": "token_sample.seed must be at least 0 and at most",
    "--token-choice some": "invalid choice: 'some'",
    "--token-sites ''": "names nothing",
    "--token-sites ,": "names nothing",
    "--loss-texts -1": "loss_texts must be at least 0, not -1",
    "--fidelity-texts -1": "fidelity_texts must be at least 0, not -1",
    "--calibration-texts -2": "calibration_texts must be at least 0, not -2",
    "--value-memory 0": "value_bytes must be at least 1, not 0",
    "--value-memory -1": "value_bytes must be at least 1",
    "--value-memory nan": "needs a finite number, not nan",
    "--value-memory inf": "needs a finite number, not inf",
    "--value-memory 1e300": "needs a finite number, not 1e300",
    "--value-memory 1e30": "value_bytes must be at least 1 and at most",
    "--state-memory 0 --stats-only": "state_bytes must be at least 1, not 0",
    "--threads 0": "n_threads must be at least 1, not 0",
    "--threads -4": "n_threads must be at least 1",
    "--steps -5": "steps must be at least 0, not -5",
    "--steps 1,-5": "steps must be at least 0, not -5",
    "--steps ''": "names nothing",
    "--steps 1,b": "invalid list of int value: '1,b'",
    "--steps 99999999999999999999": "steps must be at least 0 and at most",
    "--dtype ''": "is empty",
    "--dtype float8": "dtype 'float8' is not known; choose one of auto, float16, bfloat16, float32",
    "--dtype float16,float32": "dtype 'float16,float32' is not known",
    "--dtype resid=": "expected one word, or NAME=WORD,...",
    "--dtype =float32": "expected one word, or NAME=WORD,...",
    "--dtype resid=float32,mlp_pre": "expected one word, or NAME=WORD,...",
    "--dtype float16,resid=float32": "expected one word, or NAME=WORD,...",
    "--dtype resid=float8": "dtype of resid 'float8' is not known",
    "--dtype resid=float32,resid=float16": "names something twice",
    "--dtype resid=float32 --dtype resid=float16": "one word for all, or each name once",
    "--dtype float16 --dtype resid=float32": "one word for all, or each name once",
    "--dtype float16 --dtype float32": "one word for all, or each name once",
    "--tensor-parallel 0": "tensor_parallel must be at least 1, not 0",
    "--range-texts 0 --stats-only histogram": "range_texts must be at least 1, not 0",
    "--range-seed -1 --stats-only histogram": "range_seed must be at least 0, not -1",
    "--range-texts 8": "range_texts is about histogram, and here cubes are kept",
    "--range-seed 8 --stats-only": "range_seed is about histogram, and here stats_only keeps counts",
    "--active-threshold 0.5": "active_threshold is about moments, and here cubes are kept",
    "--active-threshold 0.5 --stats-only histogram": "active_threshold is about moments, and here stats_only keeps histogram",
    "--active-threshold nan --stats-only moments": "active_threshold needs a finite number, not nan",
    "--active-threshold inf --stats-only moments": "active_threshold needs a finite number, not inf",
    "--active-threshold 1e39 --stats-only moments": "active_threshold must be at least -3.4e+38 and at most 3.4e+38",
    "--count-threshold nan": "count_threshold needs a finite number, not nan",
    "--count-threshold ''": "names nothing",
    "--count-threshold 1,x": "invalid list of float value",
    "--count-sites ''": "names nothing",
    "--stats-only sums": "stats_only 'sums' is not known; choose one of counts, moments, histogram",
    "--stats-only ''": "names nothing",
    "--stats-only --token-choice all": "stats_only keeps no token vectors",
    "--stats-only --token-sample 2": "stats_only keeps no token vectors",
    "--devices ''": "names nothing",
    "--devices meta": "no device 'meta'; choose cpu, cuda, cuda:N or auto",
    "--devices cpu,tape": "no device 'tape'",
    "--devices cpu --device cpu": "device cpu is one, devices are several (cpu)",
    "--devices cpu --part 1/2": "choose devices or a part, not both",
    "--devices cpu --dask local:2": "choose devices or dask, not both",
    "--devices cpu --remove-downloads": "would take files from processes",
    "--part 1/2 --dask local:2": "choose dask or a part, not both",
    "--device meta": "no device 'meta'; choose cpu, cuda, cuda:N or auto",
    "--device cuda:x": "no device 'cuda:x'",
    "--device CPU": "no device 'CPU'",
    "--device ''": "device is empty",
    "--part 0/2": "there is no part 0 of 2",
    "--part 3/2": "there is no part 3 of 2",
    "--part 2": "expected I/N such as 2/8, got '2'",
    "--part -1/2": "expected",
    "--part a/b": "expected I/N such as 2/8, got 'a/b'",
    "--dask ''": "dask is empty",
    "--backend ''": "backend is empty",
    "--backend onnx": "no extraction backend 'onnx'",
    "--tokenizer ''": "tokenizer is empty",
    "--site ''": "sites is empty",
    "--site mlp_per": "mlp_per",
    "--site x=": "site 'x' was given as ''",
    "--dtype int8": "dtype 'int8' is not known; choose one of auto, float16, bfloat16, float32",
    "--pooling median": "invalid choice: 'median'",
    "--over-long cut": "invalid choice: 'cut'",
    "--drop-languages": "drops_languages is about texts that over_long='drop' leaves out",
    "--broken maybe": "invalid choice: 'maybe'",
    "--revisions ''": "names nothing",
    "--frobnicate": "unrecognized arguments: --frobnicate",
    "--max-tokens": "expected one argument",
}

ASKED = {
    "experts {store} --k 0": "k must be at least 1, not 0",
    "experts {store} --k -5": "k must be at least 1, not -5",
    "experts {store} --k 100000": "k = 100000 (after 0) does not fit",
    "experts {store} --k 99999999999": "k must be at least 1 and at most",
    "experts {store} --k many": "invalid int value: 'many'",
    "experts {store} --k nan": "invalid int value: 'nan'",
    "experts {store} --k 3 --rows -1": "must be at least 0, not -1",
    "experts {store} --k 3 --rows many": "invalid int value: 'many'",
    "experts {store} --k 3 --language xx": "no language 'xx' in",
    "experts {store} --k 3 --language ''": "is empty",
    "experts {store} --k 3 --concept watr": "did you mean 'water'?",
    "experts {store} --k 3 --concept ''": "is empty",
    "experts {store} --k 3 --site mlp_per": "mlp_per",
    "experts {store} --k 3 --site ''": "is empty",
    "experts {store} --k 3 --checkpoint planted-step46": "did you mean 'planted-step64'?",
    "experts {store} --k 3 --checkpoint ''": "is empty",
    "experts {store} --k 3 --checkpoint planted-step0 --checkpoint planted-step0": "a checkpoint is named twice",
    "experts {store} --k 3 --no-keep --replace": "--replace replaces what --no-keep does not keep",
    "experts {store} --k 3 --format xml": "invalid choice: 'xml'",
    "experts {store} --k 3 --safe": "--safe is about CSV",
    "experts {store} --k 3 --out ''": "is empty",
    "experts {new}": "no actlas store",
    "experts {corpus}": "no actlas store",
    "experts": "the following arguments are required: store",
    "overlap {store} --k 0": "k must be at least 1, not 0",
    "overlap {store} --k 5 --seed -1": "seed must be at least 0, not -1",
    "overlap {store} --k 5 --seed 1.5": "invalid int value: '1.5'",
    "overlap {store} --k 5 --controls --no-halves": "--no-halves says nothing with --controls",
    "overlap {store} --k 5 --language xx": "no language 'xx'",
    "overlap {store} --k 5 --checkpoint nope": "no checkpoint 'nope'",
    "lape {store} --share 0": "share must be above 0 and at most 1, not 0.0",
    "lape {store} --share -0.5": "share must be above 0 and at most 1, not -0.5",
    "lape {store} --share 2": "share must be above 0 and at most 1, not 2.0",
    "lape {store} --share nan": "share needs a finite number, not nan",
    "lape {store} --share half": "invalid float value: 'half'",
    "lape {store} --bar-quantile -0.1": "bar_quantile must be at least 0 and at most 1, not -0.1",
    "lape {store} --bar-quantile 1.1": "bar_quantile must be at least 0 and at most 1, not 1.1",
    "lape {store} --bar-quantile inf": "bar_quantile needs a finite number, not inf",
    "lape {store} --threshold nan": "threshold needs a finite number, not nan",
    "lape {store} --threshold 0.25": "0.25",
    "lape {store} --site attn_out": "attn_out",
    "lape {store} --site nope": "nope",
    "lape {store} --site ''": "is empty",
    "neuron-sets {store}": "KIND",
    "neuron-sets import {store} {new} --name x": "--languages",
    "neuron-sets import {store} {new} --name x --languages en": "cannot be read: No such file",
    "neuron-sets import {store} {corpus} --name x --languages en": "Is a directory",
    "neuron-sets import {store} {corpus}/texts.parquet --name x --languages en": "no file of tensors",
    "neuron-sets import {store} {new} --name '' --languages en": "is empty",
    "neuron-sets import {store} {new} --name lape --languages en": "sets cannot be called 'lape'",
    "neuron-sets overlap {store} --share 0": "share must be above 0 and at most 1, not 0.0",
    "neuron-sets overlap {store} --checkpoint nope": "no checkpoint 'nope'",
    "trajectory {store} --k 0": "k must be at least 1, not 0",
    "trajectory {store} --k 5 --min-languages -1": "min_languages must be at least 1, not -1",
    "trajectory {store} --k 5 --min-languages 0": "min_languages must be at least 1, not 0",
    "trajectory {store} --k 5 --min-languages 99": "min_languages = 99, but the corpus",
    "trajectory {store} --k 5 --stability --first": "--first says nothing with --stability",
    "trajectory {store} --k 5 --stability --min-languages 2": "--min-languages says nothing with --stability",
    "trajectory {store} --k 5 --stability --checkpoint planted-step0": "--checkpoint says nothing with --stability",
    "trajectory {store} --k 5 --language en": "--language says nothing without --neuron or --stability",
    "trajectory {store} --k 5 --stat ap": "--stat says nothing without --neuron",
    "trajectory {store} --neuron mlp_pre/0/1 --k 5": "--k says nothing with --neuron",
    "trajectory {store} --neuron mlp_pre/0/1 --first": "--first says nothing with --neuron",
    "trajectory {store} --neuron mlp_pre/0/1 --stability": "--stability says nothing with --neuron",
    "trajectory {store} --neuron mlp_pre/0/1 --site mlp_pre": "--site says nothing with --neuron",
    "trajectory {store} --neuron mlp_pre/0/1 --stat nope": "statistic 'nope'",
    "trajectory {store} --neuron mlp_pre/0/99999": "no neuron 99999 in layer 0",
    "trajectory {store} --neuron mlp_pre/9/1": "no neuron 1 in layer 9",
    "trajectory {store} --neuron mlp_pre/0/99999999999999999999": "neuron must be at least 0 and at most",
    "trajectory {store} --neuron nope/0/1": "nope",
    "trajectory {store} --neuron mlp_pre": "expected SITE/LAYER/NEURON such as mlp_pre/3/117",
    "trajectory {store} --neuron mlp_pre/-1/0": "expected SITE/LAYER/NEURON",
    "probe {store} --seeds 0": "must be at least 1, not 0",
    "probe {store} --seeds -2": "must be at least 1, not -2",
    "probe {store} --seeds 1.5": "invalid int value: '1.5'",
    "probe {store} --c 0": "c must be above 0, not 0.0",
    "probe {store} --c -1": "c must be above 0, not -1.0",
    "probe {store} --c nan": "c needs a finite number, not nan",
    "probe {store} --label ''": "is empty",
    "probe {store} --label nope": "nope",
    "probe {store} --site nope": "nope",
    "top-texts {store} --neuron mlp_pre/0/1 --n -1": "n must be at least 1, not -1",
    "top-texts {store} --neuron mlp_pre/0/1 --n 0": "n must be at least 1, not 0",
    "top-texts {store} --neuron mlp_pre/0/1 --n 500": "n = 500, but the corpus",
    "top-texts {store} --neuron mlp_pre/0/1 --site mlp_pre": "--site says nothing with --neuron",
    "top-texts {store} --neuron mlp_pre/0/1 --checkpoint nope": "no checkpoint 'nope'",
    "top-texts {store} --neuron mlp_pre/0/99999": "no neuron 99999",
    "top-texts {store} --neuron nope/0/1": "nope",
    "top-texts {store} --site mlp_pre --n 0": "n must be at least 1, not 0",
    "top-texts {store} --site mlp_pre --n 500": "n = 500, but the corpus",
    "top-texts {store} --site nope": "nope",
    "top-texts {store} --site ''": "is empty",
    "top-texts {store}": "name one neuron (--neuron mlp_pre/3/117), a group",
    "score {store} --stats nope": "statistic 'nope' is not known",
    "score {store} --stats ''": "names nothing",
    "score {store} --threshold nan": "threshold needs a finite number, not nan",
    "score {store} --threshold many": "invalid float value: 'many'",
    "score {store} --checkpoint nope": "no checkpoint 'nope'",
    "score {store} --site nope": "nope",
    "score {store} --backend tpu": "invalid choice: 'tpu'",
    "score {new}": "no actlas store",
    "sql {store} ''": "there is no query",
    "sql {store} 'SELEC 1'": "SELEC",
    "sql {store} 'FROM nope'": "no table nope",
    "sql {store} 'SELECT nope FROM texts'": "nope",
    "sql {store} 'FROM probe'": "table probe was not computed yet: actlas probe",
    "sql {store} 'DELETE FROM texts'": "refused",
    "sql {store} 'SELECT 1; SELECT 2'": "there is a second statement",
    "sql {store} 'SELECT * FROM read_csv(1)'": "may reach outside the store",
    "sql {store} 'SELECT 1' --rows -1": "must be at least 0, not -1",
    "sql {store} 'SELECT 1' --safe --format json": "--safe is about CSV",
    "sql {store} 'SELECT 1' --format csv --out {corpus}": "Is a directory",
    "sql {store} 'SELECT 1' --format csv --out {new}/x.csv": "No such file or directory",
    'sql {store} "FROM best_experts(1, 2, 3)"': "checkpoint must be a string, not 1",
    "sql {new} 'SELECT 1'": "no actlas store",
    "info {new}": "no actlas store",
    "info {store} --checkpoint nope": "nope",
    "info": "required: store",
    "verify {new}": "no actlas store",
    "upgrade {new}": "no actlas store",
    "report {store} {store} --out {new}": "two stores are called s",
    "report =x --out {new}": "expected [LABEL=]PATH, got '=x'",
    "report a= --out {new}": "expected [LABEL=]PATH, got 'a='",
    "report {new} --out {new}": "no actlas store",
    "report {store}": "required: --out",
    "demo --seed -1 --out {new}": "must be at least 0, not -1",
    "demo --seed x --out {new}": "invalid int value: 'x'",
    "demo --condition both --out {new}": "invalid choice: 'both'",
    "corpus import {new} --out {new}": "cannot tell what this file is",
    "corpus import {new}.csv --out {new}": "new.csv",
    "corpus import {corpus} --out {new}": "",
    "corpus parallel eng --out {new}": "expected LANGUAGE=FILE, got 'eng'",
    "corpus parallel =x --out {new}": "expected LANGUAGE=FILE, got '=x'",
    "corpus parallel a=x a=y --out {new}": "'a' is given twice",
    "corpus concepts a= --out {new}": "expected LANGUAGE=FOLDER, got 'a='",
    "corpus info {new}": "",
    "corpus": "required: KIND",
    "frobnicate": "invalid choice: 'frobnicate'",
    "": "required: VERB",
}

#: Name and contents of a file -> what `corpus import` says of it.
FILES: dict[str, tuple[str | bytes, str]] = {
    "empty.csv": ("", ""),
    "header.csv": ("text,language\n", ""),
    "no_text.csv": ("language,water\nen,1\n", "text"),
    "label.csv": ("text,language,water\na,en,2\n", "water"),
    "list_text.jsonl": ('{"text": ["a"], "language": "en"}\n', ""),
    "list_language.jsonl": ('{"text": "a", "language": ["en"]}\n', ""),
    "list_concept.jsonl": ('{"text": "a", "language": "en", "water": [1]}\n', ""),
    "mixed_concept.jsonl": (
        '{"text": "a", "language": "en", "c": true}\n{"text": "b", "language": "en", "c": [1]}\n',
        "",
    ),
    "object_text.jsonl": ('{"text": {"a": 1}, "language": "en"}\n', ""),
    "array.jsonl": ('["a", "en"]\n', ""),
    "number.jsonl": ("3\n", ""),
    "cut.jsonl": ('{"text": "a", "langu', "line 1"),
    "twice.jsonl": ('{"text": "a", "text": "b", "language": "en"}\n', "twice"),
    "nested.jsonl": ('{"text": "a", "language": "en", "water": ' + "[" * 900 + "]" * 900 + "}\n", ""),
    "deep.json": ("[" * 100_000, ""),
    "cut.json": ('[{"text": "a"', ""),
    "null.json": ("null", ""),
    "latin.csv": ("text,language\ncaf\xe9,en\n".encode("latin-1"), ""),
    "utf16.csv": ("text,language\na,en\n".encode("utf-16"), ""),
    "garbage.parquet": (b"PAR1 this is no table PAR1", ""),
    "cut.parquet": (b"PAR1", ""),
    "quote.csv": ('text,language\n"open,en\n' * 16, ""),
    "long_row.csv": ("text,language\na,en,b,c\n", ""),
    "empty_concept.csv": ("text,language,\na,en,1\n", ""),
    "double_header.csv": ("text,language,c,c\na,en,1,0\n", ""),
    "blank.csv": ("text,language\n ,en\n", ""),
    "folder.xyz": ("a", ""),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("malformed")
    store = planted_store(root / "s.actlas")
    written = ["--format", "csv", "--out", str(root / "o")]
    for verb, *rest in (["score"], ["experts", "--k", "5", *written], ["lape", *written]):
        assert run(["--quiet", verb, str(store), *rest]) == 0
    (root / "model").mkdir()
    texts = root / "texts.csv"
    texts.write_text("text,language,water\na b c,en,1\nd e f,en,0\n")
    assert run(["corpus", "import", str(texts), "--out", str(root / "corpus")]) == 0
    return {"root": root, "store": store, "model": root / "model", "corpus": root / "corpus", "new": root / "new"}


def contents(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*")}


def refused(arguments: list[str], message: str, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = contents(root)
    capfd.readouterr()
    status = run(arguments)
    said = capfd.readouterr()
    assert status in (1, 2), said
    assert said.out == ""
    assert said.err.startswith("actlas"), said.err
    assert said.err.count("\n") == 1, said.err
    assert len(said.err) < 1500, said.err
    assert message in said.err, said.err
    assert "unexpected" not in said.err
    assert contents(root) == before


def lines() -> Iterator[tuple[str, str]]:
    yield from ((f"{EXTRACT} {flag}", message) for flag, message in EXTRACT_FLAGS.items())
    yield from ASKED.items()


@pytest.mark.parametrize(("line", "message"), list(lines()), ids=[line for line, _ in lines()])
def test_an_argument(line: str, message: str, places: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    refused(shlex.split(line.format(**places)), message, places["root"], capfd)


@pytest.mark.parametrize("name", FILES)
def test_a_file(name: str, places: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, message = FILES[name]
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    refused(["corpus", "import", str(tmp_path / name), "--out", str(tmp_path / "out")], message, tmp_path, capfd)


def test_there_are_many() -> None:
    assert len(list(lines())) + len(FILES) >= 230
