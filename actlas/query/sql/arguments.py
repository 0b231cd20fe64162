"""Arguments of macros: names that are not there are refused with what is, and numbers that a table does not reach.

A macro called with a misspelt concept would otherwise answer with no rows, which reads as a finding.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from actlas.allowed import Count, Number, Positive, PositiveNumber, Quantile, Seed, why_not
from actlas.errors import QueryError
from actlas.names import Combination, Intervention, Metric
from actlas.query.choices import check_min_languages, chosen_checkpoints, chosen_labels, chosen_n, linear_sites, place_of_text
from actlas.query.keep import kept_parts
from actlas.query.neurons import check_neuron
from actlas.query.schema import TABLES
from actlas.store.store import Store
from actlas.words import no_such

_TYPES = {
    "k": Positive,
    "n": Positive,
    "m": Positive,
    "percent": Positive,
    "layer": Count,
    "neuron": Count,
    "skip": Count,
    "seed": Seed,
    "threshold": Number,
    "rise": PositiveNumber,
    "x": Quantile,
    "intervention": Intervention,
    "text_id": Count,
    "combine": Combination,
    "metric": Metric,
}
_PARAMETERS = re.compile(r"CREATE MACRO \w+\((.*?)\) AS TABLE")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a macro.

    Attributes:
        name: What SQL calls it.
        word: What it stands for: the word in the macro's description, such as "checkpoint" or "n".
        is_optional: Whether it can be left out.
        default: What it is then: a number, a word, or None for NULL.
    """

    name: str
    word: str
    is_optional: bool = False
    default: int | str | None = None


def parameters(call: str, sql: str) -> tuple[Parameter, ...]:
    """The parameters of a macro.

    Args:
        call: How its description calls it.
        sql: The statement that creates it.

    Example:
        >>> parameters("best(language, n := 10)", "CREATE MACRO best(lang, n := 10) AS TABLE SELECT 1")[1]
        Parameter(name='n', word='n', is_optional=True, default=10)
    """
    words = call.partition("(")[2].removesuffix(")").split(",")
    found = _PARAMETERS.search(sql)
    assert found is not None, f"{call}: no CREATE MACRO ... AS TABLE"
    own = [part.partition(":=") for part in found[1].split(",")]
    assert len(own) == len(words), f"{call} is described with other parameters than it has"
    return tuple(
        Parameter(name.strip(), word.partition(":=")[0].strip(), bool(equals), _default(default))
        for (name, equals, default), word in zip(own, words, strict=True)
        if name.strip()
    )


def _default(written: str) -> int | str | None:
    value = written.strip()
    if value.startswith("'"):
        return value.strip("'")
    return int(value) if value not in ("", "NULL") else None


def check_arguments(store: Store, macro: Sequence[Parameter], reads: Collection[str], given: Mapping[str, Any]) -> None:
    """Refuse a call of a macro that asks for what the store does not have.

    Args:
        store: Which.
        macro: The parameters of the macro.
        reads: The tables that it reads.
        given: Name -> value of the arguments whose values are known; those that differ from row to row are not.

    Raises:
        QueryError: Naming what was asked and what is there.
        CheckpointNotFound: For a checkpoint, likewise.
    """
    known = {
        each.word: given[each.name]
        for each in macro
        if each.name in given and not (given[each.name] is None and each.is_optional and each.default is None)
    }
    for word, value in known.items():
        number = float(value) if isinstance(value, Decimal) else value
        reason = why_not(word, number, _TYPES.get(word, str))
        if reason is not None:
            raise QueryError(reason)
        known[word] = number
    tables = [name for name in reads if name in TABLES and TABLES[name].stored]
    for word, value in known.items():
        if word.startswith("checkpoint"):
            _check_checkpoint(store, tables, value)
            if "scores" in reads:
                linear_sites(store, value, store.scored_sites(value) or None)
    one_of = {name: [known[name]] if name in known else None for name in ("language", "concept")}
    chosen_labels(store, one_of["language"], one_of["concept"])
    if "m" in known:
        check_min_languages(store, known["m"], "m")
    if "site" in known:
        _check_place(store, reads, known)
    if "text_id" in known:
        place_of_text(store, known["text_id"])
    # what is asked about one neuron is bounded by other neurons, not by the experts of a concept
    is_of_experts = "experts" in tables and all(each.word != "neuron" for each in macro)
    limit = next((each for each in macro if each.word in ("n", "k")), None)
    if limit is not None and is_of_experts:
        most: Any = known.get(limit.word, limit.default)
        names = [known["checkpoint"]] if "checkpoint" in known else store.checkpoints
        _check_reach(store, names, None if most is None else most + known.get("skip", 0))
    if "n" in known and "texts" in reads and "scores" not in reads:
        chosen_n(store, known["n"], known["n"])
    if "token_values" in tables:
        _check_token_values(store, known)


