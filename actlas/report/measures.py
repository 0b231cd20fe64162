"""What the report shows, as small frames: one function per figure, read from tables that were already computed."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from actlas.query.atlas import Atlas

#: False discovery rate, and p-value, up to which something is told as a finding.
LEVEL = 0.05
#: What is shown of table `overlap_controls`.
OVERLAP = (
    *("overlap", "low", "high", "null", "null_independent", "p_value", "n_repeats"),
    *("other_concept", "chance", "ceiling", "cross_half", "corrected_ratio"),
)


@dataclass(frozen=True)
class Labelled:
    """A store and what the report calls it."""

    label: str
    store: Atlas

    @property
    def checkpoints(self) -> list[str]:
        """The checkpoints that stand on an axis: all but controls."""
        return [checkpoint for checkpoint in self.store.checkpoints if checkpoint not in self.store.controls]

    @property
    def axis(self) -> list[str]:
        """These as labels: the step, or the id where there is none."""
        records = [self.store.checkpoint(checkpoint) for checkpoint in self.checkpoints]
        return [str(r["checkpoint"] if r["step"] is None else r["step"]) for r in records]

    def positions(self) -> pl.DataFrame:
        """checkpoint, position, axis: the place of each checkpoint on the axis."""
        names = self.checkpoints
        return pl.DataFrame(
            {"checkpoint": names, "position": range(len(names)), "axis": self.axis},
            schema={"checkpoint": pl.String, "position": pl.Int64, "axis": pl.String},
        )


def overlap_over_training(source: Labelled) -> pl.DataFrame:
    """Mean overlap of each checkpoint beside what it has to be held against.

    Returns:
        position, axis, then `OVERLAP`; by position.

    Raises:
        TableNotFound: If the overlap was never computed.
    """
    frame = source.store.scan("overlap_controls").collect().join(source.positions(), on="checkpoint")
    return frame.sort("position").select("position", "axis", *OVERLAP)


def overlap_of_twins(source: Labelled) -> pl.DataFrame:
    """The same of the controls that a store holds beside its checkpoints: random-weights twins.

    Returns:
        checkpoint, control (what it is, in words), then `OVERLAP`; in the order of the store, without rows where there is none.

    Raises:
        TableNotFound: If the overlap was never computed.
    """
    controls = source.store.controls
    columns = {"checkpoint": list(controls), "control": list(controls.values())}
    named = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    frame = source.store.scan("overlap_controls").collect()
    return named.join(frame, on="checkpoint", how="inner", maintain_order="left").select("checkpoint", "control", *OVERLAP)


def concept_tests(source: Labelled) -> pl.DataFrame:
    """How many concepts are shared more than labels without meaning give.

    Returns:
        position, axis, n_tests (concepts that were tested), n_found (whose q-value is at most `LEVEL`); by position.

    Raises:
        TableNotFound: If the tests were never computed.
    """
    counts = (
        source.store.scan("overlap_tests_by_concept")
        .group_by("checkpoint")
        .agg(pl.col("q_value").count().alias("n_tests"), (pl.col("q_value") <= LEVEL).sum().alias("n_found"))
        .collect()
    )
    return counts.join(source.positions(), on="checkpoint").sort("position").select("position", "axis", "n_tests", "n_found")


def expert_ap(source: Labelled) -> pl.DataFrame:
    """Mean average precision of the experts of each checkpoint.

    Returns:
        position, axis, ap; by position.

    Raises:
        TableNotFound: If the experts were never computed.
    """
    mean = source.store.scan("experts").group_by("checkpoint").agg(pl.col("ap").mean()).collect()
    return mean.join(source.positions(), on="checkpoint").sort("position").select("position", "axis", "ap")


def probe_accuracy(source: Labelled) -> pl.DataFrame:
    """Accuracy of the probes, averaged over seeds.

    Returns:
        label, place ("embed", "resid 0", ...), place_order, position, axis, accuracy, deviation (over seeds), chance.

    Raises:
        TableNotFound: If no probe was trained.
    """
    frame = (
        source.store.scan("probe")
        .group_by("checkpoint", "label", "site", "layer")
        .agg(
            pl.col("accuracy").mean(),
            pl.col("accuracy").std(ddof=0).alias("deviation"),
            pl.col("chance").mean(),
        )
        .collect()
        .join(source.positions(), on="checkpoint")
    )
    single = pl.col("layer").count().over("checkpoint", "label", "site") == 1
    return (
        frame.with_columns(
            pl.when(single).then(pl.col("site")).otherwise(pl.format("{} {}", "site", "layer")).alias("place"),
            pl.struct((pl.col("site") != "embed").alias("is_inside"), "site", "layer")
            .rank("dense")
            .cast(pl.Int64)
            .alias("place_order"),
        )
        .sort("label", "place_order", "position")
        .select("label", "place", "place_order", "position", "axis", "accuracy", "deviation", "chance")
    )


def probe_penalties(source: Labelled, label: str) -> str:
    """What the probes for a label were held back by, in words.

    Raises:
        TableNotFound: If no probe was trained.
    """
    probes = source.store.scan("probe").filter(pl.col("label") == label).select("checkpoint", "c").collect()
    penalties = sorted(set(probes["c"]))
    between = f"{penalties[0]:g}" if len(penalties) == 1 else f"{penalties[0]:g} to {penalties[-1]:g}"
    if source.store.table_settings("probe", probes["checkpoint"][0]).get("c_grid"):
        return f"each with the penalty that was best on a part of its training texts (C = {between})"
    return f"with C = {between}"


def expert_places(source: Labelled) -> pl.DataFrame:
    """Where the experts sit: over all concepts and languages, the share of a checkpoint's experts in each layer of each site.

    Returns:
        site, layer, position, axis, share, even (the share that this layer has of the ranked neurons); by site, layer, position.

    Raises:
        TableNotFound: If the experts were never computed.
    """
    counts = (
        source.store.scan("layer_histogram")
        .group_by("checkpoint", "site", "layer")
        .agg(pl.col("n_experts").sum(), pl.col("n_neurons").first())
        .collect()
    )
    return (
        counts.with_columns(
            (pl.col("n_experts") / pl.col("n_experts").sum().over("checkpoint")).alias("share"),
            (pl.col("n_neurons") / pl.col("n_neurons").sum().over("checkpoint")).alias("even"),
        )
        .join(source.positions(), on="checkpoint")
        .sort("site", "layer", "position")
        .select("site", "layer", "position", "axis", "share", "even")
    )
