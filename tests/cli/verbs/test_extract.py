"""Flags of `actlas extract`: every option of a run, under the names it always had."""

from __future__ import annotations

import pytest

from actlas.cli import parser, run
from actlas.cli.arguments import declared_values
from actlas.extract.options import ExtractOptions
from actlas.names import TokenSample
from actlas.options import declared

COMMAND = ["extract", "model", "--corpus", "c", "--store", "s"]


def options(*arguments: str) -> ExtractOptions:
    return ExtractOptions(**declared_values(parser().parse_args([*COMMAND, *arguments]), ExtractOptions))


def test_without_flags_the_defaults_are_those_of_the_function() -> None:
    assert declared_values(parser().parse_args(COMMAND), ExtractOptions) == {}
    assert options() == ExtractOptions()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--site", "mlp_pre", "--site", "x=a.{layer}:input"], {"sites": ("mlp_pre", "x=a.{layer}:input")}),
        (["--pooling", "mean"], {"pooling": "mean"}),
        (["--dtype", "bfloat16"], {"dtype": "bfloat16"}),
        (["--backend", "vllm"], {"backend": "vllm"}),
        (["--tensor-parallel", "2"], {"tensor_parallel": 2}),
        (["--steps", "1,2", "--step", "30"], {"steps": (1, 2, 30)}),
        (["--revisions", "a*, b", "--revisions", "c"], {"revisions": ("a*", "b", "c")}),
        (["--duplicates", "skip", "--broken", "refuse"], {"duplicates": "skip", "broken": "refuse"}),
        (["--max-tokens", "64", "--over-long", "drop"], {"max_tokens": 64, "over_long": "drop"}),
        (["--special-tokens", "run", "--tokenizer", "folder"], {"special_tokens": "run", "tokenizer": "folder"}),
        (["--device", "cuda:1"], {"device": "cuda:1"}),
        (["--devices", "cpu,cpu"], {"devices": ("cpu", "cpu")}),
        (["--dask", "local:2"], {"dask": "local:2"}),
        (["--part", "2/8"], {"part": (2, 8)}),
        (["--compute-dtype", "autocast-bfloat16"], {"compute_dtype": "autocast-bfloat16"}),
        (["--tokens-per-batch", "99", "--texts-per-block", "16"], {"tokens_per_batch": 99, "texts_per_block": 16}),
        (["--value-memory", "1.5"], {"value_bytes": 1_500_000_000}),
        (["--state-memory", "2"], {"state_bytes": 2_000_000_000}),
        (["--token-sample", "2"], {"token_sample": TokenSample(per_text=2)}),
        (["--seed", "3", "--token-choice", "word"], {"token_sample": TokenSample(seed=3, choice="word")}),
        (["--token-sites", "resid"], {"token_sample": TokenSample(sites=("resid",))}),
        (["--seed", "0"], {}),
        (["--stats-only"], {"stats_only": True}),
        (["--stats-only", "moments,histogram"], {"stats_only": ("moments", "histogram")}),
        (["--count-threshold=-1,0.5"], {"count_threshold": (-1.0, 0.5)}),
        (
            ["--stats-only", "moments,histogram", "--active-threshold", "0.5", "--range-texts", "64", "--range-seed", "1"],
            {"stats_only": ("moments", "histogram"), "active_threshold": 0.5, "range_texts": 64, "range_seed": 1},
        ),
        (["--loss-texts", "8", "--fidelity-texts", "0"], {"loss_texts": 8, "fidelity_texts": 0}),
        (["--calibration-texts", "0", "--trust-remote-code"], {"calibration_texts": 0, "trust_remote_code": True}),
        (["--remove-downloads"], {"removes_downloads": True}),
        (["--no-disk-check", "--no-sync"], {"checks_disk": False, "syncs": False}),
        (["--no-proofs"], {"proves_sites": False}),
        (["--count-sites", "mlp_up"], {"count_sites": ("mlp_up",)}),
        (["--threads", "2"], {"n_threads": 2}),
    ],
)
def test_a_flag_is_an_option(arguments: list[str], expected: dict[str, object]) -> None:
    assert options(*arguments) == ExtractOptions(**expected)


def test_every_option_has_a_flag_with_its_help() -> None:
    (verbs,) = [action.choices for action in parser()._actions if action.dest == "verb"]
    actions = {action.dest: action for action in verbs["extract"]._actions}
    for name, _, about in declared(ExtractOptions):
        for dest, said in [(f"{name}.{part}", part_said) for part, part_said in about.parts.items()] or [(name, about)]:
            assert said.help in (actions[dest].help or "")


@pytest.mark.parametrize(
    ("given", "kinds"),
    [([], ()), (["--stats-only"], ("counts",)), (["--stats-only", "moments,histogram"], ("moments", "histogram"))],
)
def test_kinds_of_states_are_named_after_stats_only(given: list[str], kinds: tuple[str, ...]) -> None:
    assert options(*given).state_kinds == kinds


def test_thresholds_of_counts_are_a_list_of_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert options().count_thresholds == (0.0,)
    assert options("--count-threshold=-1,0.5").count_thresholds == (-1.0, 0.5)
    with pytest.raises(SystemExit):
        options("--count-threshold", "much")
    assert "invalid list of float value: 'much'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["--pooling", "most"], 2, "invalid choice: 'most'"),
        (["--part", "3"], 2, "expected I/N such as 2/8, got '3'"),
        (["--part", "3/2"], 1, "actlas: there is no part 3 of 2; parts are numbered from 1\n"),
        (["--devices", "cpu", "--dask", "local:2"], 1, "choose devices or dask, not both"),
        (["--max-tokens", "0"], 1, "actlas: max_tokens must be at least 1, not 0\n"),
        (["--stats-only", "sums"], 1, "stats_only 'sums' is not known; choose one of counts, moments, histogram"),
    ],
)
def test_what_is_not_allowed_is_said_in_one_line(
    arguments: list[str], status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, *arguments]) == status
    assert line in capsys.readouterr().err
