"""Where every table of a store comes from: Parquet files, small frames made of records, and cubes that are read lazily."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from actlas.errors import TableNotFound
from actlas.kernels.stats import DEFAULT_STATS
from actlas.names import IMPORTED, Recipe
from actlas.query.compared import tell_unknown_names
from actlas.query.keep import KeptPart, check_current, kept_parts
from actlas.query.schema import LANGUAGES_PER_WORD, TABLES, score_type
from actlas.query.space.distances import parameter_space_frame
from actlas.query.sql.arguments import Parameter, check_arguments
from actlas.query.sql.grids import ActivationGrid, Grid, ScoreGrid
from actlas.query.sql.guard import ReadOnlyQuery
from actlas.query.sql.scan import scan_grid
from actlas.store.contents.opened import only_scores
from actlas.store.contents.records import Snapshot
from actlas.store.corpus.declared import UNKNOWN
from actlas.store.dtypes import SiteDtype
from actlas.store.files.parquet import parquet_columns, scan_parquet
from actlas.store.layout import HEALTH_FILE, LABELS, SAMPLED_TOKENS, TEXTS, WEIGHTS_FILE, manifest_path, partition_of
from actlas.store.store import Store
from actlas.words import did_you_mean

#: Tables that lie beside the records of checkpoints -> their file, which may have more columns.
RECORD_TABLES = {"neuron_health": HEALTH_FILE, "weights": WEIGHTS_FILE}


@dataclass(frozen=True)
class TableSources:
    """Where the tables of one store come from; nothing is read before a query names the table.

    Attributes:
        files: name -> Parquet files; one level of ``checkpoint=<id>`` folders is understood.
        beside: name of a table -> Parquet files of its parts that were made with other settings.
        parts: name of a table -> all its parts with their settings: what ``<name>_by_settings`` shows.
        check_macro: Refuses a call of a macro that asks for what the store does not have; see `check_arguments`.
        tell_unknown: Warns of constants in a query that name nothing; see `tell_unknown_names`.
        check: Refuses a table, by its name, in which an answer outlived its scores.
        joined: name -> SELECT over tables of `files`, and the same as a frame.
        frames: name -> a small frame.
        grids: name -> a table that is read from the cubes when a query asks for it.
        checked: Compares a file with its record before it is read.
        label: How messages call the store.
        snapshot: The records that all of it was made of.
    """

    files: Mapping[str, tuple[Path, ...]]
    beside: Mapping[str, tuple[Path, ...]]
    parts: Callable[[str], Iterable[KeptPart]]
    check_macro: Callable[[Sequence[Parameter], Collection[str], Mapping[str, Any]], None]
    tell_unknown: Callable[[ReadOnlyQuery, Mapping[str, Any]], None]
    check: Callable[[str], None]
    joined: Mapping[str, tuple[str, Callable[[], pl.DataFrame]]]
    frames: Mapping[str, Callable[[], pl.DataFrame]]
    grids: Mapping[str, Callable[[], Grid]]
    checked: Callable[[Path], Path]
    label: str
    snapshot: Snapshot

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted({*self.files, *self.by_settings, *self.joined, *self.frames, *self.grids}))

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that a query may read."""
        return tuple(path for paths in (*self.files.values(), *self.beside.values()) for path in paths)

    @property
    def by_settings(self) -> Mapping[str, str]:
        """``<name>_by_settings`` -> name, for every kept table."""
        return {f"{name}_by_settings": name for name in self.beside}

    def missing(self, name: str) -> TableNotFound:
        """The error for a table that is not there: what is, and which command computes this one."""
        # every kept table has another view with all its settings, which says nothing new here
        existing = f"{self.label} has {', '.join(one for one in self.names if one not in self.by_settings)}"
        if name == "activations":
            return TableNotFound(f"{only_scores(self.label)}, so there is no table activations; {existing}")
        command = TABLES[name].command if name in TABLES else None
        if command is None:
            return TableNotFound(f"no table {name}; {did_you_mean([name], {*self.names, *TABLES})}{existing}")
        return TableNotFound(f"table {name} was not computed yet: {command.replace('STORE', self.label)}; {existing}")

    def scan(self, name: str) -> pl.LazyFrame:
        """Any of the tables as a lazy frame.

        Raises:
            TableNotFound: If it is not there.
        """
        if name in self.grids:
            return scan_grid(self.grids[name]())
        if name in self.frames:
            return self.frames[name]().lazy()
        if name in self.joined:
            return self.joined[name][1]().lazy()
        if name in self.by_settings:
            self.check(name)
            parts = self.parts(self.by_settings[name])
            return pl.concat(part.scan().with_columns(pl.lit(part.id).alias("settings")) for part in parts)
        if name not in self.files:
            raise self.missing(name)
        self.check(name)
        files = tuple(map(self.checked, self.files[name]))
        checkpoints = [partition_of(file) for file in files]
        if None in checkpoints:
            frame = pl.concat(map(scan_parquet, files))
            return frame.select(list(TABLES[name].columns)) if name in RECORD_TABLES else frame
        columns = list(TABLES[name].columns) if name in TABLES else []
        labels = [pl.lit(checkpoint).alias("checkpoint") for checkpoint in checkpoints]
        scans = (scan_parquet(file, [one for one in columns if one != "checkpoint"]) for file in files)
        frame = pl.concat(part.with_columns(label) for part, label in zip(scans, labels, strict=True))
        return frame.select(columns) if columns else frame


