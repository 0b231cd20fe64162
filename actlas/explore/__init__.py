"""Looking at a store: views that are declared as queries, and what shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actlas.lazy import lazily

_HOMES = {"Widget": "actlas.explore.widget"}

__all__ = ["Widget"]

if TYPE_CHECKING:
    from actlas.explore.widget import Widget

__getattr__, __dir__ = lazily(__name__, _HOMES, __all__)
