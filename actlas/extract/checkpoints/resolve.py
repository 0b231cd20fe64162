"""What was asked for as MODEL, as a list of checkpoints with ids and steps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from actlas.errors import ModelNotLoaded
from actlas.extract.checkpoints.step_names import find_step
from actlas.names import Checkpoint, RandomTwin, safe_id

ListRevisions = Callable[[str], Sequence[str]]


def resolve_models(
    models: str | Path | Checkpoint | Iterable[str | Path | Checkpoint],
    steps: Sequence[int] | None = None,
    *,
    revisions: Sequence[str] = (),
    list_revisions: ListRevisions | None = None,
) -> list[Checkpoint]:
    """Checkpoints that the arguments mean, by step.

    An argument is a local folder with weights, a local folder of step folders (`step64/`, `global_step1000/`, ...), a
    hub id with an optional `@revision`, or a `Checkpoint`. A step is read from the name of the folder or the revision, by the
    table in `steps`. A revision may be a pattern (`@global_step*`): every branch and tag that matches and carries a step.

    Args:
        models: One argument or many.
        steps: Steps given by hand, one per checkpoint in the order of the arguments, what a pattern matches by its numbers.
            Names are not read for steps then.
        revisions: Patterns for every argument: branches and tags of a hub id, names of step folders of a local folder.
        list_revisions: Gives the branches and tags of a hub id, for patterns.

    Raises:
        ModelNotLoaded: If there is nothing to run, two checkpoints would share an id, a name could mean several steps, or the
            steps do not match.

    Example:
        >>> [c.id for c in resolve_models(["org/bloom@global_step1000", "org/bloom@global_step10"])]
        ['bloom-step10', 'bloom-step1000']
    """
    arguments = [models] if isinstance(models, (str, Path, Checkpoint)) else list(models)
    reads_steps = steps is None
    checkpoints = [
        checkpoint
        for argument in arguments
        for checkpoint in _resolve(argument, revisions, list_revisions, reads_steps=reads_steps)
    ]
    if not checkpoints:
        raise ModelNotLoaded("no model was named; give a local folder, or a hub id such as org/model@revision")
    if steps is not None:
        if len(steps) != len(checkpoints):
            names = ", ".join(_full_name(checkpoint) for checkpoint in checkpoints)
            raise ModelNotLoaded(f"{len(steps)} steps were given for {len(checkpoints)} checkpoints ({names}); give one each")
        checkpoints = [_with_step(checkpoint, step) for checkpoint, step in zip(checkpoints, steps, strict=True)]
    for checkpoint_id, times in Counter(checkpoint.id for checkpoint in checkpoints).items():
        if times > 1:
            alike = [_full_name(checkpoint) for checkpoint in checkpoints if checkpoint.id == checkpoint_id]
            raise ModelNotLoaded(
                f"{times} checkpoints would be stored as {checkpoint_id!r}: {', '.join(alike)}; "
                "give their steps by the option steps, or rename the folders"
            )
    return sorted(checkpoints, key=lambda checkpoint: checkpoint.order)


def random_twins(checkpoints: Sequence[Checkpoint], seed: int) -> list[Checkpoint]:
    """A control for every run of checkpoints: the architecture of its last one, with new random weights.

    Checkpoints are of one run if their ids differ in the step or the revision alone.

    Args:
        checkpoints: As `resolve_models` gives them.
        seed: Of the weights.

    Raises:
        ModelNotLoaded: If a checkpoint has the id of such a control.

    Example:
        >>> [c.id for c in random_twins(resolve_models(["org/m@step8", "org/m@step16", "org/n"]), 0)]
        ['m-random0', 'n-random0']
    """
    last = {_run(checkpoint): checkpoint for checkpoint in checkpoints}
    twins = [
        Checkpoint(safe_id(f"{name}-random{seed}"), of.model, None, of.revision, RandomTwin(of.id, seed))
        for name, of in last.items()
    ]
    if taken := sorted({twin.id for twin in twins} & {checkpoint.id for checkpoint in checkpoints}):
        raise ModelNotLoaded(f"{taken[0]!r} is what the random-weights twin would be stored as; rename that folder")
    return twins


def _run(checkpoint: Checkpoint) -> str:
    """What the ids of all checkpoints of one run begin with."""
    name = checkpoint.id.removesuffix(f"-step{checkpoint.step}")
    return name.removesuffix(f"@{safe_id(checkpoint.revision)}") if checkpoint.revision else name


def _full_name(checkpoint: Checkpoint) -> str:
    return checkpoint.model if checkpoint.revision is None else f"{checkpoint.model}@{checkpoint.revision}"


def _resolve(
    argument: str | Path | Checkpoint, revisions: Sequence[str], list_revisions: ListRevisions | None, *, reads_steps: bool
) -> list[Checkpoint]:
    if isinstance(argument, Checkpoint):
        return [argument]
    folder = Path(argument)
    if folder.is_dir():
        return _local(folder, revisions, reads_steps=reads_steps)
    if isinstance(argument, Path) or str(argument).startswith((".", "/", "~")):
        raise ModelNotLoaded(f"no model folder at {argument}")
    model, separator, pattern = str(argument).partition("@")
    if separator and revisions:
        raise ModelNotLoaded(f"{argument} names a revision already, and the option revisions names others: {' '.join(revisions)}")
    patterns = [pattern] if separator else list(revisions)
    if not any(letter in pattern for pattern in patterns for letter in "*?[") or list_revisions is None:
        full_names = [f"{model}@{name}" for name in revisions] or [str(argument)]
        return [_on_hub(name, reads_steps=reads_steps) for name in full_names]
    names = sorted(set(list_revisions(model)), key=_by_numbers)
    matching = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    # a run of checkpoints often has branches beside its steps (main, float16); a step is what a sweep is about
    stepped = [name for name in matching if not reads_steps or find_step(name) is not None]
    if not stepped:
        some = f"; it matches {', '.join(matching[:5])}, whose steps the option steps can give" if matching else ""
        what = " or ".join(repr(pattern) for pattern in patterns)
        raise ModelNotLoaded(f"{model} has no revision that matches {what} and carries a step{some}")
    return [_on_hub(f"{model}@{name}", reads_steps=reads_steps) for name in stepped]


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Sort key under which step2 comes before step10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _local(folder: Path, patterns: Sequence[str], *, reads_steps: bool) -> list[Checkpoint]:
    if (folder / "config.json").is_file():
        if patterns:
            raise ModelNotLoaded(
                f"{folder} is one checkpoint; the option revisions chooses among the revisions or step folders of a model"
            )
        return [_local_checkpoint(folder, reads_steps=reads_steps)]
    if (folder / "adapter_config.json").is_file():
        raise ModelNotLoaded(f"{folder} holds an adapter (adapter_config.json) and no model; merge it with its own and save that")
    models = [child for child in folder.iterdir() if (child / "config.json").is_file()]
    if patterns:
        models = [child for child in models if any(fnmatchcase(child.name, pattern) for pattern in patterns)]
    models.sort(key=lambda child: _by_numbers(child.name))
    stepped = [child for child in models if not reads_steps or find_step(child.name) is not None]
    if not stepped:
        unnamed = (
            f"; the steps of {', '.join(child.name for child in models[:5])} can be given by the option steps" if models else ""
        )
        asked = f" that match {' or '.join(patterns)}" if patterns else ""
        raise ModelNotLoaded(
            f"{folder} is no model (it has no config.json) and holds no step folders (such as step64/) with one{asked}{unnamed}"
        )
    return [_local_checkpoint(child, reads_steps=reads_steps) for child in stepped]


def _local_checkpoint(folder: Path, *, reads_steps: bool) -> Checkpoint:
    name = folder.resolve().name
    step_name = find_step(name) if reads_steps else None
    if step_name is None:
        return Checkpoint(safe_id(name), str(folder))
    # a folder that is called step64 and nothing more is named after the run it lies in
    base = step_name.base or folder.resolve().parent.name
    return Checkpoint(safe_id(f"{base}-step{step_name.step}"), str(folder), step_name.step)


def _on_hub(argument: str, *, reads_steps: bool) -> Checkpoint:
    model, separator, revision = argument.partition("@")
    if not re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?", model) or (separator and not revision):
        raise ModelNotLoaded(f"{argument!r} is neither a local folder nor a hub id such as org/model or org/model@revision")
    name = model.rpartition("/")[2]
    step_name = find_step(revision or name) if reads_steps else None
    if step_name is not None:
        base = name if revision else (step_name.base or name)
        return Checkpoint(safe_id(f"{base}-step{step_name.step}"), model, step_name.step, revision or None)
    return Checkpoint(safe_id(f"{name}@{revision}" if revision else name), model, None, revision or None)


def _with_step(checkpoint: Checkpoint, step: int) -> Checkpoint:
    # names were not read: what stands in the id is the whole name, and a step in it would contradict the one that was given
    name = checkpoint.id.partition("@")[0] if checkpoint.revision else _base(checkpoint)
    return Checkpoint(safe_id(f"{name}-step{step}"), checkpoint.model, step, checkpoint.revision)


def _base(checkpoint: Checkpoint) -> str:
    """The name without the step it carries; as it is, if it could carry several."""
    try:
        step_name = find_step(checkpoint.id)
    except ModelNotLoaded:
        return checkpoint.id
    # a folder that is called 100 is named after the run it lies in, like one that is called step100
    base = step_name.base if step_name is not None else re.sub(r"^\d+$", "", checkpoint.id)
    return base or Path(checkpoint.model).resolve().parent.name