def table_sources(store: Store) -> TableSources:
    """Where the tables of a store come from, as it is now.

    Args:
        store: The store.
    """
    files: dict[str, tuple[Path, ...]] = {"texts": (store.path / TEXTS,), "labels": (store.path / LABELS,)}
    joined = {}
    if (store.path / SAMPLED_TOKENS).is_file():
        files["sampled_tokens"] = (store.path / SAMPLED_TOKENS,)
        joined["tokens"] = (_token_select(store.path / SAMPLED_TOKENS), partial(_token_frame, store))
    beside = {}
    for name, parts in store.table_parts().items():
        if None in parts:
            files[name] = tuple(parts[None])
            if name in TABLES:
                beside[name] = tuple(path for variant, paths in parts.items() if variant is not None for path in paths)
    snapshot = store.snapshot()
    for table, file in RECORD_TABLES.items():
        noted = [name for name, record in snapshot.checkpoints.items() if file in record.tables]
        if noted:
            files[table] = tuple(store.path / manifest_path(name) / file for name in noted)
    frames: dict[str, Callable[[], pl.DataFrame]] = {
        "settings": partial(_settings_frame, store),
        "checkpoints": partial(_checkpoint_frame, store.recipe, snapshot),
        "languages": partial(_language_frame, store),
        "label_counts": partial(_label_frame, store),
        "cubes": partial(_cube_frame, store.recipe, snapshot),
        "sites": partial(_site_frame, snapshot),
        "site_proofs": partial(_proof_frame, snapshot),
        "site_dtypes": partial(_dtype_frame, store.recipe, snapshot),
        "parameter_space": partial(parameter_space_frame, store, tuple(snapshot.checkpoints.values())),
    }
    if "weights" not in files:
        frames["weights"] = TABLES["weights"].empty
    grids: dict[str, Callable[[], Grid]] = {}
    if not store.is_imported:
        grids["activations"] = cache(lambda: activation_grid(store, snapshot))
    if any((store.path / "scores").glob("*")):
        frames["score_sources"] = partial(_exactness_frame, snapshot)
        grids["scores"] = cache(lambda: score_grid(store, snapshot))

    def check(name: str) -> None:
        table = name.removesuffix("_by_settings")
        if table in beside:
            check_current(store, table, beside=table != name)

    return TableSources(
        files,
        beside,
        partial(kept_parts, store),
        partial(check_arguments, store),
        partial(tell_unknown_names, store),
        check,
        joined,
        frames,
        grids,
        store.checked,
        str(store.path),
        snapshot,
    )


