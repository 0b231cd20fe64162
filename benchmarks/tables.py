"""Markdown tables made from the result files. Documents hold no figure that did not come through here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from benchmarks.explore_tables import EXPLORE_TABLES
from benchmarks.harness import RESULTS
from benchmarks.kernel_tables import KERNEL_TABLES
from benchmarks.markdown import markdown, spread
from benchmarks.query_tables import QUERY_TABLES
from benchmarks.real_tables import REAL_TABLES
from benchmarks.score_query_tables import SCORE_QUERY_TABLES
from benchmarks.steering_tables import STEERING_TABLES


def table(name: str) -> str:
    """The table of one benchmark, with a line that names the machine; a plain sentence where there is no result.

    A name that ends in ``_brief``, or goes on after a dash, is that of one more table of the same results.

    Raises:
        KeyError: If no table has that name.
    """
    path = RESULTS / f"{name.removesuffix('_brief').partition('-')[0]}.json"
    if not path.is_file():
        return f"Not measured yet: `{path.name}` is missing."
    result = json.loads(path.read_text())
    # of several tables of one file, the first says which machine it was
    return TABLES[name](result) if "-" in name else f"{TABLES[name](result)}\n\n{about(result)}"


def about(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    if result["settings"].get("is_predicted"):
        return f"<sub>predicted, not run on a GPU; commit {machine['commit']}</sub>"
    return (
        f"<sub>{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads used, load {machine['load_1min']}, "
        f"commit {machine['commit']}</sub>"
    )


def _store(result: Mapping[str, Any]) -> str:
    rows = [
        (row["codec"], row["what"], row["peer"], spread(row["speed_over_peer"]), f"{row['compression_ratio']:.2f}")
        for row in result["rows"]
    ]
    return markdown(("codec", "what", "peer", "speed / peer's", "compression"), rows)


_CELL = ("n_texts", "n_concepts", "dtype", "shape", "prevalence")
#: Rows of the short tables in the README: 4,000 texts are the size of a language, lz4 is the default codec.
_BRIEF_KERNELS = (
    (4000, 20, "float16", "gaussian", 0.05),
    (4000, 1, "float16", "gaussian", 0.05),
    (4000, 200, "float16", "gaussian", 0.05),
)
_BRIEF_STORE = ("write, text-major in memory", "read everything", "read one neuron")


def _kernels_brief(result: Mapping[str, Any]) -> str:
    rows = []
    for wanted in _BRIEF_KERNELS:
        row = next(row for row in result["rows"] if tuple(row[name] for name in _CELL) == wanted)
        ratios = row["peer_over_actlas"]
        peers = (spread(ratios[name], digits) for name, digits in (("scikit-learn loop", 0), (row["best_torch"], 1)))
        rows.append((row["n_texts"], row["n_concepts"], f"{row['ns_per_cell']['actlas']:.2f}", *peers))
    return markdown(("texts", "concepts", "ns per value and concept", "scikit-learn loop / ours", "best torch / ours"), rows)


def _store_brief(result: Mapping[str, Any]) -> str:
    rows = [row for row in result["rows"] if row["codec"] == "lz4" and row["what"] in _BRIEF_STORE]
    return _store({"rows": rows})


def _extract(result: Mapping[str, Any]) -> str:
    settings = result["settings"]
    whole = markdown(
        ("what", "peer", "time / peer's", f"with {settings['few_texts']:,} texts"),
        [
            (row["what"], row["peer"], spread(row["time_over_peer"]), spread(row["time_over_peer_few"]))
            for row in result["rows"]
            if "time_over_peer" in row
        ],
    )
    further = markdown(
        ("a further text", "time / bare forward"),
        [(row["what"], spread(row["text_over_peer"])) for row in result["rows"] if "text_over_peer" in row],
    )
    once = f"What a run does once, whatever the texts: {settings['once_seconds']:.1f} s."
    return f"{_job(result)}\n\n{whole}\n\n{further}\n\n{once}"


def _job(result: Mapping[str, Any]) -> str:
    size = result["settings"]
    what = f"{size['texts']:,} texts, {size['tokens']:,} tokens, {size['layers']} layers of {size['width']} channels"
    return f"{what}, {size['capture_points']} capture points; rounds: {size['rounds']}"


def _extract_memory(result: Mapping[str, Any]) -> str:
    rows = [(f"{row['texts']:,}", f"{row['peak_bytes'] / 2**20:,.0f} MiB", row["ratio_to_first"]) for row in result["rows"]]
    return markdown(("texts", "peak memory", "ratio to the first"), rows)


def _extract_peers(result: Mapping[str, Any]) -> str:
    rows = [
        (
            row["what"],
            row["batches"],
            ", ".join(f"{name} {number}" for name, number in row["versions"].items()),
            spread(row["time_over_plain"]),
        )
        for row in result["rows"]
    ]
    return f"{_job(result)}\n\n" + markdown(("what", "batches", "environment", "time / plain hooks', batches by length"), rows)


def _score_few(result: Mapping[str, Any]) -> str:
    rows = [
        (
            row["n_texts"],
            "ap" if row["n_stats"] == 1 else f"{row['n_stats']}, the default ones",
            f"{median(row['microseconds_per_score']):.3f}",
            spread(row["run_over_kernels"]),
        )
        for row in result["rows"]
    ]
    head = ("texts per language", "statistics", "microseconds per score value", "whole run / kernels alone")
    return markdown(head, rows)


def _score_layouts(result: Mapping[str, Any]) -> str:
    readings = ("slab", "neuron", "threshold", "everything")
    rows = [
        (row["cut"], f"{row['bytes_per_score']:.2f}", *(f"{median(row['milliseconds'][what]):.1f}" for what in readings))
        for row in result["rows"]
    ]
    head = ("chunk", "bytes per score", "one language and concept", "one neuron", "one concept", "a checkpoint")
    return markdown(head, rows)


def _vllm_parity(result: Mapping[str, Any]) -> str:
    head = ("family", "ranks", "fix-up", "largest difference", "over the largest value", "other signs", "token vectors", "counts")
    rows = [
        (
            row["family"],
            row["ranks"],
            row["fix_up"] and f"`{row['fix_up']}`" if row["fix_up"] != "left out" else "left out",
            f"{row['largest_difference']:.1e} at {row['where']}",
            f"{row['relative_difference']:.1e}",
            f"{row['sign_flips']:,} of {row['n_values']:,}",
            f"{row['token_difference']:.1e}" if "token_difference" in row else "",
            f"{row['counts_that_differ']:,} differ" if "counts_that_differ" in row else "",
        )
        for row in result["rows"]
    ]
    return markdown(head, rows)


def _site_proofs(result: Mapping[str, Any]) -> str:
    settings, rows = result["settings"], []
    for row in result["rows"]:
        cells = [row[dtype] for dtype in ("float32", "bfloat16", "float16")]
        shown = [f"{cell['share']:.0%} ({cell['proof']})" if cell["is_proved"] else f"**no** ({cell['proof']})" for cell in cells]
        rows.append((row["family"], f"`{row['architecture']}`", row["n_proofs"], *shown))
    head = (
        f"Before a run: {spread(settings['cost']['ratio'])} of a forward pass over {settings['tokens']:,} tokens, "
        f"{settings['layers']} layers of {settings['channels']} channels; rounds: {settings['rounds']}"
    )
    return f"{head}\n\n{markdown(('model', 'architecture', 'proofs', 'float32', 'bfloat16', 'float16'), rows)}"


def _open(result: Mapping[str, Any]) -> str:
    rows = [
        (
            row["what"],
            f"{row['ms']:.2f}",
            spread(row["time_over_format_1"]),
            spread(row["time_over_before"]) if "time_over_before" in row else "",
        )
        for row in result["rows"]
    ]
    return markdown(("what", "ms", "time / format 1's, same code", "time / that of the code before, format 1"), rows)


def _open_files(result: Mapping[str, Any]) -> str:
    rows = [
        (
            row["group"],
            f"{row['files_format_1']} -> {row['files_format_2']}",
            f"{row['bytes_format_1']:,} -> {row['bytes_format_2']:,}",
            f"{row['bytes_in_a_list_at_the_root']:,}",
        )
        for row in result["rows"]
    ]
    head = ("one of", "files beside the shards, format 1 -> 2", "their bytes", "of these, in a list of everything at the root")
    return markdown(head, rows)


def _calibration(result: Mapping[str, Any]) -> str:
    rows = [
        (
            row["stores"],
            row["permutations"],
            f"{row['n_stores']:,}",
            f"{row['false_discovery_rate']:.3f} +- {row['standard_error']:.3f}",
            f"{row['false_p_at_most_level']:.3f}",
            "" if row["true_found"] is None else f"{row['true_found']:.3f}",
        )
        for row in result["rows"]
    ]
    level = result["settings"]["level"]
    head = (
        "stores",
        "labels move",
        "how many",
        f"false discovery rate at q <= {level}",
        f"false tests with p <= {level}",
        "found of true",
    )
    return markdown(head, rows)


def _weights(result: Mapping[str, Any]) -> str:
    cost, distance = (next(row for row in result["rows"] if row["what"] == what) for what in ("cost", "distance"))
    rows = [
        ("weights described", f"{cost['n_weights']:,}"),
        ("seconds of one core", f"{cost['seconds']:.0f} ({cost['seconds_per_100m']:.1f} per 100 million weights)"),
        ("as much as reading", f"{round(cost['tokens_of_the_same_cost'], -2):,.0f} tokens with the model, on the same core"),
        ("bytes of sketches", f"{cost['bytes_per_checkpoint']:,}"),
        ("distances: stated relative error", f"{distance['stated']:.2%}"),
        (f"measured over {distance['n']} matrices", f"{distance['sd']:.2%}, at most {distance['largest']:.1%}"),
    ]
    rows += [
        (f"4,096 x 1,024 by {row['road']}", f"{row['seconds']:.2f} s, entropy off by {row['entropy_error']:.0e}")
        for row in result["rows"]
        if row["what"] == "spectrum"
    ]
    return markdown((result["settings"]["model"], ""), rows)


def _steering(result: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{row['model']}, width {row['d_model']}, {row['num_layers']} layers",
            row["texts"],
            row["k"],
            row["frames"],
            f"{row['tokens_per_second']:,.0f}",
            spread(row["process_time_over_none"]),
        )
        for row in result["rows"]
    ]
    settings = result["settings"]
    about = f"{settings['tokens']} new tokens per text, {settings['rounds']} rounds, process time of one thread."
    header = ("model", "texts", "neurons", "frames", "tokens per second", "time / the same without steering")
    return f"{about}\n\n{markdown(header, rows)}"


def _rounding(result: Mapping[str, Any]) -> str:
    checks = {"together": "together beside alone", "other": "another way to compute", "known": "the same, float32 known"}
    rows = [
        (
            row["name"],
            checks[row["check"]],
            row["dtype"],
            row["n"],
            f"{row['largest_share']:.2f} at {row['where']}",
            f"{row['median_share']:.3f}",
            f"{row['sign_agreement']:.3f}",
            f"{row['rank_agreement']:.3f}",
            f"{row['order_agreement']:.3f}",
        )
        for row in result["rows"]
    ]
    head = (
        "models",
        "what is compared",
        "dtype",
        "runs",
        "largest share of the limit",
        "median",
        "least agreement in sign",
        "rank",
        "order",
    )
    return markdown(head, rows)


def _log(result: Mapping[str, Any]) -> str:
    rows = [
        (row["what"], f"{row['ms_before']:.2f}", f"{row['ms']:.2f}", spread(row["time_over_before"])) for row in result["rows"]
    ]
    of = result["settings"]
    about = f"{of['texts']:,} texts; commit {of['before']} has no log, {of['now']} has one."
    return f"{about}\n\n" + markdown(("what", "ms without a log", "ms with one", "time / without"), rows)


def _language_id(result: Mapping[str, Any]) -> str:
    lengths = tuple(result["rows"][0]["open"])
    rows = []
    for row in result["rows"]:
        about = (f"{row['identifier']} {row['version']}", row["licence"], row["installed_mb"], f"{row['texts_per_second']:,}")
        for kind in ("open", "restricted"):
            cells = [row[kind][length] for length in lengths]
            worst, share = min(cells[0]["by_language"].items(), key=lambda of: of[1])
            accuracies = [f"{cell['accuracy']:.2%}" for cell in cells]
            errors = ", ".join(f"{cell['calibration_error']:.3f}" for cell in cells)
            rows.append((*about, {"open": "any"}.get(kind, "these"), *accuracies, f"{share:.1%} ({worst})", errors))
            about = ("",) * len(about)
    of = result["settings"]
    dense = ", ".join(f"{n:.2f} characters of {code} for a word" for code, n in of["characters_per_word"].items())
    n_texts = " / ".join(f"{cell['n_texts']:,}" for cell in cells)
    head = (
        "identifier",
        "licence",
        "MB",
        "texts / s",
        "languages",
        *(f"{length} words" for length in lengths),
        f"worst at {lengths[0]}",
        "calibration error",
    )
    return f"Languages: {', '.join(of['languages'])}; {dense}; texts: {n_texts}.\n\n{markdown(head, rows)}"


def _estimates(result: Mapping[str, Any]) -> str:
    of, rows = result["settings"], []
    for row in result["rows"]:
        n_named, n_runs, hours = row["n_checkpoints"], row["n_runs"], row["hours"]
        twin = "" if n_named == n_runs else " + twin"
        whole = ("", "", "")
        if n_runs is not None:
            whole = (
                _gigabytes(n_named * row["download_bytes"]),
                _gigabytes(n_runs * row["disk_bytes"]),
                " / ".join(f"{n_runs * each:.2g}" for each in hours.values()),
            )
        rows.append(
            (
                f"`{row['model']}`",
                ", ".join(f"`{site}`" for site in row["sites"]),
                _gigabytes(row["download_bytes"]),
                f"{_gigabytes(row['disk_bytes'])} ({_gigabytes(row['cube_bytes'])})",
                " / ".join(f"{each:.2g}" for each in hours.values()),
                "as on the hub" if n_named is None else f"{n_named}{twin}",
                *whole,
            )
        )
    first = result["rows"][0]
    devices = " / ".join(first["hours"])
    about = (
        f"A corpus of {of['languages']} languages, {of['texts_per_language']:,} texts in each, {of['characters_per_text']} "
        f"characters a text: {first['n_tokens']:,} tokens ({first['tokens_from']}). "
        f"Efficiency {first['efficiency']}; GB are 10^9 bytes."
    )
    head = (
        "model",
        "sites",
        "download, GB",
        "disk, GB (cubes)",
        f"hours, {devices}",
        "checkpoints",
        "all: download",
        "disk",
        "hours",
    )
    return f"{about}\n\n{markdown(head, rows)}"


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f}"


def _probe(result: Mapping[str, Any]) -> str:
    rows = []
    for row in result["rows"]:
        steps = row["iterations"]
        rows.append(
            (
                f"{row['vectors']}, {row['n_train']:,} x {row['channels']:,}, {row['labels']} labels",
                f"{row['c']:g}",
                f"{row['accuracy']:.1f} %",
                f"{row['largest_difference']:.2f}",
                f"{row['largest_difference_of_loop']:.2f}",
                f"{steps['batched']} / {steps['loop']} / {steps['converged']}",
                f"{row['gflop_per_gradient']:.2g}",
                spread(row["loop_over_batched"]),
                spread(row["processor_loop_over_batched"]),
                f"{row['processor_converged_over_batched']:.1f}",
            )
        )
    head = (
        "vectors",
        "C",
        "accuracy",
        "points apart, batched",
        "points apart, loop",
        "steps: batched / loop / converged",
        "Gflop per gradient",
        "time of the loop / batched",
        "the same of the processor",
        "converged / batched, of the processor",
    )
    return markdown(head, rows)


TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "kernels_brief": _kernels_brief,
    "store": _store,
    "store_brief": _store_brief,
    "open": _open,
    "calibration": _calibration,
    "open_files": _open_files,
    "log": _log,
    "language_id": _language_id,
    "extract": _extract,
    "extract_memory": _extract_memory,
    "extract_peers": _extract_peers,
    "score_few": _score_few,
    "score_layouts": _score_layouts,
    "vllm_parity": _vllm_parity,
    "rounding": _rounding,
    "weights": _weights,
    "steering": _steering,
    "estimates": _estimates,
    "probe": _probe,
    "site_proofs": _site_proofs,
    **EXPLORE_TABLES,
    **KERNEL_TABLES,
    **QUERY_TABLES,
    **REAL_TABLES,
    **SCORE_QUERY_TABLES,
    **STEERING_TABLES,
}
