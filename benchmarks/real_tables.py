"""Tables of docs/results/real-models.md, out of what `real_model` found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from benchmarks.markdown import markdown

Result = Mapping[str, Any]


def _each(result: Result) -> list[tuple[Mapping[str, Any], Mapping[str, Any], str]]:
    """Model, checkpoint, and what to call it: a twin stands below its model."""
    return [
        (row, found, f"{row['model']}, random weights" if found["is_twin"] else row["model"])
        for row in result["rows"]
        for found in row["checkpoints"]
    ]


def _number(value: float | None, digits: int = 3) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def _models(result: Result) -> str:
    """Which models: where they come from, their sizes, and how well they predict the texts."""
    head = (
        "model",
        "packages",
        "licence",
        "layers",
        "neurons that are ranked",
        "stored as",
        "loss, nats per token",
        "a uniform guess",
    )
    rows = [
        (
            name,
            "" if found["is_twin"] else ", ".join(f"`{package}`" for package in row["packages"]),
            "" if found["is_twin"] else row["licence"],
            found["n_layers"],
            f"{found['n_layers'] * sum(found['widths'].values()):,}",
            ", ".join(sorted({site["dtype"] for site in found["dtypes"]})),
            _number(found["sanity_loss"], 2),
            _number(found["uniform_loss"], 2),
        )
        for row, found, name in _each(result)
    ]
    return markdown(head, rows)


def _corpus(result: Result) -> str:
    """Which texts: languages, and tokens of each in each model."""
    size = result["settings"]
    models = [(row["model"], row["checkpoints"][0]["n_tokens"]) for row in result["rows"]]
    rows = [
        (language, size["n_lines"], *(f"{tokens[language] / size['n_lines']:.1f}" for _, tokens in models))
        for language in size["languages"]
    ]
    cut = "; ".join(f"{row['model']} {row['checkpoints'][0]['n_over_long']} texts" for row in result["rows"])
    about = (
        f"{size['n_texts']:,} texts: {size['n_lines']} lines of each language, drawn with seed {size['seed']}, with "
        f"{size['n_positives']} or more of each of {len(size['concepts'])} concepts: {', '.join(size['concepts'])}. "
        f"Cut at {size['max_tokens']} tokens: {cut}."
    )
    return f"{about}\n\n" + markdown(("language", "texts", *(f"tokens per text, {name}" for name, _ in models)), rows)


def _overlap(result: Result) -> str:
    """Mean overlap beside everything it has to be held against."""
    head = (
        "model",
        "overlap (95 % interval over concepts)",
        "null, translations together",
        "p",
        "null, languages apart",
        "other concept",
        "chance",
        "cross-half (its null)",
        "ceiling (its null)",
        "corrected ratio",
    )
    rows = []
    for _, found, name in _each(result):
        row = found["controls"]
        rows.append(
            (
                name,
                f"{_number(row['overlap'])} ({_number(row['low'])} to {_number(row['high'])})",
                f"{_number(row['null'])} ± {_number(row['null_sd'])}",
                _number(row["p_value"]),
                _number(row["null_independent"]),
                _number(row["other_concept"]),
                _number(row["chance"]),
                f"{_number(row['cross_half'])} ({_number(row['null_cross_half'])})",
                f"{_number(row['ceiling'])} ({_number(row['null_ceiling'])})",
                _number(row["corrected_ratio"], 2),
            )
        )
    size = result["settings"]
    about = f"k = {size['k']}, {size['n_repeats']} permutations, seed {size['seed']}."
    return f"{about}\n\n" + markdown(head, rows)


def _beyond(result: Result) -> str:
    """What training adds to the twin's overlap."""
    head = ("model", "overlap above its null, minus the twin's", "95 % interval", "concepts")
    rows = []
    for row in result["rows"]:
        beyond = row["beyond_twin"]
        interval = f"{_number(beyond['low'])} to {_number(beyond['high'])}"
        rows.append((row["model"], _number(beyond["mean"]), interval, beyond["n_concepts"]))
    return markdown(head, rows)


def _concepts(result: Result) -> str:
    """Overlap of every concept, with the q-values of its tests."""
    names = [name for _, _, name in _each(result)]
    of = [{row["concept"]: row for row in found["concepts"]} for _, found, _ in _each(result)]
    rows = [
        (
            concept,
            *(
                f"{_number(each[concept]['overlap'])} ({_number(each[concept]['null'])}; {_number(each[concept]['q_value'])})"
                for each in of
            ),
        )
        for concept in result["settings"]["concepts"]
    ]
    return "Overlap (its null; q-value).\n\n" + markdown(("concept", *names), rows)


def _pairs(result: Result) -> str:
    """Overlap of every pair of languages, mean over concepts."""
    names = [name for _, _, name in _each(result)]
    of = [{(row["language_a"], row["language_b"]): row for row in found["pairs"]} for _, found, _ in _each(result)]
    n_concepts = len(result["settings"]["concepts"])
    rows = [
        (
            f"{a}, {b}",
            *(f"{_number(each[a, b]['overlap'])} ({_number(each[a, b]['null'])}; {each[a, b]['n_found']})" for each in of),
        )
        for a, b in sorted(of[0], key=lambda pair: -of[0][pair]["overlap"])
    ]
    found = [sum(row["n_found"] for row in each.values()) for each in of]
    rows.append(
        (
            "all pairs",
            *(f"{n} of {checkpoint['n_pair_tests']} tests" for n, (_, checkpoint, _) in zip(found, _each(result), strict=True)),
        )
    )
    return f"Overlap (its null; concepts of {n_concepts} with q < 0.05).\n\n" + markdown(("languages", *names), rows)


