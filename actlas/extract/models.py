"""What was asked for as MODEL, as a list of checkpoints with ids and steps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from actlas.errors import ModelNotLoaded
from actlas.names import Checkpoint, safe_id, step_of_name

_STEP_ENDING = re.compile(r"[-_.]?(?:global_step|global-step|step|iter|iteration|checkpoint|ckpt)[-_]?\d+$", re.IGNORECASE)


def resolve_models(
    models: str | Path | Checkpoint | Iterable[str | Path | Checkpoint],
    steps: Sequence[int] | None = None,
    *,
    list_revisions: Callable[[str], Sequence[str]] | None = None,
) -> list[Checkpoint]:
    """Checkpoints that the arguments mean, by step.

    An argument is a local folder with weights, a local folder of step folders (`step64/`, `global_step1000/`, ...), a
    hub id with an optional `@revision`, or a `Checkpoint`. A step is read from the name of the folder or the revision.
    A revision may be a pattern (`@global_step*`): every branch and tag that matches and carries a step.

    Args:
        models: One argument or many.
        steps: Steps given by hand, one per checkpoint in the order of the arguments.
        list_revisions: Gives the branches and tags of a hub id, for patterns.

    Raises:
        ModelNotLoaded: If there is nothing to run, two checkpoints would share an id, or the steps do not match.

    Example:
        >>> [c.id for c in resolve_models(["org/bloom@global_step1000", "org/bloom@global_step10"])]
        ['bloom-step10', 'bloom-step1000']
    """
    arguments = [models] if isinstance(models, (str, Path, Checkpoint)) else list(models)
    found = [checkpoint for argument in arguments for checkpoint in _resolve(argument, list_revisions)]
    if not found:
        raise ModelNotLoaded("no model was named; give a local folder, or a hub id such as org/model@revision")
    if steps is not None:
        if len(steps) != len(found):
            raise ModelNotLoaded(f"{len(steps)} steps were given for {len(found)} checkpoints; give one each")
        found = [_with_step(checkpoint, step) for checkpoint, step in zip(found, steps, strict=True)]
    for checkpoint_id, times in Counter(checkpoint.id for checkpoint in found).items():
        if times > 1:
            sources = [_source(checkpoint) for checkpoint in found if checkpoint.id == checkpoint_id]
            raise ModelNotLoaded(
                f"{times} checkpoints would be stored as {checkpoint_id!r}: {', '.join(sources)}; "
                "name their steps with --step, or rename the folders"
            )
    return sorted(found, key=lambda checkpoint: checkpoint.order)


def _source(checkpoint: Checkpoint) -> str:
    return checkpoint.model if checkpoint.revision is None else f"{checkpoint.model}@{checkpoint.revision}"


def _resolve(argument: str | Path | Checkpoint, list_revisions: Callable[[str], Sequence[str]] | None) -> list[Checkpoint]:
    if isinstance(argument, Checkpoint):
        return [argument]
    folder = Path(argument)
    if folder.is_dir():
        return _local(folder)
    if isinstance(argument, Path) or str(argument).startswith((".", "/", "~")):
        raise ModelNotLoaded(f"no model folder at {argument}")
    model, _, pattern = str(argument).partition("@")
    if not any(letter in pattern for letter in "*?[") or list_revisions is None:
        return [_on_hub(str(argument))]
    revisions = sorted({name for name in list_revisions(model) if fnmatchcase(name, pattern)})
    # a run of checkpoints often has branches beside its steps (main, float16); a step is what a sweep is about
    stepped = [name for name in revisions if step_of_name(name) is not None]
    if not stepped:
        raise ModelNotLoaded(f"{model} has no revision that matches {pattern!r} and carries a step")
    return [_on_hub(f"{model}@{name}") for name in stepped]


def _local(folder: Path) -> list[Checkpoint]:
    if (folder / "config.json").is_file():
        return [_local_checkpoint(folder)]
    steps = sorted(child for child in folder.iterdir() if (child / "config.json").is_file())
    steps = [child for child in steps if step_of_name(child.name) is not None]
    if not steps:
        raise ModelNotLoaded(f"{folder} is no model (no config.json there) and holds no step folders (such as step64/) with one")
    return [_local_checkpoint(child) for child in steps]


def _local_checkpoint(folder: Path) -> Checkpoint:
    name = folder.resolve().name
    step = step_of_name(name)
    if step is None:
        return Checkpoint(safe_id(name), str(folder))
    # a folder that is called step64 and nothing more is named after the run it lies in
    base = _STEP_ENDING.sub("", name) or folder.resolve().parent.name
    return Checkpoint(safe_id(f"{base}-step{step}"), str(folder), step)


def _on_hub(argument: str) -> Checkpoint:
    model, at, revision = argument.partition("@")
    if not re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?", model) or (at and not revision):
        raise ModelNotLoaded(f"{argument!r} is neither a folder here nor a hub id such as org/model or org/model@revision")
    name = model.rpartition("/")[2]
    step = step_of_name(revision) if revision else step_of_name(name)
    if step is not None:
        base = name if revision else (_STEP_ENDING.sub("", name) or name)
        return Checkpoint(safe_id(f"{base}-step{step}"), model, step, revision or None)
    return Checkpoint(safe_id(f"{name}@{revision}" if revision else name), model, None, revision or None)


def _with_step(checkpoint: Checkpoint, step: int) -> Checkpoint:
    base = re.sub(r"-step\d+$", "", checkpoint.id)
    return Checkpoint(safe_id(f"{base}-step{step}"), checkpoint.model, step, checkpoint.revision)
