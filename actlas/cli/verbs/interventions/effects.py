"""The verb that measures what acting on sets of neurons does: effects."""

from __future__ import annotations

import argparse

from actlas.cli.arguments import add_checkpoints, add_declared, add_store, declared_values, show
from actlas.cli.output import ProgressLine, step_progress
from actlas.cli.verbs.interventions import add_model, model_given
from actlas.cli.verbs.questions import add_kept_output, opened
from actlas.intervene.effects.options import EffectOptions


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    effects = verbs.add_parser(
        "effects", help="what acting on language sets or experts does to the loss of every language, beside random sets"
    )
    add_store(effects)
    add_checkpoints(effects)
    add_declared(effects, EffectOptions)
    add_model(effects)
    effects.add_argument("--whole", action="store_true", help="show every arm, instead of each set beside its random sets")
    add_kept_output(effects)
    effects.set_defaults(run=_effects)


def _effects(options: argparse.Namespace) -> None:
    from actlas.intervene import effect_summary, measure_effects

    line = ProgressLine(options.quiet)
    frame = measure_effects(
        opened(options),
        EffectOptions(**declared_values(options, EffectOptions)),
        checkpoints=options.checkpoints,
        **model_given(options),
        replace=options.replace,
        progress=step_progress(line, "arms"),
    )
    line.end()
    shown = frame if options.whole else effect_summary(frame)
    show(shown, options)
