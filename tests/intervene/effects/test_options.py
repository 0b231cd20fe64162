"""Options that say nothing, or nothing that is known, are refused before a model is loaded."""

from __future__ import annotations

import json

import pytest

from actlas.errors import QueryError
from actlas.intervene import EffectOptions
from actlas.intervene.effects.options import settings_of


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interventions": ("zap",)}, "choose one of zero, mean"),
        ({"interventions": ()}, "names nothing"),
        ({"sources": ("lape", "lape")}, "name each once"),
        ({"sources": "lape"}, "takes several values"),
        ({"share": 0.0}, "above 0"),
        ({"n_texts": 0}, "at least 1"),
        ({"factor": -1.0}, "above 0"),
    ],
)
def test_what_is_not_allowed_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        EffectOptions(**options)  # type: ignore[arg-type]


def test_settings_are_plain_and_the_same_for_lists_and_tuples() -> None:
    one, other = (EffectOptions(sources=kind(["lape", "experts"]), languages=kind(["fr"])) for kind in (list, tuple))
    assert one == other
    assert json.loads(json.dumps(settings_of(one))) == settings_of(one)