def _layers(result: Result) -> str:
    """Where in the depth shared experts lie, in quarters, since models differ in their number of layers."""
    rows = []
    for _, found, name in _each(result):
        parts = quarters([row["overlap"] for row in found["layers"]])
        nulls = quarters([row["null"] for row in found["layers"]])
        rows.append((name, *(f"{_number(a)} ({_number(b)})" for a, b in zip(parts, nulls, strict=True))))
    head = ("model", "first quarter of the layers", "second", "third", "last")
    return "Overlap (its null); the quarters add up to the whole.\n\n" + markdown(head, rows)


def quarters(values: Sequence[float]) -> list[float]:
    """Sums over the quarters of the layers."""
    edges = [round(part * len(values) / 4) for part in range(5)]
    return [sum(values[start:stop]) for start, stop in pairwise(edges)]


def _probes(result: Result) -> str:
    """How well the language of a token can be read off."""
    head = ("model", "embeddings", "mean of the layers", "lowest layer", "highest layer", "always the commonest")
    rows = []
    for _, found, name in _each(result):
        embed = [row["accuracy"] for row in found["probes"] if row["site"] == "embed"]
        layers = [row for row in found["probes"] if row["site"] == "resid"]
        accuracy = [row["accuracy"] for row in layers]
        lowest, highest = (pick(layers, key=lambda row: row["accuracy"]) for pick in (min, max))
        ends = (f"{_number(row['accuracy'])} (layer {row['layer']})" for row in (lowest, highest))
        chance = fmean(row["chance"] for row in found["probes"])
        rows.append((name, _number(fmean(embed)), _number(fmean(accuracy)), *ends, _number(chance)))
    return markdown(head, rows)


def _language_neurons(result: Result) -> str:
    """Neurons that are active for few languages, by language."""
    languages = result["settings"]["languages"]
    rows = [
        (
            name,
            f"`{found['language_site']}`",
            found["n_language_neurons"],
            *(found["language_neurons"].get(each, 0) for each in languages),
        )
        for _, found, name in _each(result)
    ]
    return markdown(("model", "counted at", "neurons selected", *languages), rows)


def _dtypes(result: Result) -> str:
    """In which dtype each site is stored, and what that does to it."""
    head = ("model", "site", "stored as", "largest value", "coarse neurons, per 10,000", "change of ap (most)", "same best")
    rows = [
        (
            name,
            f"`{site['site']}`",
            site["dtype"],
            f"{site['largest']:,.0f}" if site["largest"] >= 10 else f"{site['largest']:.2g}",
            f"{10_000 * site['share_coarse']:.1f}",
            "none" if site["ap_change"] is None else f"{site['ap_change']:.1e} ({site['ap_change_most']:.2f})",
            _number(site["same_best"], 2),
        )
        for _, found, name in _each(result)
        for site in found["dtypes"]
    ]
    n_texts = result["rows"][0]["checkpoints"][0]["dtypes"][0]["n_texts"]
    return f"Measured on {n_texts} texts before the run.\n\n" + markdown(head, rows)


def _time(result: Result) -> str:
    """What an extraction spends its time on, and what the questions take beside it where both were timed in one go."""
    stages = ("load", "check", "forward")
    rows = []
    for _, found, name in _each(result):
        seconds = found["profile"]["seconds"]
        rest = sum(spent for stage, spent in seconds.items() if stage not in stages)
        shares = (f"{spent / seconds['forward']:.3f}" for spent in (seconds["load"], seconds["check"], rest))
        rows.append((name, found["profile"]["n_texts"], f"{seconds['forward']:,.0f} s", *shares))
    head = ("model", "texts", "forward", "load / forward", "check / forward", "collecting, encoding, writing / forward")
    tables = [markdown(head, rows)]
    if timed := [row for row in result["rows"] if row["seconds"] is not None]:
        asked = [stage for stage in timed[0]["seconds"] if stage != "extract"]
        shares = [[f"{row['seconds'][stage] / row['seconds']['extract']:.2f}" for stage in asked] for row in timed]
        rows = [(row["model"], *each) for row, each in zip(timed, shares, strict=True)]
        tables.append(markdown(("model and twin", *(f"{stage} / extract" for stage in asked)), rows))
    return "\n\n".join(tables)


REAL_TABLES: dict[str, Callable[[Result], str]] = {
    "real_models": _models,
    "real_models-corpus": _corpus,
    "real_models-overlap": _overlap,
    "real_models-beyond": _beyond,
    "real_models-concepts": _concepts,
    "real_models-pairs": _pairs,
    "real_models-layers": _layers,
    "real_models-probes": _probes,
    "real_models-languages": _language_neurons,
    "real_models-dtypes": _dtypes,
    "real_models-time": _time,
}
