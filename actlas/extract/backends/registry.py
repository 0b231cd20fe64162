"""Backends by name; the one place that imports them, and with them their libraries."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from actlas.errors import BackendUnavailable
from actlas.extract.backends.base import Backend, BackendSettings

#: Name -> module with a `make_backend`, and the command that installs what it needs.
_BACKENDS = {
    "hf": ("actlas.extract.backends.hf.backend", "pip install 'actlas[hf]'"),
    "vllm": ("actlas.extract.backends.vllm.backend", "pip install 'actlas[hf,vllm]'"),
}


def get_backend(name: str, settings: BackendSettings) -> Backend:
    """A backend by name; its library is imported by this call and not before.

    Raises:
        BackendUnavailable: If there is no such backend, or its library is not installed.
    """
    if name not in _BACKENDS:
        raise BackendUnavailable(f"no extraction backend {name!r}; choose one of {', '.join(sorted(_BACKENDS))}")
    module, install = _BACKENDS[name]
    try:
        return cast(Backend, import_module(module).make_backend(settings))
    except BackendUnavailable:
        raise
    except ImportError as error:
        raise BackendUnavailable(f"extraction backend {name!r} needs {error.name}: {install}") from error