def score_stats(store: Store, checkpoint: str, site: str) -> tuple[str, ...]:
    """Statistics that the scores of a cube have; none where they are not complete."""
    record = store.score_record(checkpoint, site)
    return () if record is None else record.stats


#: Columns of `tokens` that an older store did not keep: name -> name in the file, type in SQL.
_LATER_TOKEN_COLUMNS = {
    "surface": ("surface", "VARCHAR"),
    "word": ("word", "INTEGER"),
    "span": ("span", "VARCHAR"),
    "n_subtokens": ("n_tokens", "INTEGER"),
}


def _token_select(path: Path) -> str:
    """SELECT that makes table `tokens`; what an older store did not keep is null."""
    existing = parquet_columns(path)
    columns = {name: f"s.{name}" for name in ("text_id", "position", "token_id")}
    for name, (stored_as, sql_type) in _LATER_TOKEN_COLUMNS.items():
        columns[name] = f"s.{stored_as}" if stored_as in existing else f"CAST(NULL AS {sql_type})"
    # rows of the array have gaps between blocks; `TokenCube.read` leaves the gaps out
    columns |= {"token": "row_number() OVER (ORDER BY s.row) - 1", "language": "t.language", "split": "t.split"}
    selected = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
    return f"SELECT {selected} FROM sampled_tokens AS s JOIN texts AS t ON t.text_id = s.text_id"


def _token_frame(store: Store) -> pl.DataFrame:
    frame = store.sampled_tokens.drop("row").with_row_index("token").rename({"n_tokens": "n_subtokens"}, strict=False)
    columns = TABLES["tokens"].columns
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in columns.items() if name not in frame.columns]
    return TABLES["tokens"].conform(frame.with_columns(missing))


def _checkpoint_frame(recipe: Recipe, snapshot: Snapshot) -> pl.DataFrame:
    records = [
        {**record.provenance, "position": position, "control": None if record.twin is None else str(record.twin)}
        for position, record in enumerate(snapshot.checkpoints.values())
    ]
    columns = TABLES["checkpoints"].columns
    rows = [{name: record.get(name) for name in columns} for record in records]
    defaults = {"backend": recipe.backend, "dtype": recipe.dtype}
    filled = [{**row, **{key: row[key] or value for key, value in defaults.items()}} for row in rows]
    return pl.DataFrame(filled, schema=dict(columns))