def _check_checkpoint(store: Store, tables: Sequence[str], checkpoint: str) -> None:
    chosen_checkpoints(store, [checkpoint])
    for table in tables:
        there = [part.checkpoint for part in kept_parts(store, table) if part.is_shown]
        if checkpoint not in there:
            command = (TABLES[table].command or "").replace("STORE", str(store.path))
            raise QueryError(
                f"table {table} was not computed for {checkpoint}, only for {', '.join(there) or 'none'}; "
                f"compute it: {command} --checkpoint {checkpoint}"
            )


def _check_place(store: Store, reads: Collection[str], known: Mapping[str, Any]) -> None:
    """Refuse a site, or a neuron of it, that no checkpoint (or the one that is named) has."""
    site = known["site"]
    names = [known["checkpoint"]] if "checkpoint" in known else store.checkpoints
    sites = {name: _sites(store, reads, name) for name in names}
    having = [name for name in names if site in sites[name]]
    if not having:
        there = sorted({one for own in sites.values() for one in own})
        raise QueryError(no_such("site", [site], there, known.get("checkpoint", store.path)))
    if site in store.sites(having[0]):
        check_neuron(store, having[0], site, known.get("layer", 0), known.get("neuron", 0))


def _check_token_values(store: Store, known: Mapping[str, Any]) -> None:
    """Refuse a neuron whose token values are not kept, and more of its texts than are: no row would read as no value."""
    for part in kept_parts(store, "token_values"):
        if not part.is_shown or part.checkpoint != known.get("checkpoint"):
            continue
        place = [pl.col(name) == known[name] for name in ("site", "layer", "neuron") if name in known]
        if part.scan().filter(*place).head(1).collect().is_empty():
            raise QueryError(
                f"token values of {'/'.join(str(known[name]) for name in ('site', 'layer', 'neuron') if name in known)} of "
                f"{part.checkpoint} are not kept, only of {part.settings.get('of', 'others')}; keep those of all that a file "
                f"names: actlas tokens {store.path} --of FILE --replace"
            )
        n, most = known.get("n"), part.settings.get("texts")
        if n is not None and most is not None and n > most:
            raise QueryError(
                f"table token_values holds the {most} strongest texts of a neuron of {part.checkpoint}, not {n}: ask for fewer, "
                f"or keep more with actlas tokens {store.path} --texts {n}"
            )


def _sites(store: Store, reads: Collection[str], checkpoint: str) -> Collection[str]:
    """The sites of a checkpoint that a macro can be asked about."""
    if "activations" in reads:
        return store.sites(checkpoint)
    return store.snapshot().checkpoints[checkpoint].counts if "token_activity" in reads else store.scored_sites(checkpoint)


def _check_reach(store: Store, checkpoints: Collection[str], n: int | None) -> None:
    """Refuse more experts than are kept."""
    for part in kept_parts(store, "experts"):
        k = part.settings.get("k")
        if part.is_shown and part.checkpoint in checkpoints and n is not None and k is not None and n > k:
            raise QueryError(
                f"table experts holds the {k} best neurons of {part.checkpoint}, not {n}: ask for fewer, "
                f"or rank more with actlas experts {store.path} --k {n}"
            )
