"""Options of a run: declared once, checked where they are declared."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import msgspec
import pytest

from actlas.errors import BackendUnavailable, ExtractionError, OptionError
from actlas.extract.options import ExtractFields, ExtractOptions
from actlas.names import TokenSample
from actlas.options import declared

#: Something else than the default, for every option.
OTHERS = {
    "sites": ("resid",),
    "pooling": "mean",
    "dtype": "bfloat16",
    "backend": "vllm",
    "tensor_parallel": 2,
    "steps": (1, 2),
    "revisions": ("step*",),
    "duplicates": "skip",
    "broken": "refuse",
    "max_tokens": 64,
    "over_long": "drop",
    "drops_languages": True,
    "special_tokens": "run",
    "tokenizer": "folder",
    "device": "cpu",
    "part": (2, 3),
    "compute_dtype": "float32",
    "tokens_per_batch": 100,
    "texts_per_block": 16,
    "value_bytes": 1 << 20,
    "token_sample": TokenSample(per_text=0, sites=("resid",), choice="word"),
    "count_sites": ("mlp_up",),
    "count_threshold": (-0.5, 1.0),
    "stats_only": ("counts", "moments", "histogram"),
    "active_threshold": 0.5,
    "range_texts": 10,
    "range_seed": 1,
    "state_bytes": 1 << 20,
    "lost_share": 0.5,
    "loss_texts": None,
    "fidelity_texts": 0,
    "calibration_texts": 0,
    "trust_remote_code": True,
    "checks_disk": False,
    "proves_sites": False,
    "describes_weights": False,
    "syncs": False,
    "n_threads": 1,
}


def test_keywords_of_the_function_are_the_fields_of_the_options() -> None:
    assert get_type_hints(ExtractFields) == get_type_hints(ExtractOptions)
    assert ExtractFields.__required_keys__ == frozenset()


def test_every_option_says_what_it_does() -> None:
    for name, _, about in declared(ExtractOptions):
        assert about.help[0].islower() or about.help.startswith("CPU")
        assert f"{name}: {about.help}" in (ExtractOptions.__doc__ or "")


def test_options_go_to_another_process_and_come_back_equal() -> None:
    options = ExtractOptions(**OTHERS)
    assert msgspec.json.decode(msgspec.json.encode(options), type=ExtractOptions) == options
    # those that exclude others of the list
    excluded = {"dask", "devices", "removes_downloads", "random_twin", "twin_seed"}
    assert {field.name for field in dataclasses.fields(options)} - OTHERS.keys() == excluded
    assert all(getattr(options, name) != getattr(ExtractOptions(), name) for name in OTHERS)


def test_sequences_are_kept_as_tuples() -> None:
    assert ExtractOptions(sites=["resid"], steps=[1]) == ExtractOptions(sites=("resid",), steps=(1,))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pooling": "most"}, "pooling 'most' is not known; choose one of max, mean, last, max_with_pad"),
        ({"dtype": "int8"}, "dtype 'int8' is not known; choose one of auto, float16, bfloat16, float32"),
        ({"dtype": {"resid": "int8"}}, "dtype of resid 'int8' is not known; choose one of auto, float16, bfloat16, float32"),
        ({"dtype": {}}, "dtype names nothing; name one or more, or leave it out"),
        ({"dtype": {1: "float16"}}, "dtype must be a string, not 1"),
        ({"compute_dtype": "int8"}, "compute_dtype 'int8' is not known; choose one of auto, float16"),
        ({"duplicates": "no"}, "duplicates 'no' is not known; choose one of flag, skip, refuse"),
        ({"over_long": "cut"}, "over_long 'cut' is not known"),
        ({"special_tokens": "some"}, "special_tokens 'some' is not known"),
        ({"max_tokens": 0}, "max_tokens must be at least 1, not 0"),
        ({"texts_per_block": -1}, "texts_per_block must be at least 1, not -1"),
        ({"fidelity_texts": -1}, "fidelity_texts must be at least 0, not -1"),
        ({"range_texts": 0}, "range_texts must be at least 1, not 0"),
        ({"value_bytes": 0}, "value_bytes must be at least 1"),
        ({"n_threads": 0}, "n_threads must be at least 1"),
        ({"token_sample": TokenSample(per_text=-1)}, "token_sample.per_text must be at least 0, not -1"),
        ({"active_threshold": float("nan")}, "active_threshold needs a finite number, not nan"),
        ({"count_threshold": ()}, "count_threshold names nothing; name one or more, or leave it out"),
        ({"stats_only": ("sums",)}, "stats_only 'sums' is not known; choose one of counts, moments, histogram"),
        ({"sites": "resid"}, "sites takes several values, such as ('resid',), not 'resid'"),
        ({"part": (3, 2)}, "there is no part 3 of 2; parts are numbered from 1"),
        ({"part": (0, 2)}, "there is no part 0 of 2"),
        ({"devices": ("cpu",), "dask": "local:2"}, "choose devices or dask, not both"),
        ({"part": (1, 2), "dask": "local:2"}, "choose dask or a part, not both"),
        ({"tokens_per_batch": 0}, "tokens_per_batch must be at least 1, not 0"),
        ({"max_tokens": 10**40}, "max_tokens must be at least 1 and at most 2,147,483,647, not a number of 41 digits"),
        ({"max_tokens": 10**400}, "at most 2,147,483,647, not a number of 401 digits"),
        ({"max_tokens": 2.5}, "max_tokens must be a whole number, not 2.5"),
        ({"steps": (1, -5)}, "steps must be at least 0, not -5"),
        ({"loss_texts": -1}, "loss_texts must be at least 0, not -1"),
        ({"trust_remote_code": "no"}, "trust_remote_code must be True or False, not 'no'"),
        ({"token_sample": 4}, "token_sample must be TokenSample, not 4"),
        ({"tokenizer": ""}, "tokenizer is empty"),
        ({"sites": ("resid", "")}, "sites is empty"),
        ({"device": "cpu", "devices": ("cpu", "cpu")}, "device cpu is one, devices are several (cpu, cpu); choose one"),
        ({"part": (1, 2), "devices": ("cpu",)}, "choose devices or a part, not both"),
        ({"active_threshold": 0.5}, "active_threshold is about moments, and here cubes are kept"),
        ({"range_seed": 1, "stats_only": ("moments",)}, "range_seed is about histogram, and here stats_only keeps moments"),
        (
            {"count_sites": ("resid",), "stats_only": ("moments",)},
            "count_sites is about counts, and here stats_only keeps moments",
        ),
        ({"count_threshold": 0.5, "stats_only": ("histogram",)}, "count_threshold is about counts, and here stats_only keeps"),
        ({"stats_only": True, "token_sample": TokenSample(choice="all")}, "stats_only keeps no token vectors"),
        ({"drops_languages": True}, "drops_languages is about texts that over_long='drop' leaves out, not about 'truncate'"),
        ({"devices": ("cpu",), "removes_downloads": True}, "would take files from processes"),
        ({"random_twin": True, "backend": "vllm"}, "random_twin makes new weights with transformers, and backend 'vllm' reads"),
        ({"twin_seed": 1}, "twin_seed is of the weights that random_twin makes; add random_twin, or leave twin_seed out"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name_and_value(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        ExtractOptions(**wrong)
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ExtractionError)


@pytest.mark.parametrize("wrong", [{"device": "meta"}, {"device": "cuda:x"}, {"devices": ("cpu", "CPU")}])
def test_devices_are_named_in_one_way(wrong: dict[str, object]) -> None:
    with pytest.raises(BackendUnavailable, match="no device '(meta|cuda:x|CPU)'; choose cpu, cuda, cuda:N or auto"):
        ExtractOptions(**wrong)


@pytest.mark.parametrize(
    ("given", "sites"),
    [({}, ("mlp_pre",)), ({"stats_only": True}, ("mlp_pre",)), ({"stats_only": ("moments",), "sites": ["resid"]}, ("resid",))],
)
def test_where_no_site_is_named_it_is_mlp_pre(given: dict[str, object], sites: tuple[str, ...]) -> None:
    assert ExtractOptions(**given).sites_or_default == sites
