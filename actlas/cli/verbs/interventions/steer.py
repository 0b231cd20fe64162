"""The verb that lets a model write while neurons are forced: steer."""

from __future__ import annotations

import argparse
from pathlib import Path

from actlas.allowed import Count, Positive, Seed, Share
from actlas.cli.arguments import add_checkpoints, add_sites, add_store, named, number, separated, show, site_layer
from actlas.cli.output import ProgressLine, step_progress
from actlas.cli.verbs.interventions import add_model, model_given
from actlas.cli.verbs.questions import add_kept_output
from actlas.errors import QueryError
from actlas.names import ARMS, HOWS, ON_VALUES, POSITIONS


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    steer = verbs.add_parser(
        "steer",
        help="texts that a model writes while the experts of a concept are forced, beside controls",
        description="Shows the share of each arm's texts in the language of the experts and with the concept in them. The same "
        "command again goes on where a stopped one was; the texts are in table generations.",
    )
    add_store(steer)
    add_checkpoints(steer)
    for flag, what in (("concept", "what to steer towards"), ("language", "whose experts are forced")):
        steer.add_argument(
            f"--{flag}",
            type=named,
            action="append",
            dest=f"{flag}s",
            metavar="NAME",
            required=True,
            help=f"{what}; repeat for more",
        )
    _add_forcing(steer)
    _add_sampling(steer)
    add_model(steer)
    _add_running(steer)
    steer.add_argument(
        "--probe",
        type=site_layer,
        metavar="SITE/LAYER",
        help="where probes of the concepts, trained on the store's values, read the texts, for column probe_p",
    )
    steer.add_argument("--texts", action="store_true", help="show the texts instead of what they say together")
    add_kept_output(steer)
    steer.set_defaults(run=_steer)


def _add_forcing(steer: argparse.ArgumentParser) -> None:
    steer.add_argument("--k", type=number(Positive), default=500, metavar="N", help="neurons that are forced (default: 500)")
    add_sites(steer, "default: all linear sites that are scored")
    steer.add_argument(
        "--on-value",
        choices=ON_VALUES,
        default="median",
        help="what they are set to: of their values over the positives of the concept (default: median)",
    )
    steer.add_argument(
        "--arms",
        type=separated(str),
        default=ARMS,
        metavar="ARM,...",
        help=f"what is done side by side (default: {','.join(ARMS)}; random: as many neurons of the same sites and layers, next: "
        "the neurons that come after the experts, other: the experts of another concept)",
    )
    steer.add_argument(
        "--skip", type=number(Count), metavar="N", help="of arm next: how many of the best are left out (default: k)"
    )
    steer.add_argument("--other", type=named, metavar="CONCEPT", help="of arm other (default: the next of the corpus)")
    steer.add_argument(
        "--neurons", type=Path, metavar="FILE", help="force the neurons of a file too, in an arm called file (see actlas export)"
    )
    steer.add_argument("--any-weights", action="store_true", help="take a file that names no weights, or others")
    steer.add_argument("--value", type=named, metavar="COLUMN", help="of the file: what neurons are set to (default: value)")
    steer.add_argument("--control-seed", type=number(Seed), default=0, metavar="N", help="of arm random (default: 0)")
    steer.add_argument("--how", choices=HOWS, default="set", help="what is done with the value (default: set)")
    steer.add_argument(
        "--position",
        choices=POSITIONS,
        default="all",
        help="where in the text so far: every token, or the last (default: all)",
    )
    steer.add_argument("--strength", type=float, default=1.0, metavar="X", help="a factor of the value (default: 1)")


def _add_sampling(steer: argparse.ArgumentParser) -> None:
    steer.add_argument(
        "--seeds", type=number(Positive), default=100, metavar="N", help="texts of each arm and prompt (default: 100)"
    )
    steer.add_argument(
        "--prompts", type=Path, metavar="FILE", help="what texts go on from, one a line (default: the start token alone)"
    )
    steer.add_argument(
        "--words",
        type=Path,
        metavar="FILE",
        help="words of concepts, for column has_word: CSV with columns concept, language and word, or any that "
        "actlas patch-prompts reads",
    )
    steer.add_argument(
        "--temperature", type=float, default=0.8, metavar="X", help="of the draws; 0 takes the likeliest token (default: 0.8)"
    )
    steer.add_argument("--top-k", type=number(Count), default=0, metavar="N", help="draw among the likeliest N (default: all)")
    steer.add_argument(
        "--top-p", type=number(Share), default=1.0, metavar="X", help="draw among the likeliest that have this share (default: 1)"
    )
    steer.add_argument(
        "--max-new-tokens", type=number(Positive), default=64, metavar="N", help="where a text ends at last (default: 64)"
    )


def _add_running(steer: argparse.ArgumentParser) -> None:
    steer.add_argument("--batch", type=number(Positive), metavar="N", help="texts side by side (default: what memory bears)")


def _steer(given: argparse.Namespace) -> None:
    from actlas.intervene.concepts.words import read_words
    from actlas.intervene.generation import Forcing, ForeignNeurons, ProbeAt, Sampling, generate_steered, steering_summary
    from actlas.query import open_store

    sampling = Sampling(given.temperature, given.top_k, given.top_p, given.max_new_tokens)
    forcing = Forcing(
        k=given.k,
        on_value=given.on_value,
        sites=None if given.sites is None else tuple(given.sites),
        skip=given.skip,
        other=given.other,
        seed=given.control_seed,
        how=given.how,
        position=given.position,
        strength=given.strength,
    )
    if given.neurons is None and (given.any_weights or given.value):
        raise QueryError("--any-weights and --value are about the file of --neurons; name it, or leave them out")
    line = ProgressLine(given.quiet)
    texts = generate_steered(
        open_store(given.store, "r" if given.no_keep else "a"),
        concepts=given.concepts,
        languages=given.languages,
        checkpoints=given.checkpoints,
        forcing=forcing,
        arms=given.arms,
        seeds=given.seeds,
        prompts=None if given.prompts is None else _lines(given.prompts),
        sampling=sampling,
        probe=None if given.probe is None else ProbeAt(*given.probe),
        neurons=None if given.neurons is None else ForeignNeurons(given.neurons, given.any_weights, given.value),
        words=None if given.words is None else read_words(given.words).words,
        **model_given(given),
        batch=given.batch,
        progress=step_progress(line, "texts"),
        replace=given.replace,
    )
    line.end()
    show(texts if given.texts else steering_summary(texts), given)


def _lines(path: Path) -> tuple[str, ...]:
    lines = tuple(line for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if not lines:
        raise QueryError(f"{path} holds no prompt; write one a line")
    return lines
