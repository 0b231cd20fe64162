"""The verbs that run a model and act on its neurons."""

from __future__ import annotations

import argparse
from typing import Any

from actlas.cli.arguments import named
from actlas.names import DTYPES


def add_model(verb: argparse.ArgumentParser) -> None:
    """Which model runs, where, and in which dtype."""
    verb.add_argument("--model", type=named, help="folder or hub id, where it is not where the store says")
    verb.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default: auto)")
    verb.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    verb.add_argument(
        "--compute-dtype", "--dtype", choices=("auto", *DTYPES), default="auto", help="what it computes in (default: auto)"
    )


def model_given(given: argparse.Namespace) -> dict[str, Any]:
    """What `add_model` was given, as keywords of the functions that run a model."""
    return {
        "model": given.model,
        "device": given.device,
        "compute_dtype": given.compute_dtype,
        "trust_remote_code": given.trust_remote_code,
    }