def _language_frame(store: Store) -> pl.DataFrame:
    slices = [store.corpus.language_slice(language) for language in store.corpus.languages]
    rows = [
        (name, position, position // LANGUAGES_PER_WORD, position % LANGUAGES_PER_WORD, texts.stop - texts.start)
        for position, (name, texts) in enumerate(zip(store.corpus.languages, slices, strict=True))
    ]
    return pl.DataFrame(rows, schema=dict(TABLES["languages"].columns), orient="row")


def _label_frame(store: Store) -> pl.DataFrame:
    """Table `label_counts`."""
    rows: list[tuple[str, str, int | None, int | None]] = []
    for language in store.corpus.languages:
        for concept, *counts in zip(
            store.corpus.concepts, *store.corpus.label_counts(language, store.corpus.concepts), strict=True
        ):
            n_positive, n_member = (None if count == UNKNOWN else int(count) for count in counts)
            rows.append((language, concept, n_positive, n_member))
    return pl.DataFrame(rows, schema=dict(TABLES["label_counts"].columns), orient="row")


def _cube_frame(recipe: Recipe, snapshot: Snapshot) -> pl.DataFrame:
    rows = []
    for checkpoint, record in snapshot.checkpoints.items():
        for site, (layers, neurons, texts) in sorted(record.shapes.items()):
            rows.append((checkpoint, site, recipe.pooling, layers, neurons, texts, record.dtype_of(site, recipe)))
    return pl.DataFrame(rows, schema=dict(TABLES["cubes"].columns), orient="row")


def _site_frame(snapshot: Snapshot) -> pl.DataFrame:
    """Table `sites`."""
    rows = [
        (name, site, *record.shape(site), site in record.cubes, (name, site) in snapshot.scores, site in record.counts)
        for name, record in snapshot.checkpoints.items()
        for site in record.sites
    ]
    return pl.DataFrame(rows, schema=dict(TABLES["sites"].columns), orient="row")


def _proof_frame(snapshot: Snapshot) -> pl.DataFrame:
    """Table `site_proofs`; without rows of checkpoints whose sites were not proved."""
    columns = TABLES["site_proofs"].columns
    rows = []
    for checkpoint, record in snapshot.checkpoints.items():
        about = {name: record.provenance.get(name) for name in ("architecture", "compute_dtype")}
        for proof in record.provenance.get("site_proofs", ()):
            is_proved = proof["figure"] <= proof["allowed"]
            rows.append({"checkpoint": checkpoint, **about, **proof, "is_proved": is_proved})
    return pl.DataFrame(rows, schema=dict(columns))


def _dtype_frame(recipe: Recipe, snapshot: Snapshot) -> pl.DataFrame:
    """Table `site_dtypes`."""
    columns = TABLES["site_dtypes"].columns
    rows = []
    for checkpoint, record in snapshot.checkpoints.items():
        for site in sorted({*record.sites, *record.token_cubes}):
            about = record.dtypes.get(site, SiteDtype(dtype=record.dtype_of(site, recipe)))
            rows.append({"checkpoint": checkpoint, "site": site, **msgspec.structs.asdict(about)})
    return pl.DataFrame(rows, schema=dict(columns))


def _settings_frame(store: Store) -> pl.DataFrame:
    rows = [
        (name, part.checkpoint, part.id, part.is_shown, part.is_current(store), json.dumps(dict(part.settings), sort_keys=True))
        for name in store.table_names()
        if name in TABLES
        for part in kept_parts(store, name)
    ]
    return pl.DataFrame(rows, schema=dict(TABLES["settings"].columns), orient="row")


def _exactness_frame(snapshot: Snapshot) -> pl.DataFrame:
    """Table `score_sources`."""
    rows = []
    for (checkpoint, site), record in snapshot.scores.items():
        exactness = record.settings.get("sources", {})
        source = IMPORTED if record.settings.get("backend") == IMPORTED else "states" if exactness else "cube"
        for stat in record.stats:
            rows.append((checkpoint, site, stat, source, exactness.get(stat, "exact"), record.settings["threshold"]))
    return pl.DataFrame(rows, schema=dict(TABLES["score_sources"].columns), orient="row")


def activation_grid(store: Store, snapshot: Snapshot) -> ActivationGrid:
    """What table `activations` is read from."""
    return ActivationGrid(store, _cube_frame(store.recipe, snapshot), store.corpus.texts)


def score_grid(store: Store, snapshot: Snapshot) -> ScoreGrid:
    """What table `scores` is read from.

    Raises:
        TableNotFound: If no neuron was scored.
    """
    rows = [
        (checkpoint, site, *snapshot.checkpoints[checkpoint].shape(site), list(record.stats))
        for (checkpoint, site), record in snapshot.scores.items()
    ]
    schema = {"checkpoint": pl.String, "site": pl.String, "n_layers": pl.Int32, "n_neurons": pl.Int32}
    cubes = pl.DataFrame(rows, schema={**schema, "stats": pl.List(pl.String)}, orient="row")
    if cubes.is_empty():
        raise TableNotFound(f"no neuron of {store.path} was scored yet; score them with: actlas score {store.path}")
    scored = {stat for stats in cubes["stats"] for stat in stats}
    ordered = [stat for stat in DEFAULT_STATS if stat in scored] + sorted(scored - set(DEFAULT_STATS))
    return ScoreGrid(store, cubes, store.corpus.languages, store.corpus.concepts, {stat: score_type(stat) for stat in ordered})
