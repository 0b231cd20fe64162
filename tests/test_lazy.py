"""Names that are loaded when they are used."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import actlas
import actlas.intervene
import actlas.query
import actlas.store
import actlas.store.corpus
from actlas.lazy import lazily


def test_a_name_is_taken_from_its_home() -> None:
    get, listed = lazily("letters", {"digits": "string"}, ["digits", "own"])
    assert get("digits") == "0123456789"
    assert listed() == ["digits", "own"]
    with pytest.raises(AttributeError, match="module 'letters' has no attribute 'hexdigits'"):
        get("hexdigits")


@pytest.mark.parametrize("package", [actlas, actlas.query, actlas.store, actlas.store.corpus, actlas.intervene])
def test_every_public_name_is_there_and_listed(package: object) -> None:
    assert dir(package) == sorted(package.__all__)  # type: ignore[attr-defined]
    for name in package.__all__:  # type: ignore[attr-defined]
        assert not isinstance(getattr(package, name), ModuleType), name


def test_where_things_lie_is_told_without_what_reads_them() -> None:
    code = "import actlas.store.layout, sys; print([m for m in ('zarr', 'polars', 'numcodecs') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
