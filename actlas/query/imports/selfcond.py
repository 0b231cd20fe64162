"""Expertise as ml-selfcond (Suau et al. 2022) leaves it: one expertise.csv per concept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from actlas.errors import ScoreImportError
from actlas.words import listed

#: Its columns -> the statistics that they are: percentiles of the positive texts, and the mean of the others.
STATS = {"ap": "ap", "on_p50": "median", "on_p90": "p90", "off_mean": "mean_off"}
#: End of a module's path -> the site that its output is.
MODULES = {
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_out",
    "mlp.c_fc": "mlp_pre",
    "mlp.c_proj": "mlp_out",
    "self_attention.query_key_value": "attn_qkv",
    "self_attention.dense": "attn_out",
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_out",
    "mlp.dense_h_to_4h": "mlp_pre",
    "mlp.dense_4h_to_h": "mlp_out",
    "self_attn.out_proj": "attn_out",
    "fc1": "mlp_pre",
    "fc2": "mlp_out",
}
#: "transformer.h.3.mlp.c_fc:0": the path of a module, its layer in it, and which of its outputs.
_RESPONSE = re.compile(r"(?:.*\.)?(\d+)\.([^:]+)(?::(\d+))?")


def read_selfcond(
    folders: Mapping[str, Path | str], checkpoint: str, *, modules: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """The scores below folders that ml-selfcond has written, in the form that `import_scores` takes.

    Args:
        folders: Language -> folder of one model; every ``expertise.csv`` below it is a concept.
        checkpoint: Id of the checkpoint that was scored.
        modules: End of a module's path -> site; only these modules are read then. None: those of GPT-2, BLOOM, GPT-NeoX and
            XGLM, and others are refused.

    Returns:
        Columns checkpoint, language, concept, site, layer, neuron, ap, and median, p90, mean_off where the files have them.

    Raises:
        ScoreImportError: If there is no such file, a concept is there twice, or a module is of no site.

    Source: Suau et al. 2022, https://github.com/apple/ml-selfcond, selfcond/expertise.py.

    Example:
        >>> expertise = folder / "gpt2/sense/football/expertise"
        >>> expertise.mkdir(parents=True)
        >>> units = {"layer": "transformer.h.0.mlp.c_fc:0", "unit": [0, 1], "concept": "football"}
        >>> pl.DataFrame({"ap": [0.5, 0.7], **units}).write_csv(expertise / "expertise.csv")
        >>> read_selfcond({"en": folder / "gpt2"}, "gpt2").select("concept", "site", "layer", "neuron", "ap").rows()
        [('football', 'mlp_pre', 0, 0, 0.5), ('football', 'mlp_pre', 0, 1, 0.7)]
    """
    frames = []
    for language, folder in folders.items():
        files = sorted(Path(folder).rglob("expertise.csv"))
        if not files:
            raise ScoreImportError(f"there is no expertise.csv below {folder}")
        owners: dict[str, Path] = {}
        for file in files:
            frame = _expertise(file, modules)
            concept = frame["concept"][0]
            if concept in owners:
                raise ScoreImportError(f"concept {concept!r} is in {owners[concept]} and in {file}")
            owners[concept] = file
            frames.append(frame.with_columns(pl.lit(language).alias("language"), pl.lit(checkpoint).alias("checkpoint")))
    stats = [stat for stat in STATS.values() if all(stat in frame.columns for frame in frames)]
    order = ["checkpoint", "language", "concept", "site", "layer", "neuron", *stats]
    return pl.concat([frame.select(order) for frame in frames])


def _expertise(file: Path, modules: Mapping[str, str] | None) -> pl.DataFrame:
    try:
        read = pl.read_csv(file, schema_overrides={"concept": pl.String, "layer": pl.String})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ScoreImportError(f"{file} could not be read: {str(error).splitlines()[0]}") from error
    missing = [name for name in ("ap", "layer", "unit", "concept") if name not in read.columns]
    if missing:
        raise ScoreImportError(f"{file} is no table of ml-selfcond: it has no column {', '.join(missing)}")
    if read["concept"].n_unique() != 1 or read["concept"][0] is None:
        raise ScoreImportError(f"{file} must be about one concept, and names {listed(read['concept'].unique().sort().to_list())}")
    places = _places(file, read["layer"].unique(maintain_order=True).to_list(), modules)
    columns = [pl.col(name).alias(stat) for name, stat in STATS.items() if name in read.columns]
    return read.join(places, on="layer", maintain_order="left").select(
        "concept",
        "site",
        pl.col("_layer").alias("layer"),
        pl.col("unit").alias("neuron"),
        *columns,
    )


def _places(file: Path, responses: Sequence[str], modules: Mapping[str, str] | None) -> pl.DataFrame:
    """Site and layer of every response that is one."""
    rows, others = [], []
    for response in responses:
        match = _RESPONSE.fullmatch(response or "")
        site = (MODULES if modules is None else modules).get(match[2]) if match else None
        if match is not None and site is not None and match[3] in (None, "0"):
            rows.append((response, site, int(match[1])))
        elif modules is None:
            others.append(str(response))
    if others:
        raise ScoreImportError(
            f"{file}: {listed(others)} is the output of no site that is known; say which modules are read, by the end of their "
            "paths, as modules={'mlp.c_fc': 'mlp_pre'}, or --module mlp.c_fc=mlp_pre"
        )
    if not rows:
        raise ScoreImportError(f"{file} has none of the modules {listed(list(modules or MODULES))}")
    return pl.DataFrame(rows, schema={"layer": pl.String, "site": pl.String, "_layer": pl.Int64}, orient="row")
