"""What is asked of a store and of its peers: every row is a question with several ways to the same answer.

Peers get their data in the form that suits them: numpy a memory-mapped array of all scores without compression; Polars, pandas
and a plain DuckDB a Parquet file per checkpoint of the concept in question, or one file of all experts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

import actlas
from actlas.query import Atlas, first_shared_by_concept, neuron_texts, overlap_at
from benchmarks.query_data import ASKED, Scale

BAR = 0.4
#: Of neurons that LAPE selects, where the answer is not to be a kept one.
OTHER_SHARE = 0.011
PLACE = ["site", "layer", "neuron"]
Arms = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Row:
    """A question.

    Attributes:
        number: By which it is known.
        question: In words.
        columns: Of the answer that is compared.
        arms: Ways to it; those that begin with "actlas" are ours.
        sql: What a cold process is asked; None for nothing.
        store: Which store it is asked of.
    """

    number: str
    question: str
    columns: Sequence[str]
    arms: Arms
    sql: str | None = None
    store: str = "scores"

    def answer(self, found: Any) -> pl.DataFrame:
        """What an arm found, in a form that can be compared."""
        frame = found if isinstance(found, pl.DataFrame) else pl.DataFrame(found)
        kinds = dict.fromkeys(pl.datatypes.group.INTEGER_DTYPES, pl.Int64)
        frame = frame.select(self.columns).cast({pl.Categorical: pl.String}).cast(kinds)
        return frame.sort(self.columns)

    def check(self) -> int:
        """Rows of the answer, if all arms have the same.

        Raises:
            AssertionError: If one has another.
        """
        answers = {name: self.answer(arm()) for name, arm in self.arms.items()}
        first = next(iter(answers.values()))
        for name, found in answers.items():
            assert found.equals(first), f"row {self.number}: {name} has another answer\n{found}\n{first}"
        return first.height


@dataclass
class Questions:
    """The stores, what peers read, and the rows.

    Attributes:
        folder: What `query_data.make` wrote, with tables kept.
        scale: How large it is.
    """

    folder: Path
    scale: Scale

    def __post_init__(self) -> None:
        self.store = actlas.open_store(self.folder / "scores.actlas")
        self.values = actlas.open_store(self.folder / "values.actlas")
        self.con = duckdb.connect()
        self.con.execute(f"CREATE VIEW experts AS FROM read_parquet('{self.peer('experts.parquet')}')")
        self.names = [checkpoint.id for checkpoint in self.scale.checkpoints]
        self.last, self.concept, self.language = self.names[-1], self.scale.concepts[ASKED], "es"
        self.m, self.k = len(self.scale.languages) - 2, self.scale.k

    def peer(self, name: str) -> str:
        return str(self.folder / "peers" / name)

    def long(self, checkpoint: str = "*") -> str:
        """Parquet files of the scores of the concept asked about."""
        step = checkpoint.rpartition("step")[2]
        return self.peer(f"scores/checkpoint={step}/concept={self.concept}/0.parquet")

    @cached_property
    def ap(self) -> NDArray[np.float64]:
        """``"checkpoints languages concepts neurons"``, memory-mapped."""
        return np.load(self.peer("ap.npy"), mmap_mode="r")

    @cached_property
    def by_set(self) -> NDArray[np.int64]:
        """Experts in memory, ``"checkpoints concepts languages experts"``."""
        shape = (len(self.names), self.scale.n_concepts, len(self.scale.languages), self.k)
        frame = pl.read_parquet(self.peer("experts.parquet"))
        ranked = frame.with_columns(pl.col("checkpoint").cast(pl.Enum(self.names))).sort(
            "checkpoint", "concept", "language", "rank"
        )
        return self.index_of(ranked).reshape(shape)

    def index_of(self, frame: pl.DataFrame) -> NDArray[np.int64]:
        """Places of neurons among all."""
        starts = pl.col("site").replace_strict(self.scale.starts, return_dtype=pl.Int64)
        widths = pl.col("site").replace_strict({site: size[1] for site, size in self.scale.sites.items()}, return_dtype=pl.Int64)
        return frame.select(starts + pl.col("layer") * widths + pl.col("neuron")).to_series().to_numpy()

    def places(self, index: NDArray[np.integer[Any]]) -> dict[str, NDArray[Any]]:
        """Site, layer and neuron of places among all."""
        sites = list(self.scale.starts)
        starts = np.array(list(self.scale.starts.values()))
        widths = np.array([self.scale.sites[site][1] for site in sites])
        which = np.searchsorted(starts, index, side="right") - 1
        inside = index - starts[which]
        return {"site": np.array(sites)[which], "layer": inside // widths[which], "neuron": inside % widths[which]}

    def with_places(self, frame: pl.DataFrame) -> pl.DataFrame:
        """A frame of a peer whose neurons are places among all."""
        return frame.with_columns(pl.Series(name, values) for name, values in self.places(frame["index"].to_numpy()).items())

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return list(combinations(range(len(self.scale.languages)), 2))

    @property
    def pair_names(self) -> pl.DataFrame:
        rows = [(self.scale.languages[a], self.scale.languages[b]) for a, b in self.pairs]
        return pl.DataFrame(rows, schema=["language_a", "language_b"], orient="row")

    # the rows

    def rows(self) -> list[Row]:
        return [
            self.best(),
            self.above(),
            self.overlap(),
            self.in_many(),
            self.first_in_all(),
            self.overlap_by_layer(),
            self.histogram(),
            self.lape(),
            self.lape_computed(),
            self.neuron(),
            self.texts(),
            self.smaller_k(),
            self.histogram_smaller_k(),
            self.floor(),
            self.natural(),
        ]

    def best(self) -> Row:
        sql = f"FROM best_experts('{self.last}', '{self.language}', '{self.concept}', n := {self.k})"
        where = f"checkpoint = '{self.last}' AND language = '{self.language}' AND concept = '{self.concept}'"
        ordered = f"SELECT site, layer, neuron FROM scores WHERE {where} ORDER BY ap DESC, site, layer, neuron LIMIT {self.k}"
        chosen = {"checkpoint": self.last, "language": self.language, "concept": self.concept}
        names = {f"{name}s": [value] for name, value in chosen.items()}

        def numpy() -> dict[str, NDArray[Any]]:
            scores = self.ap[-1, self.scale.languages.index(self.language), ASKED]
            best = np.argpartition(scores, -self.k)[-self.k :]
            return self.places(best[np.lexsort((best, -scores[best]))])

        path = self.peer("experts.parquet")
        arms: Arms = {
            "actlas SQL": lambda: self.store.sql(sql),
            "actlas SQL, scores": lambda: self.store.sql(ordered),
            "actlas function": lambda: actlas.top_experts(self.store, k=self.k, **names),
            "actlas Polars": lambda: self.store.scan("experts").filter(**chosen).collect(),
            "numpy, scores": numpy,
            "Polars": lambda: pl.scan_parquet(path).filter(**chosen).collect(),
            "DuckDB": lambda: self.con.sql(f"FROM experts WHERE {where}").pl(),
            "pandas": lambda: pd.read_parquet(path, filters=[(name, "==", value) for name, value in chosen.items()]),
        }
        return Row("1", f"the {self.k} best experts of a concept", PLACE, arms, sql)

    def above(self) -> Row:
        sql = f"FROM neurons_above('{self.last}', '{self.concept}', {BAR}, {self.m})"
        where = f"checkpoint = '{self.last}' AND concept = '{self.concept}' AND ap > {BAR}"
        grouped = f"SELECT site, layer, neuron FROM scores WHERE {where} GROUP BY site, layer, neuron HAVING count(*) >= {self.m}"
        path = self.long(self.last)
        counted = f"SELECT index FROM read_parquet('{path}') WHERE ap > {BAR} GROUP BY index HAVING count(*) >= {self.m}"

        def polars(scan: pl.LazyFrame, keys: Sequence[str]) -> pl.DataFrame:
            return scan.filter(pl.col("ap") > BAR).group_by(keys).len().filter(pl.col("len") >= self.m).collect()

        def pandas() -> pl.DataFrame:
            sizes = pd.read_parquet(path).query(f"ap > {BAR}").groupby("index").size()
            return self.with_places(pl.DataFrame({"index": sizes.index[sizes >= self.m].to_numpy()}))

        def ours() -> pl.DataFrame:
            chosen = self.store.scan("scores").filter(checkpoint=self.last, concept=self.concept)
            return polars(chosen.select(*PLACE, "ap"), PLACE)

        arms: Arms = {
            "actlas SQL": lambda: self.store.sql(sql),
            "actlas SQL, scores": lambda: self.store.sql(grouped),
            "actlas Polars": ours,
            "numpy, scores": lambda: self.places(np.flatnonzero((self.ap[-1, :, ASKED] > BAR).sum(axis=0) >= self.m)),
            "Polars": lambda: self.with_places(polars(pl.scan_parquet(path), ["index"])),
            "DuckDB": lambda: self.with_places(self.con.sql(counted).pl()),
            "pandas": pandas,
            **self.xarray_sql(),
        }
        return Row("2", f"neurons with ap > {BAR} in {self.m} or more languages, one concept", PLACE, arms, sql)

    def xarray_sql(self) -> Arms:
        """The same by xarray-sql, which gets the concept alone, chosen with xarray; nothing where it is not installed."""
        try:
            import xarray
            from xarray_sql import XarrayContext
        except ImportError:
            return {}

        def ask() -> pl.DataFrame:
            found = []
            for site in self.scale.sites:
                scores = xarray.open_zarr(self.store.path / "scores" / self.last / f"{site}.max", chunks=None)
                context = XarrayContext()
                chunks = {"language": 1, "layer": self.scale.sites[site][0], "neuron": self.scale.sites[site][1]}
                context.from_dataset("scores", scores[["ap"]].sel(concept=self.concept).drop_vars("concept"), chunks=chunks)
                having = f"GROUP BY layer, neuron HAVING count(*) >= {self.m}"
                rows = context.sql(f"SELECT layer, neuron FROM scores WHERE ap > {BAR} {having}").to_polars()
                found.append(rows.with_columns(pl.lit(site).alias("site")))
            return pl.concat(found)

        return {"xarray-sql": ask}

    def overlap(self) -> Row:
        names = ["checkpoint", "concept", "language_a", "language_b"]
        count = "count(*)"
        arms: Arms = {
            "actlas SQL": lambda: self.store.sql("FROM overlap"),
            "actlas function": lambda: actlas.expert_overlap(self.store, k=self.k, halves=False),
            "actlas Polars": lambda: self.store.scan("overlap").collect(),
            "numpy, in memory": lambda: self.pair_frame(self.counted_pairs(), ()),
            "Python sets, in memory": self.sets_in_python,
            "Polars self-join": lambda: self.self_join(()),
            "DuckDB self-join": lambda: self.con.sql(self.joined_sql(count, ())).pl(),
        }
        return Row("3", "experts shared by all pairs of languages, everywhere", [*names, "shared"], arms, "FROM overlap")

    def counted_pairs(self) -> NDArray[np.int64]:
        """``"checkpoints concepts pairs layers"``, by one word of languages per neuron."""
        n_languages, n_layers = len(self.scale.languages), max(layers for layers, _ in self.scale.sites.values())
        layer = self.places(np.arange(self.scale.n_neurons))["layer"]
        words = np.arange(1 << n_languages)
        in_pair = np.stack([(words >> a) & (words >> b) & 1 for a, b in self.pairs], axis=1)
        counts = np.zeros((*self.by_set.shape[:2], len(self.pairs), n_layers), dtype=np.int64)
        for checkpoint, concept in np.ndindex(*self.by_set.shape[:2]):
            word = np.zeros(self.scale.n_neurons, dtype=np.int64)
            for language, experts in enumerate(self.by_set[checkpoint, concept]):
                word[experts] |= 1 << language
            found = np.flatnonzero(word)
            seen = np.bincount(layer[found] * words.size + word[found], minlength=n_layers * words.size)
            counts[checkpoint, concept] = (seen.reshape(n_layers, words.size) @ in_pair).T
        return counts

    def pair_frame(self, counts: NDArray[np.int64], extra: Sequence[str]) -> pl.DataFrame:
        pairs = self.pair_names
        shape = counts.shape if extra else counts.shape[:3]
        where = np.indices(shape).reshape(len(shape), -1)
        columns = {
            "checkpoint": np.array(self.names)[where[0]],
            "concept": np.array(self.scale.concepts)[where[1]],
            "language_a": pairs["language_a"].to_numpy()[where[2]],
            "language_b": pairs["language_b"].to_numpy()[where[2]],
            "shared": (counts if extra else counts.sum(axis=3)).reshape(-1),
        }
        return pl.DataFrame({**columns, **({"layer": where[3]} if extra else {})})

    def sets_in_python(self) -> pl.DataFrame:
        counts = np.zeros((*self.by_set.shape[:2], len(self.pairs), 1), dtype=np.int64)
        for checkpoint, concept in np.ndindex(*self.by_set.shape[:2]):
            sets = [set(experts.tolist()) for experts in self.by_set[checkpoint, concept]]
            counts[checkpoint, concept, :, 0] = [len(sets[a] & sets[b]) for a, b in self.pairs]
        return self.pair_frame(counts, ())

    def self_join(self, extra: Sequence[str]) -> pl.DataFrame:
        """Pairs that share nothing are rows too, which a join alone leaves out."""
        keys = ["checkpoint", "concept", *PLACE]
        experts = pl.scan_parquet(self.peer("experts.parquet")).select(*keys, "language")
        joined = experts.join(experts, on=keys).filter(pl.col("language") < pl.col("language_right"))
        named = joined.rename({"language": "language_a", "language_right": "language_b"})
        names = ["checkpoint", "concept", "language_a", "language_b", *extra]
        counts = named.group_by(names).agg(pl.len().alias("shared"))
        every = self.pair_names.lazy()
        for name, values in (("checkpoint", self.names), ("concept", self.scale.concepts)):
            every = every.join(pl.LazyFrame({name: list(values)}), how="cross")
        if extra:
            every = every.join(pl.LazyFrame({"layer": np.arange(self.n_layers, dtype=np.int32)}), how="cross")
        return every.join(counts, on=names, how="left").with_columns(pl.col("shared").fill_null(0)).collect()

    @property
    def n_layers(self) -> int:
        return max(layers for layers, _ in self.scale.sites.values())

    def joined_sql(self, count: str, extra: Sequence[str], where: str = "true") -> str:
        """The same in SQL."""
        more, own = "".join(f", {name}" for name in extra), "".join(f", a.{name}" for name in extra)
        grid = f", (SELECT range::INT AS layer FROM range({self.n_layers}))" if extra else ""
        return f"""
        WITH e AS (FROM experts WHERE {where}),
        found AS (
            SELECT a.checkpoint, a.concept, a.language AS language_a, b.language AS language_b{own},
                {count} AS n FROM e AS a JOIN e AS b USING (checkpoint, concept, site, layer, neuron)
            WHERE a.language < b.language GROUP BY ALL
        ),
        languages AS (SELECT DISTINCT language FROM e),
        every AS (
            SELECT c.checkpoint, c.concept, a.language AS language_a, b.language AS language_b{more}
            FROM (SELECT DISTINCT checkpoint, concept FROM e) AS c, languages AS a, languages AS b{grid}
            WHERE a.language < b.language
        )
        SELECT checkpoint, concept, language_a, language_b{more}, coalesce(n, 0) AS shared
        FROM every LEFT JOIN found USING (checkpoint, concept, language_a, language_b{more})
        """

    def in_many(self) -> Row:
        keys = ["checkpoint", "concept", *PLACE]
        sql = f"SELECT {', '.join(keys)} FROM expert_mask WHERE n_languages >= {self.m}"
        grouped = f"SELECT {', '.join(keys)} FROM experts GROUP BY ALL HAVING count(*) >= {self.m}"
        path = self.peer("experts.parquet")

        def pandas() -> pd.DataFrame:
            sizes = pd.read_parquet(path, columns=keys).groupby(keys, observed=True).size()
            return sizes[sizes >= self.m].reset_index()

        arms: Arms = {
            "actlas SQL": lambda: self.store.sql(sql),
            "actlas SQL, experts": lambda: self.store.sql(grouped),
            "actlas Polars": lambda: self.store.scan("expert_mask").filter(pl.col("n_languages") >= self.m).collect(),
            "Polars": lambda: pl.scan_parquet(path).group_by(keys).len().filter(pl.col("len") >= self.m).collect(),
            "DuckDB": lambda: self.con.sql(grouped).pl(),
            "pandas": pandas,
        }
        return Row("4", f"experts in {self.m} or more languages, everywhere", keys, arms, sql)

    def first_in_all(self) -> Row:
        n_languages = len(self.scale.languages)
        columns = ["concept", *PLACE, "step"]
        step = "CAST(split_part(checkpoint, 'step', 2) AS INT)"
        shared = f"SELECT checkpoint, concept, site, layer, neuron FROM experts GROUP BY ALL HAVING count(*) >= {n_languages}"
        first = f"SELECT concept, site, layer, neuron, min({step}) AS step FROM ({shared}) GROUP BY ALL"

        def polars() -> pl.DataFrame:
            experts = pl.scan_parquet(self.peer("experts.parquet"))
            found = experts.group_by("checkpoint", "concept", *PLACE).len().filter(pl.col("len") >= n_languages)
            number = pl.col("checkpoint").str.split("step").list.last().cast(pl.Int64)
            return found.group_by("concept", *PLACE).agg(number.min().alias("step")).collect()

        sql = f"FROM first_shared_by_concept({n_languages})"
        arms: Arms = {
            "actlas SQL": lambda: self.store.sql(sql),
            "actlas function": lambda: first_shared_by_concept(self.store, m=n_languages),
            "Polars": polars,
            "DuckDB": lambda: self.con.sql(first).pl(),
        }
        return Row("5", "the first checkpoint at which a neuron is an expert in all languages, all concepts", columns, arms, sql)

    def overlap_by_layer(self) -> Row:
        columns = ["checkpoint", "concept", "language_a", "language_b", "layer", "shared"]
        sql = "FROM overlap_by_layer"
        arms: Arms = {
            "actlas SQL": lambda: self.store.sql(sql),
            "actlas function": lambda: actlas.expert_overlap(self.store, k=self.k, halves=False, by_layer=True),
            "actlas Polars": lambda: self.store.scan("overlap_by_layer").collect(),
            "numpy, in memory": lambda: self.pair_frame(self.counted_pairs(), ("layer",)),
            "Polars self-join": lambda: self.self_join(("layer",)),
            "DuckDB self-join": lambda: self.con.sql(self.joined_sql("count(*)", ("layer",))).pl(),
        }
        return Row("6", "the same layer by layer", columns, arms, sql)

    def histogram(self) -> Row:
        return self._histogram("7", "experts in every layer of every site, everywhere", self.k)

    def histogram_smaller_k(self) -> Row:
        return self._histogram("11b", f"the same among the {self.k // 5} best", self.k // 5)

    def _histogram(self, number: str, question: str, k: int) -> Row:
        keys = ["checkpoint", "concept", "language", "site", "layer"]
        grouped = f"SELECT {', '.join(keys)}, count(*) AS n_experts FROM experts WHERE rank <= {k} GROUP BY ALL"
        path = self.peer("experts.parquet")
        ours = "SELECT * FROM layer_histogram WHERE n_experts > 0" if k == self.k else grouped

        def polars(scan: pl.LazyFrame) -> pl.DataFrame:
            return scan.filter(pl.col("rank") <= k).group_by(keys).agg(pl.len().alias("n_experts")).collect()

        def pandas() -> pd.DataFrame:
            rows = pd.read_parquet(path, columns=[*keys, "rank"])
            return rows[rows["rank"] <= k].groupby(keys, observed=True).size().rename("n_experts").reset_index()

        arms: Arms = {
            "actlas SQL": lambda: self.store.sql(ours),
            "actlas Polars": lambda: polars(self.store.scan("experts")),
            "Polars": lambda: polars(pl.scan_parquet(path)),
            "DuckDB": lambda: self.con.sql(grouped).pl(),
            "pandas": pandas,
        }
        return Row(number, question, [*keys, "n_experts"], arms, ours)

    def lape(self) -> Row:
        arms: Arms = {
            "actlas SQL": lambda: self.values.sql("FROM lape"),
            "actlas function": lambda: actlas.language_neurons(self.values),
            "actlas Polars": lambda: self.values.scan("lape").collect(),
        }
        return Row("8", "neurons of languages (LAPE), kept", ["layer", "neuron", "language"], arms, "FROM lape", "values")

    def lape_computed(self) -> Row:
        with np.load(self.peer("active.npz")) as counted:
            active, n_tokens = counted["active"], counted["n_tokens"]
        width = active.shape[1] // self.n_layers

        def numpy() -> pl.DataFrame:
            p = active / n_tokens[:, None]
            q = p / np.maximum(p.sum(axis=0), np.finfo(float).tiny)
            entropy = -np.where(q > 0, q * np.log(np.where(q > 0, q, 1.0)), 0.0).sum(axis=0)
            rank = round(0.95 * p.size)
            is_above = p > np.partition(p, rank - 1, axis=None)[rank - 1]
            candidates = np.flatnonzero((p.sum(axis=0) > 0) & is_above.any(axis=0))
            chosen = candidates[np.argsort(entropy[candidates].round(12), kind="stable")][: round(OTHER_SHARE * p.shape[1])]
            language, place = np.nonzero(is_above[:, chosen])
            index = chosen[place]
            named = np.array(self.scale.languages)[language]
            return pl.DataFrame({"layer": index // width, "neuron": index % width, "language": named})

        arms: Arms = {
            "actlas function": lambda: actlas.language_neurons(self.values.path, share=OTHER_SHARE, keep=False),
            "numpy, in memory": numpy,
        }
        return Row("8b", "the same, computed from counts of tokens", ["layer", "neuron", "language"], arms, None, "values")

    def neuron(self) -> Row:
        site, layer, neuron = "mlp_pre", self.n_layers // 2, 77
        columns = ["checkpoint", "language", "concept", "ap"]
        where = f"site = '{site}' AND layer = {layer} AND neuron = {neuron}"
        sql = f"SELECT {', '.join(columns)} FROM scores WHERE {where}"
        index = self.scale.starts[site] + layer * self.scale.sites[site][1] + neuron

        def frame(scores: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
            where = np.indices(scores.shape).reshape(3, -1)
            names = (self.names, self.scale.languages, self.scale.concepts)
            columns = {
                name: np.array(own)[at] for name, own, at in zip(("checkpoint", "language", "concept"), names, where, strict=True)
            }
            return {**columns, "ap": scores.reshape(-1)}

        def read() -> dict[str, NDArray[Any]]:
            cubes = [self.store.scores(name, site) for name in self.names]
            return frame(np.stack([cube.read("ap", layer=layer, neurons=neuron) for cube in cubes]))

        arms: Arms = {
            "actlas SQL": lambda: self.store.sql(sql),
            "actlas SQL, neuron_trajectory": lambda: self.store.sql(f"FROM neuron_trajectory('{site}', {layer}, {neuron})"),
            "actlas function": lambda: actlas.neuron_trajectory(self.store, site, layer, neuron),
            "actlas Polars": lambda: (
                self.store.scan("scores").filter(site=site, layer=layer, neuron=neuron).select(columns).collect()
            ),
            "actlas read": read,
            "numpy, scores": lambda: frame(np.asarray(self.ap[..., index])),
        }
        return Row("9", "one neuron at all checkpoints, for all concepts, in all languages", columns, arms, sql)

    def texts(self) -> Row:
        layer, neuron, n = self.n_layers // 2, 7, 10
        values = np.load(self.peer("values.npy"), mmap_mode="r")
        where = f"checkpoint = '{self.last}' AND site = 'mlp_out' AND layer = {layer} AND neuron = {neuron}"
        sql = f"SELECT text_id, value FROM top_texts WHERE {where} AND rank <= {n}"

        def numpy() -> dict[str, NDArray[Any]]:
            own = np.asarray(values[layer, neuron], dtype=np.float32)
            best = np.argsort(-own, kind="stable")[:n]
            return {"text_id": best, "value": own[best]}

        macro = f"FROM neuron_texts('{self.last}', 'mlp_out', {layer}, {neuron}, {n})"
        arms: Arms = {
            "actlas SQL": lambda: self.values.sql(sql),
            "actlas SQL, neuron_texts": lambda: self.values.sql(macro),
            "actlas function": lambda: neuron_texts(self.values, self.last, "mlp_out", layer, neuron, n=n),
            "actlas read": lambda: self._best_of_cube(layer, neuron, n),
            "numpy": numpy,
        }
        return Row("10", "the texts with the highest values of one neuron", ["text_id", "value"], arms, sql, "values")

    def _best_of_cube(self, layer: int, neuron: int, n: int) -> dict[str, NDArray[Any]]:
        own = self.values.cube(self.last, "mlp_out").read(layer, neuron).astype(np.float32)
        best = np.argsort(-own, kind="stable")[:n]
        return {"text_id": best, "value": own[best]}

    def smaller_k(self) -> Row:
        k = self.k // 5
        columns = ["concept", "language_a", "language_b", "shared"]
        where = f"checkpoint = '{self.last}' AND concept = '{self.concept}' AND rank <= {k}"
        sql = f"FROM overlap_at('{self.last}', '{self.concept}', {k})"
        names: Mapping[str, Any] = {"checkpoints": [self.last], "concepts": [self.concept], "halves": False}

        def python() -> pl.DataFrame:
            sets = [set(experts[:k].tolist()) for experts in self.by_set[-1, ASKED]]
            pairs = self.pair_names.with_columns(shared=pl.Series([len(sets[a] & sets[b]) for a, b in self.pairs]))
            return pairs.with_columns(concept=pl.lit(self.concept))

        arms: Arms = {
            "actlas SQL": lambda: self.store.sql(sql).with_columns(concept=pl.lit(self.concept)),
            "actlas function": lambda: overlap_at(self.store, self.last, self.concept, k=k).with_columns(
                concept=pl.lit(self.concept)
            ),
            "actlas expert_overlap": lambda: actlas.expert_overlap(self.store, k=k, **names),
            "Python sets, in memory": python,
            "DuckDB self-join": lambda: self.con.sql(self.joined_sql("count(*)", (), where)).pl(),
        }
        return Row("11", f"overlap of the {k} best after the fact, one concept", columns, arms, sql)

    def floor(self) -> Row:
        arms: Arms = {"actlas SQL": lambda: self.store.sql("SELECT 1 AS n"), "DuckDB": lambda: self.con.sql("SELECT 1 AS n").pl()}
        return Row("12", "SELECT 1, what any query takes", ["n"], arms, "SELECT 1 AS n")

    def natural(self) -> Row:
        columns = ["checkpoint", "language", *PLACE, "ap"]
        where = f"concept = '{self.concept}' AND ap > {BAR}"
        sql = f"SELECT {', '.join(columns)} FROM scores WHERE {where}"

        def numpy() -> dict[str, NDArray[Any]]:
            own = self.ap[:, :, ASKED]
            checkpoint, language, index = np.nonzero(own > BAR)
            names = {"checkpoint": np.array(self.names)[checkpoint], "language": np.array(self.scale.languages)[language]}
            return {**names, **self.places(index), "ap": own[checkpoint, language, index]}

        def named(frame: pl.DataFrame) -> pl.DataFrame:
            step = pl.format("made-step{}", "checkpoint")
            languages = pl.Series(self.scale.languages, dtype=pl.String).gather(frame["language"]).alias("language")
            return self.with_places(frame).with_columns(step.alias("checkpoint"), languages)

        def ours() -> pl.DataFrame:
            return self.store.scan("scores").filter(pl.col("ap") > BAR, concept=self.concept).select(columns).collect()

        read = f"read_parquet('{self.long()}', hive_partitioning = true)"
        scan = pl.scan_parquet(self.long(), hive_partitioning=True)
        arms: Arms = {
            "actlas SQL": lambda: self.store.sql(sql),
            "actlas Polars": ours,
            "numpy, scores": numpy,
            "Polars": lambda: named(scan.filter(pl.col("ap") > BAR).select("checkpoint", "language", "index", "ap").collect()),
            "DuckDB": lambda: named(self.con.sql(f"SELECT checkpoint, language, index, ap FROM {read} WHERE ap > {BAR}").pl()),
        }
        return Row("13", f"every score above {BAR} of a concept, all checkpoints and languages", columns, arms, sql)


def kept_answers(store: Atlas, k: int) -> dict[str, Callable[[], pl.DataFrame]]:
    """What makes the answers that are kept, in the order in which they are asked for."""
    return {
        "experts": lambda: actlas.top_experts(store, k=k),
        "overlap": lambda: actlas.expert_overlap(store, k=k, halves=False),
        "rank stability": lambda: actlas.query.rank_stability(store, k=k),
        "trajectory": lambda: actlas.shared_trajectory(store, k=k),
    }
