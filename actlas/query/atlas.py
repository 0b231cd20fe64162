"""`Atlas`: a store that answers questions. What `open_store` returns."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from actlas.errors import ActlasError, TableNotFound
from actlas.query.schema import LANGUAGES_PER_WORD, STAT_COLUMNS, TABLES
from actlas.store.files.atomic import read_json
from actlas.store.layout import EXACT_STATS, LABELS, SAMPLED_TOKENS, TEXTS, table_path
from actlas.store.store import Store
from actlas.store.write.score_writer import score_manifest

if TYPE_CHECKING:
    from actlas.query.sql.scan import ActivationGrid, ScoreGrid
    from actlas.query.sql.session import Session, Sources


class Atlas(Store):
    """A store with SQL and lazily read tables.

    Args:
        path: Folder of the store.
        mode: "r" refuses every write; with "a" the question functions also keep their answers as tables.

    Raises:
        StoreNotFound: If there is no store at `path`.

    Attributes:
        max_rows: Rows that one query may read out of `activations` or `scores`.
        threads: Threads of DuckDB; None for one per core.
        memory_limit: Memory of DuckDB, as it writes it ("4GB"); None for its own default.
    """

    def __init__(self, path: Path | str, mode: str = "r") -> None:
        super().__init__(path, mode)
        self.max_rows = 20_000_000
        self.threads: int | None = None
        self.memory_limit: str | None = None
        self._session: Session | None = None
        self._state: object = None
        self._opening = threading.Lock()

    def sql(self, query: str) -> pl.DataFrame:
        """The answer to one query over the tables of the store.

        One SELECT (or EXPLAIN SELECT), after any number of ``SET VARIABLE name = (...)``. Nothing can be written, and nothing
        outside the store can be read. `activations` and `scores` are read in parts: bound them by constants.

        Args:
            query: DuckDB SQL. Tables and macros are listed in docs/sql.md.

        Raises:
            QueryError: If the query is refused or wrong.
            TableNotFound: If it names a table that was not computed; the message says what is there and what computes it.

        Example:
            >>> store.sql("SELECT checkpoint, avg(overlap) FROM overlap GROUP BY checkpoint")  # doctest: +SKIP
        """
        return self._open_session().run(query)

    def scan(self, name: str) -> pl.LazyFrame:
        """Any table as a lazy frame; filters reach the chunks of `activations` and `scores`.

        Args:
            name: A table of docs/sql.md, or any that was published.

        Raises:
            TableNotFound: If it was not computed; the message says what is there and what computes it.

        Example:
            >>> store.scan("experts").filter(pl.col("rank") <= 10).collect()  # doctest: +SKIP
        """
        sources = self._sources([])
        if name in sources.scans:
            return sources.scans[name]()
        if name in sources.frames:
            return sources.frames[name]().lazy()
        if name in sources.joined:
            return self._token_frame().lazy()
        if name not in sources.files:
            raise sources.missing(name)
        files = list(sources.files[name])
        if not files[0].parent.name.startswith("checkpoint="):
            return pl.scan_parquet(files)
        frame = pl.scan_parquet(files, hive_partitioning=True, hive_schema={"checkpoint": pl.String}, try_parse_hive_dates=False)
        return frame.select(list(TABLES[name].columns)) if name in TABLES else frame

    def close(self) -> None:
        """Free what `sql` opened."""
        with self._opening:
            if self._session is not None:
                self._session.close()
            self._session = None

    def table(self, name: str, checkpoint: str) -> pl.DataFrame:
        """One checkpoint's part of a stored table.

        Raises:
            TableNotFound: If it was not computed for this checkpoint.
        """
        self.table_settings(name, checkpoint)
        frame = self.scan(name).filter(pl.col("checkpoint") == checkpoint).collect()
        return TABLES[name].conform(frame) if name in TABLES else frame

    def score_stats(self, checkpoint: str, site: str) -> tuple[str, ...]:
        """Statistics that the scores of a cube have; none where they are not computed."""
        manifest = score_manifest(self.path, checkpoint, site, self.recipe.pooling)
        if not (manifest / "done.json").is_file():
            return ()
        return tuple(read_json(manifest / "settings.json")["stats"])

    # Where tables come from

    def _open_session(self) -> Session:
        """The connection, made anew when the files behind it are not those it was made for."""
        from actlas.query.sql.session import Session

        refusals: list[ActlasError] = []
        with self._opening:
            sources = self._sources(refusals)
            state = (
                tuple(self.checkpoints),
                tuple((name, path, path.stat().st_mtime_ns) for name, paths in sources.files.items() for path in paths),
                tuple(sorted(path.stat().st_mtime_ns for path in self.path.glob("manifests/*/scores/*/done.json"))),
                (self.max_rows, self.threads, self.memory_limit),
            )
            if self._session is None or state != self._state:
                self._session = Session(sources, refusals, threads=self.threads, memory_limit=self.memory_limit)
                self._state = state
            return self._session

    def _sources(self, refusals: list[ActlasError]) -> Sources:
        from actlas.query.sql.session import Sources

        files: dict[str, tuple[Path, ...]] = {"texts": (self.path / TEXTS,), "labels": (self.path / LABELS,)}
        joined = {}
        if (self.path / SAMPLED_TOKENS).is_file():
            files["sampled_tokens"] = (self.path / SAMPLED_TOKENS,)
            columns = ", ".join(f"{expression} AS {name}" for name, expression in self._token_columns().items())
            joined["tokens"] = f"SELECT {columns} FROM sampled_tokens AS s JOIN texts AS t ON t.text_id = s.text_id"
        checkpoints = self.checkpoints
        for name in self.table_names():
            paths = tuple(self.path / table_path(name, checkpoint) for checkpoint in checkpoints)
            if there := tuple(path for path in paths if path.is_file()):
                files[name] = there
        frames = {"checkpoints": self._checkpoint_frame, "languages": self._language_frame, "cubes": self._cube_frame}
        if any((self.path / "scores").glob("*")):
            frames["score_sources"] = self._source_frame
        scans: dict[str, Any] = {"activations": lambda: self._scan(self._activation_grid(), refusals)}
        if any((self.path / "scores").glob("*")):
            scans["scores"] = lambda: self._scan(self._score_grid(), refusals)
        return Sources(files, joined, frames, scans, str(self.path))

    def _scan(self, grid: ActivationGrid | ScoreGrid, refusals: list[ActlasError]) -> pl.LazyFrame:
        from actlas.query.sql.scan import scan_grid

        return scan_grid(grid, max_rows=self.max_rows, refusals=refusals)

    def _token_columns(self) -> dict[str, str]:
        """SQL of every column of `tokens`; what an older store did not keep is null."""
        there = pl.read_parquet_schema(self.path / SAMPLED_TOKENS)
        kept = {"surface": "surface", "word": "word", "span": "span", "n_subtokens": "n_tokens"}
        types = {"surface": "VARCHAR", "word": "INTEGER", "span": "VARCHAR", "n_subtokens": "INTEGER"}
        found = {name: f"s.{name}" for name in ("text_id", "position", "token_id")}
        found |= {name: f"s.{of}" if of in there else f"CAST(NULL AS {types[name]})" for name, of in kept.items()}
        # rows of the array have gaps between blocks; `TokenCube.read` leaves the gaps out
        return {**found, "token": "row_number() OVER (ORDER BY s.row) - 1", "language": "t.language", "split": "t.split"}

    def _token_frame(self) -> pl.DataFrame:
        frame = self.sampled_tokens.drop("row").with_row_index("token").rename({"n_tokens": "n_subtokens"}, strict=False)
        columns = TABLES["tokens"].columns
        missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in columns.items() if name not in frame.columns]
        return TABLES["tokens"].conform(frame.with_columns(missing))

    def _checkpoint_frame(self) -> pl.DataFrame:
        records = [{**self.checkpoint(name), "position": at} for at, name in enumerate(self.checkpoints)]
        columns = TABLES["checkpoints"].columns
        rows = [{name: record.get(name) for name in columns} for record in records]
        recipe = {"backend": self.recipe.backend, "dtype": self.recipe.dtype}
        filled = [{**row, **{key: row[key] or value for key, value in recipe.items()}} for row in rows]
        return pl.DataFrame(filled, schema=dict(columns))

    def _language_frame(self) -> pl.DataFrame:
        sizes = {language: self.corpus.language_slice(language) for language in self.corpus.languages}
        rows = [
            (name, at, at // LANGUAGES_PER_WORD, at % LANGUAGES_PER_WORD, rows.stop - rows.start)
            for at, (name, rows) in enumerate(sizes.items())
        ]
        return pl.DataFrame(rows, schema=dict(TABLES["languages"].columns), orient="row")

    def _cube_frame(self) -> pl.DataFrame:
        rows = []
        for checkpoint in self.checkpoints:
            for site, (layers, neurons, texts) in sorted(self.checkpoint(checkpoint)["shapes"].items()):
                rows.append((checkpoint, site, self.recipe.pooling, layers, neurons, texts, self.recipe.dtype))
        return pl.DataFrame(rows, schema=dict(TABLES["cubes"].columns), orient="row")

    def _source_frame(self) -> pl.DataFrame:
        rows = []
        for checkpoint in self.checkpoints:
            for site in self.scored_sites(checkpoint):
                settings = self.scores(checkpoint, site).settings
                told = settings.get("sources", {})
                source = "states" if told else "cube"
                for stat in self.score_stats(checkpoint, site):
                    rows.append((checkpoint, site, stat, source, told.get(stat, "exact"), settings["threshold"]))
        return pl.DataFrame(rows, schema=dict(TABLES["score_sources"].columns), orient="row")

    def _activation_grid(self) -> ActivationGrid:
        from actlas.query.sql.scan import ActivationGrid

        return ActivationGrid(self, self._cube_frame(), self.corpus.texts)

    def _score_grid(self) -> ScoreGrid:
        from actlas.query.sql.scan import ScoreGrid

        rows = [
            (checkpoint, site, *self.shape(checkpoint, site), list(self.score_stats(checkpoint, site)))
            for checkpoint in self.checkpoints
            for site in self.scored_sites(checkpoint)
        ]
        schema = {"checkpoint": pl.String, "site": pl.String, "n_layers": pl.Int32, "n_neurons": pl.Int32}
        cubes = pl.DataFrame(rows, schema={**schema, "stats": pl.List(pl.String)}, orient="row")
        if cubes.is_empty():
            raise TableNotFound(f"no neuron of {self.path} was scored yet; score them with: actlas score {self.path}")
        there = {stat for stats in cubes["stats"] for stat in stats}
        ordered = [stat for stat in STAT_COLUMNS if stat in there] + sorted(there - set(STAT_COLUMNS))
        types = {stat: pl.Float64() if stat in EXACT_STATS else pl.Float32() for stat in ordered}
        return ScoreGrid(self, cubes, self.corpus.languages, self.corpus.concepts, types)


def open_store(path: Path | str, mode: str = "r") -> Atlas:
    """Open a store.

    Args:
        path: Its folder.
        mode: "r", or "a" to keep scores and tables in it.

    Raises:
        StoreNotFound: If there is none at `path`.

    Example:
        >>> store = open_store("run.actlas")  # doctest: +SKIP
        >>> store.checkpoints  # doctest: +SKIP
        ['xglm-step0', 'xglm-step64']
    """
    return Atlas(path, mode)


def as_atlas(store: Atlas | str | Path, mode: str | None = None) -> Atlas:
    """The store itself, or the one at that path; without a mode, answers are kept where its folder can be written to."""
    if isinstance(store, Atlas):
        return store
    return Atlas(store, mode or ("a" if os.access(store, os.W_OK) else "r"))
