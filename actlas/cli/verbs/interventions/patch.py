"""The verbs of concept patching: patch-prompts makes the texts, patch runs checkpoints on them with latents put in."""

from __future__ import annotations

import argparse
from pathlib import Path

from actlas.allowed import Count, Positive, Seed
from actlas.cli.arguments import add_checkpoints, add_store, assigned, named, number, separated, show
from actlas.cli.output import ProgressLine, step_progress, tell
from actlas.cli.verbs.interventions import add_model, model_given
from actlas.cli.verbs.questions import add_kept_output, opened
from actlas.errors import QueryError
from actlas.names import PATCH_SETTINGS


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the top parser."""
    _add_prompts(verbs)
    _add_patch(verbs)


def _add_prompts(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    prompts = verbs.add_parser("patch-prompts", help="make translation prompts for concept patching, as a corpus")
    prompts.add_argument("model", help="folder or hub id, whose tokenizer tells concepts apart")
    _add_translations(prompts, required=True)
    prompts.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    prompts.add_argument("--words", type=Path, metavar="FILE", help="table of words (default: everyday nouns in eight languages)")
    prompts.add_argument("--part-of-speech", metavar="NAME", help="only rows of the table with this in column PoS")
    prompts.add_argument(
        "--languages",
        type=separated(str),
        metavar="LANGUAGE,...",
        help="that answers are measured in (default: all)",
    )
    _add_seen(prompts, "--languages")
    prompts.add_argument("--pairs", type=number(Positive), default=256, metavar="N", help="pairs of concepts (default: 256)")
    prompts.add_argument("--shots", type=number(Positive), default=5, metavar="N", help="translations before it (default: 5)")
    prompts.add_argument("--seed", type=number(Seed), default=42, help="of the choice (default: 42)")
    prompts.add_argument("--template", help="one line of a prompt, with {language_in}, {word_in}, {language_out} and {word_out}")
    prompts.add_argument(
        "--language-name", type=assigned, metavar="LANGUAGE=NAME,...", help="what languages are called (default: as they do)"
    )
    prompts.set_defaults(run=_prompts)


def _add_patch(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    patch = verbs.add_parser("patch", help="put latents of a concept into another one's prompt: which of the two is said")
    add_store(patch)
    _add_translations(patch, required=False)
    patch.add_argument(
        "--setting",
        action="append",
        dest="settings",
        choices=tuple(PATCH_SETTINGS),
        help="whose latents; repeat for more (default: all that the prompts are there for)",
    )
    add_checkpoints(patch)
    _add_seen(patch, "those that the prompts were made for")
    patch.add_argument(
        "--layers",
        type=separated(int),
        metavar="N,...",
        help="first layers to patch; the last is the model's (default: every)",
    )
    patch.add_argument("--tokens", type=number(Count), default=10, metavar="N", help="greedy tokens of text (default: 10)")
    patch.add_argument("--batch", type=number(Positive), default=64, metavar="N", help="prompts that run together (default: 64)")
    add_model(patch)
    patch.add_argument(
        "--by",
        choices=("layer", "onset"),
        help="means by layer, or where the source concept wins (default: every pair)",
    )
    add_kept_output(patch)
    patch.set_defaults(run=_patch)


def _add_translations(verb: argparse.ArgumentParser, *, required: bool) -> None:
    about = "languages of target prompts, such as fr-en; repeat for more"
    about += "" if required else " (default: all that the prompts were made for)"
    verb.add_argument(
        "--translation", type=named, action="append", dest="translations", metavar="IN-OUT", required=required, help=about
    )


def _add_seen(verb: argparse.ArgumentParser, unset: str) -> None:
    about = f"languages that setting seen is a mean over (default: {unset})"
    verb.add_argument("--seen", type=separated(str), metavar="LANGUAGE,...", help=about)


def _prompts(options: argparse.Namespace) -> None:
    from actlas.intervene import read_words, translation_prompts

    names = options.language_name
    if isinstance(names, str):
        raise QueryError(f"--language-name says what a language is called, such as fr=Français, not {names!r}")
    corpus = translation_prompts(
        read_words(options.words, part_of_speech=options.part_of_speech),
        options.model,
        options.translations,
        languages=options.languages,
        seen=options.seen,
        n_pairs=options.pairs,
        n_shots=options.shots,
        seed=options.seed,
        language_names=names,
        **({} if options.template is None else {"template": options.template}),
    )
    corpus.write(options.out)
    roles = corpus.texts["role"].value_counts().sort("role")
    tell(f"{' and '.join(f'{count:,} {role} prompts' for role, count in roles.iter_rows())} in {options.out}")


def _patch(options: argparse.Namespace) -> None:
    from actlas.intervene import patch_concepts
    from actlas.query import patching_by_layer, patching_onset

    line = ProgressLine(options.quiet)
    frame = patch_concepts(
        opened(options),
        options.translations,
        settings=options.settings,
        checkpoints=options.checkpoints,
        seen=options.seen,
        layers=options.layers,
        n_tokens=options.tokens,
        rows_per_batch=options.batch,
        **model_given(options),
        progress=step_progress(line, "prompts"),
        replace=options.replace,
    )
    line.end()
    shown = {"layer": patching_by_layer, "onset": patching_onset}.get(options.by, lambda whole: whole)(frame)
    show(shown, options)
