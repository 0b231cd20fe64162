"""The verb that measures what acting on sets of neurons does: effects."""

from __future__ import annotations

import argparse

from actlas.cli.arguments import add_checkpoints, add_declared, add_output, add_store, declared_values, named
from actlas.cli.output import ProgressLine, show_frame, step_progress
from actlas.cli.verbs.questions import opened
from actlas.intervene.effects.options import EffectOptions


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    effects = verbs.add_parser(
        "effects", help="what acting on language sets or experts does to the loss of every language, beside random sets"
    )
    add_store(effects)
    add_checkpoints(effects)
    add_declared(effects, EffectOptions)
    effects.add_argument("--model", type=named, help="folder or hub id, where it is not where the store says")
    effects.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default: auto)")
    effects.add_argument("--compute-dtype", default="auto", metavar="DTYPE", help="what the model computes in (default: auto)")
    effects.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    effects.add_argument("--whole", action="store_true", help="show every arm, instead of each set beside its random sets")
    effects.add_argument("--no-keep", action="store_true", help="answer only; keep no table in the store")
    effects.add_argument("--replace", action="store_true", help="replace a kept table of other settings")
    add_output(effects)
    effects.set_defaults(run=_effects)


def _effects(options: argparse.Namespace) -> None:
    from actlas.intervene import effect_summary, measure_effects

    line = ProgressLine(options.quiet)
    frame = measure_effects(
        opened(options),
        EffectOptions(**declared_values(options, EffectOptions)),
        checkpoints=options.checkpoints,
        model=options.model,
        device=options.device,
        compute_dtype=options.compute_dtype,
        trust_remote_code=options.trust_remote_code,
        replace=options.replace,
        progress=step_progress(line, "arms"),
    )
    line.end()
    shown = frame if options.whole else effect_summary(frame)
    show_frame(shown, options.format, options.out, options.rows, is_safe=options.safe)
