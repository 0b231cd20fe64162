"""`Store`: open a store, see what it holds, read and keep things in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from actlas.errors import (
    CheckpointNotFound,
    CubeNotFound,
    DamagedStore,
    IncompleteCube,
    OptionError,
    ReadOnlyStore,
    ScoresNotFound,
    StoreNotFound,
    TableNotFound,
)
from actlas.names import IMPORTED, Recipe, fingerprint, safe_id
from actlas.store import layout
from actlas.store.committed import Logged, is_committed, score_folder
from actlas.store.corpus.corpus import Corpus, parquet_bytes
from actlas.store.corpus.declared import Declared
from actlas.store.corpus.text_sets import LanguageSets
from actlas.store.cube import Committed, Cube, ScoreCube, StateArrays, TokenCounts, TokenCube, read_array
from actlas.store.files.codecs import CODECS, Codec
from actlas.store.files.digests import FileRecord, check_file
from actlas.store.files.parquet import parquet_metadata, read_parquet
from actlas.store.files.shard_reader import open_array
from actlas.store.log import Log
from actlas.store.records import (
    CheckpointRecord,
    Records,
    ScoreRecord,
    Snapshot,
    block_record,
    committed_in,
    read_about,
    read_record,
    score_manifest,
)
from actlas.store.tables import Part, Tables
from actlas.store.write.score_writer import ScoreTarget, ScoreWriter
from actlas.words import did_you_mean

if TYPE_CHECKING:
    import zarr


class Store:
    """A store on disk. Only what was committed can be seen through it.

    Args:
        path: Folder of the store.
        mode: "r" refuses every write; "a" lets scores and tables be kept beside the cubes. Neither changes a cube.

    Raises:
        StoreNotFound: If there is no store at `path`.
        FormatTooNew: If a later version of actlas wrote it.
    """

    def __init__(self, path: Path | str, mode: str = "r") -> None:
        if mode not in ("r", "a"):
            raise OptionError(f"mode {mode!r} is not known; 'r' reads, 'a' also keeps scores and tables")
        self.path = Path(path)
        self.mode = mode
        about = read_about(self.path)
        if about is None:
            if any(self.path.glob("manifests/*/begun.json")):
                raise DamagedStore(
                    f"{self.path / 'zarr.json'} is missing, or not that of a store, and there are checkpoints beside it"
                )
            raise StoreNotFound(f"no actlas store at {path}; make one with: actlas extract MODEL --corpus C --store {path}")
        self.about: dict[str, Any] = about
        self.recipe = _recipe(about, self.path)
        committed = committed_in(self.path, about)
        self.log: Log | None = committed.log if isinstance(committed, Logged) else None
        self._records = Records(committed, self.recipe.pooling)
        self._named: tuple[object, dict[str, FileRecord]] = (None, {})
        self._bases: dict[str, tuple[object, bytes]] = {}
        self._tables = Tables(self.path, self.log)
        self._check_root()

    def _check_root(self) -> None:
        """Refuse a store whose own zarr.json is not the one that it was created with, or whose log is damaged."""
        if self.log is not None:
            for record in self.log.read().holds.get("store", ()):
                if record.path == "zarr.json":
                    check_file(self.path, record)

    @classmethod
    def at(cls, path: Path | str, mode: str = "r") -> Self | None:
        """The store at a path; None where there is none yet.

        Args:
            path: Folder that may hold a store.
            mode: As in `Store`.

        Returns:
            The store, or None.

        Raises:
            FormatTooNew: If a later version of actlas wrote it.

        Example:
            >>> Store.at("no/such/folder") is None
            True
        """
        return cls(path, mode) if read_about(Path(path)) is not None else None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} with {len(self.checkpoints)} checkpoints>"

    # What there is

    @cached_property
    def corpus(self) -> Corpus:
        """Texts and labels; texts carry n_tokens. Of imported scores, only the names of languages and concepts."""
        if "declared" in self.about:
            return Corpus.without_texts(Declared.from_json(self.about["declared"]))
        texts, labels = (read_parquet(self.checked(self.path / name)) for name in (layout.TEXTS, layout.LABELS))
        return Corpus(texts, labels, self.about["corpus_fingerprint"])

    def checked(self, path: Path) -> Path:
        """A Parquet file of the store, compared with its record unless it has not changed since that was last done.

        Args:
            path: The file. One that no record names, as in stores of earlier versions, is taken as it is.

        Returns:
            The same path.

        Raises:
            DamagedStore: If the file is not what was committed.

        Example:
            >>> store.checked(store.path / "corpus/texts.parquet").name
            'texts.parquet'
        """
        if self.log is not None:
            state = self.log.read()
            if self._named[0] is not state:
                files = chain.from_iterable(state.holds.values())
                self._named = (state, {record.path: record for record in files if record.path.endswith(".parquet")})
            record = self._named[1].get(path.relative_to(self.path).as_posix())
            if record is not None:
                check_file(self.path, record)
        return path

    @property
    def codec(self) -> Codec:
        """How chunks are encoded."""
        if self.about["codec"] not in CODECS:
            known = ", ".join(CODECS)
            raise DamagedStore(f"{self.path / 'zarr.json'} names codec {self.about['codec']!r}; there are {known}")
        return CODECS[self.about["codec"]]

    @property
    def checkpoints(self) -> list[str]:
        """Ids of the committed checkpoints, by step; controls last."""
        return list(self._records.checkpoints())

    @property
    def controls(self) -> dict[str, str]:
        """Those of `checkpoints` that are controls, such as a random-weights twin: id -> what it is, in words."""
        twins = {name: record.twin for name, record in self._records.checkpoints().items()}
        return {name: str(twin) for name, twin in twins.items() if twin is not None}

    def snapshot(self) -> Snapshot:
        """Typed records of all checkpoints and of all complete scores.

        The same object comes back while nothing was committed, by this process or another one; reading it costs no more than
        asking the file system when each record was written.

        Returns:
            The snapshot: `checkpoints`, id -> `CheckpointRecord`, by step, and `scores`, (checkpoint, site) -> `ScoreRecord`.

        Example:
            >>> snapshot = store.snapshot()
            >>> [(record.checkpoint, record.step) for record in snapshot.checkpoints.values()][0]
            ('planted-step0', 0)
            >>> snapshot is store.snapshot()
            True
        """
        return self._records.snapshot()

    def checkpoint(self, checkpoint: str) -> dict[str, Any]:
        """Provenance of a checkpoint: model, step, revision, weight_hash, sanity_loss, backend, dtype, versions, ...

        Args:
            checkpoint: Id, as in `checkpoints`.

        Returns:
            Everything that was recorded, by name.

        Raises:
            CheckpointNotFound: If the store has no such checkpoint.
            IncompleteCube: If its run did not commit yet.

        Example:
            >>> store.checkpoint("planted-step64")["step"]
            64
        """
        return dict(self._checkpoint(checkpoint).provenance)

    def _checkpoint(self, checkpoint: str) -> CheckpointRecord:
        record = self._records.checkpoint(safe_id(checkpoint))
        if record is not None:
            return record
        self._refuse_unfinished(checkpoint)
        raise CheckpointNotFound(
            f"no checkpoint {checkpoint!r} in {self.path}; it has {', '.join(self.checkpoints) or 'none yet'}"
        )

    def _manifest(self, checkpoint: str) -> Path:
        return self.path / layout.manifest_path(safe_id(checkpoint))

    @property
    def unfinished(self) -> dict[str, int]:
        """Checkpoints that were begun and did not commit -> texts that are committed so far."""
        begun = sorted(path.parent.name for path in (self.path / "manifests").glob("*/begun.json"))
        done = {checkpoint: self._texts_of_unfinished(checkpoint) for checkpoint in begun}
        return {checkpoint: n_texts for checkpoint, n_texts in done.items() if n_texts is not None}

    def _texts_of_unfinished(self, checkpoint: str) -> int | None:
        """Texts that a begun checkpoint has committed so far; None for one that is complete or was never begun."""
        folder = self._manifest(checkpoint)
        if is_committed(self._records.committed, checkpoint) or not (folder / "begun.json").exists():
            return None
        begun = read_record(folder / "begun.json", CheckpointRecord.from_json)
        if begun.checkpoint != checkpoint:
            raise DamagedStore(f"{folder / 'begun.json'} is the record of {begun.checkpoint}, in the folder of {checkpoint}")
        return sum(read_record(path, block_record).n_texts for path in (folder / "blocks").glob("*.json"))

    def _refuse_unfinished(self, checkpoint: str, site: str | None = None) -> None:
        done = self._texts_of_unfinished(safe_id(checkpoint))
        if done is not None and self.is_imported:
            raise IncompleteCube(f"the import of {checkpoint} into {self.path} did not finish; run the same import again")
        if done is not None:
            what = checkpoint if site is None else f"{checkpoint} {site}"
            raise IncompleteCube(
                f"{what} holds {done:,} of {self.corpus.n_texts:,} texts: its run did not commit. "
                "Finish it with the same actlas extract command"
            )

    @property
    def only_scores(self) -> str:
        """Why a question about values has no answer in a store of imported scores."""
        return only_scores(self.path)

    @property
    def is_imported(self) -> bool:
        """Whether its scores were computed elsewhere, so that it holds scores and nothing else."""
        return self.recipe.backend == IMPORTED

    def sites(self, checkpoint: str) -> list[str]:
        """Sites with a cube at a checkpoint, sorted.

        Args:
            checkpoint: Id, as in `checkpoints`.

        Returns:
            Names of sites.

        Raises:
            CheckpointNotFound: If the store has no such checkpoint.
            IncompleteCube: If its run did not commit yet.

        Example:
            >>> store.sites("planted-step64")
            ['attn_out', 'mlp_hidden', 'mlp_pre']
        """
        return sorted(self._checkpoint(checkpoint).cubes)

    def state_sites(self, checkpoint: str) -> list[str]:
        """Sites with states in place of a cube at a checkpoint, sorted.

        Args:
            checkpoint: Id, as in `checkpoints`.

        Returns:
            Names of sites.

        Raises:
            CheckpointNotFound: If the store has no such checkpoint.
            IncompleteCube: If its run did not commit yet.

        Example:
            >>> store.state_sites("planted-step64")
            []
        """
        return sorted(self._checkpoint(checkpoint).states)

    def shape(self, checkpoint: str, site: str) -> tuple[int, int]:
        """Layers and neurons of a site with a cube, with states or with imported scores.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: As in `sites`, `state_sites` or `scored_sites`.

        Returns:
            (layers, neurons).

        Raises:
            CubeNotFound: If the site has none of these.
            CheckpointNotFound: If the store has no such checkpoint.
            IncompleteCube: If its run did not commit yet.

        Example:
            >>> store.shape("planted-step64", "mlp_pre")
            (2, 40)
        """
        record = self._checkpoint(checkpoint)
        if site not in record.sites:
            raise self._no_cube(checkpoint, site)
        return record.shape(site)

    # Reading

    def _array(self, path: str) -> zarr.Array[Any]:
        return open_array(self.path / path)

    def _values(self, record: CheckpointRecord, group: str) -> tuple[zarr.Array[Any], Committed]:
        """The one array of a group, and what reads the records of its shards."""
        self._check_group(self._records.files(record), group)
        path = layout.values_path(group, self.about["format"])
        return self._array(path), self._committed(record, path)

    def _check_group(self, files: Iterable[FileRecord], group: str) -> None:
        """Refuse a group whose metadata or coordinates are not those that were committed."""
        for file in files:
            if file.path.startswith(f"{group}/"):
                check_file(self.path, file)

    def _committed(self, record: CheckpointRecord, path: str) -> Committed:
        return lambda: self._records.shards(record).get(path, {})

    def cube(self, checkpoint: str, site: str, pooling: str | None = None) -> Cube:
        """Values of one checkpoint at one site.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: As in `sites`.
            pooling: The pooling of the store's recipe, which is the default; any other is refused.

        Returns:
            The cube; nothing of it is read yet.

        Raises:
            CubeNotFound: If there is no such cube; the message lists what is there.
            IncompleteCube: If its run did not commit yet.

        Example:
            >>> store.cube("planted-step64", "mlp_pre").shape
            (2, 40, 144)
        """
        self._refuse_unfinished(checkpoint, site)
        record = self._records.checkpoint(safe_id(checkpoint))
        if record is None or site not in record.cubes or pooling not in (None, self.recipe.pooling):
            raise self._no_cube(checkpoint, site, pooling)
        array, committed = self._values(record, layout.cube_path(checkpoint, site, self.recipe.pooling))
        text_ids = self.corpus.texts["text_id"].to_numpy()
        return Cube(checkpoint, site, self.recipe.pooling, array, text_ids, committed)

    def _no_cube(self, checkpoint: str, site: str, pooling: str | None = None) -> CubeNotFound:
        known = self.checkpoints
        asked = f"no cube of {checkpoint}, site {site}" + (f", pooling {pooling}" if pooling else "")
        if self.is_imported and checkpoint in known:
            scored = ", ".join(self.scored_sites(checkpoint)) or "nothing"
            return CubeNotFound(f"{asked}; {self.only_scores} (of {scored})")
        if checkpoint not in known:
            existing = f"{did_you_mean([checkpoint], known)}the store has checkpoints {', '.join(known) or 'none yet'}"
        else:
            cubes = ", ".join(self.sites(checkpoint)) or "none"
            near = did_you_mean([site], self.sites(checkpoint))
            existing = f"{near}at this checkpoint the store has {cubes}, pooled with {self.recipe.pooling}"
            if states := self.state_sites(checkpoint):
                existing += f", and states alone, without the values of single texts, of {', '.join(states)}"
        return CubeNotFound(f"{asked}; {existing} (list: actlas info {self.path})")

    def token_cube(self, checkpoint: str, site: str) -> TokenCube:
        """Sampled token vectors.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: A site whose token vectors were kept.

        Returns:
            The vectors, dimensions (layer, token, channel), and the table of their tokens.

        Raises:
            CubeNotFound: If none were kept for this site.

        Example:
            >>> store.token_cube("planted-step64", "resid").shape
            (2, 288, 6)
        """
        record = self._checkpoint(checkpoint)
        sites = record.token_cubes
        if site not in sites:
            near = did_you_mean([site], sites)
            raise CubeNotFound(f"no token vectors of {checkpoint} at site {site}; {near}kept are {', '.join(sites) or 'none'}")
        array, committed = self._values(record, layout.token_path(checkpoint, site))
        return TokenCube(checkpoint, site, array, self.sampled_tokens, committed)

    @cached_property
    def sampled_tokens(self) -> pl.DataFrame:
        """The tokens whose vectors are kept: row, text_id, position, token_id, language, split."""
        path = self.path / layout.SAMPLED_TOKENS
        schema = {"row": pl.Int64, "text_id": pl.Int64, "position": pl.Int32, "token_id": pl.Int32}
        # by the recipe, not by whether the file is there: one that was lost is damage
        has_sample = path.is_file() or any(self.about["sampled_tokens_per_block"])
        table = read_parquet(self.checked(path)) if has_sample else pl.DataFrame(schema=schema)
        texts = self.corpus.texts.select("text_id", "language", "split", "parallel_id")
        return table.join(texts, on="text_id", how="left", maintain_order="left")

    def lape_site(self, checkpoint: str) -> str:
        """Where tokens were counted that the activation function of an MLP is above 0 at, which is what LAPE is about.

        In a plain MLP that is `mlp_hidden`. In a gated one, act(gate) * up, it is `mlp_pre`, the gate.

        Args:
            checkpoint: Id, as in `checkpoints`.

        Returns:
            The site.

        Raises:
            CubeNotFound: If tokens were not counted there, or if it is not known which site that is.

        Example:
            >>> store.lape_site("planted-step64")
            'mlp_hidden'
        """
        record = self._checkpoint(checkpoint)
        counted = f"tokens were counted at {', '.join(record.counts) or 'no site'}"
        if self.is_imported:
            raise CubeNotFound(f"{self.only_scores}: no active token of {checkpoint} was counted")
        if record.lape_site is None:
            raise CubeNotFound(
                f"which site of {checkpoint} is above 0 where its activation function's output is, is not known "
                f"({record.provenance.get('architecture')}); {counted}: name the site that is meant"
            )
        if record.lape_site not in record.counts:
            gate = " the MLPs of this model are gated, act(gate) * up, and act(gate) is above 0 where mlp_pre is;"
            raise CubeNotFound(
                f"active tokens of {checkpoint} were not counted at {record.lape_site};"
                f"{gate if record.lape_site == 'mlp_pre' else ''} {counted}. Name one of these to take what is there, or extract "
                f"into a new store with --count-sites {record.lape_site}"
            )
        return record.lape_site

    def token_counts(self, checkpoint: str, site: str | None = None, threshold: float | None = None) -> TokenCounts:
        """Active tokens per neuron and language, counted over every token of the corpus.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: Where tokens were counted; None for the one that LAPE is about, see `lape_site`.
            threshold: Above which value; None for the recipe's lowest.

        Returns:
            Active tokens, int64 ``"languages layers neurons"``, and tokens in all, ``"languages"``.

        Raises:
            CubeNotFound: If tokens were not counted at this site, or above this value.

        Example:
            >>> store.token_counts("planted-step64").active.shape
            (3, 2, 40)
        """
        record, site = self._checkpoint(checkpoint), site or self.lape_site(checkpoint)
        if self.is_imported:
            raise CubeNotFound(f"{self.only_scores}: no active token of {checkpoint} was counted")
        if site not in record.counts:
            raise CubeNotFound(
                f"active tokens of {checkpoint} were not counted at {site}; {did_you_mean([site], record.counts)}"
                f"counted are {', '.join(record.counts) or 'none'}"
            )
        thresholds = self.recipe.count_thresholds
        chosen = thresholds[0] if threshold is None else threshold
        if chosen not in thresholds:
            raise CubeNotFound(
                f"tokens of {checkpoint} at {site} were not counted above {chosen:g}; counted are those above "
                f"{', '.join(f'{value:g}' for value in thresholds)}"
            )
        array, committed = self._values(record, layout.count_path(checkpoint, site))
        several = (thresholds.index(chosen),) if len(thresholds) > 1 else ()
        active = read_array(array, (*several, None, None, None), committed)
        n_tokens = np.array([record.n_tokens[language] for language in self.corpus.languages], dtype=np.int64)
        return TokenCounts(active, n_tokens, chosen, self.corpus.languages)

    @property
    def text_sets(self) -> tuple[LanguageSets, ...]:
        """The sets of texts that states are kept over."""
        return self.corpus.text_sets

    def states(self, checkpoint: str, site: str) -> StateArrays:
        """States of one checkpoint at one site, where they are kept in place of a cube.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: As in `state_sites`.

        Returns:
            The arrays of the states; nothing of them is read yet.

        Raises:
            CubeNotFound: If none are kept there.

        Example:
            >>> from actlas.testing import Planting, planted_store
            >>> kept = Store(planted_store(folder / "states.actlas", Planting(states=("moments",))))
            >>> sorted(kept.states("planted-step64", "mlp_pre").arrays)
            ['active', 'range', 'squares', 'total']
        """
        sites = self.state_sites(checkpoint)
        if site not in sites or self.recipe.states is None:
            raise CubeNotFound(f"no states of {checkpoint} at site {site}; kept are {', '.join(sites) or 'none'}")
        folder, record = layout.state_path(checkpoint, site, self.recipe.pooling), self._checkpoint(checkpoint)
        self._check_group(self._records.files(record), folder)
        names = [name for name in layout.STATE_ARRAYS if (self.path / folder / name / "zarr.json").is_file()]
        arrays = {name: self._array(f"{folder}/{name}") for name in names}
        committed = {name: self._committed(record, f"{folder}/{name}") for name in names}
        return StateArrays(checkpoint, site, arrays, self.text_sets, committed)

    # Scores

    def scores(self, checkpoint: str, site: str) -> ScoreCube:
        """Scores of every neuron of a site.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: As in `sites`.

        Returns:
            The scores; nothing of them is read yet.

        Raises:
            ScoresNotFound: If they were not computed, or their run did not finish.

        Example:
            >>> store.scores("planted-step64", "mlp_pre").shape
            (3, 4, 2, 40)
        """
        record = self.score_record(checkpoint, site)
        if record is None:
            is_begun = score_manifest(self.path, checkpoint, site, self.recipe.pooling).exists()
            state = "not finished" if is_begun else "not computed"
            raise ScoresNotFound(f"scores of {checkpoint} at {site} are {state}; compute them with: actlas score {self.path}")
        path = score_folder(self._records.committed, self._records.score_name(checkpoint, site))
        self._check_group(self._records.score_files(checkpoint, site), path)
        arrays = {stat: self._array(f"{path}/{stat}") for stat in record.stats}

        def committed_shards(stat: str) -> Committed:
            return lambda: self._records.score_shards(checkpoint, site, record).get(f"{path}/{stat}", {})

        committed = {stat: committed_shards(stat) for stat in record.stats}
        return ScoreCube(checkpoint, site, arrays, record.languages, record.concepts, dict(record.settings), committed)

    def score_record(self, checkpoint: str, site: str) -> ScoreRecord | None:
        """What the scores of a site are, without opening them.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: As in `sites` or `state_sites`.

        Returns:
            Its statistics, languages, concepts and settings; None where the scores are not complete.

        Example:
            >>> store.score_record("planted-step0", store.sites("planted-step0")[0]).stats[:2]
            ('ap', 'auroc')
        """
        return self._records.scores(checkpoint, site)

    def scored_sites(self, checkpoint: str) -> list[str]:
        """Sites whose scores are complete.

        Args:
            checkpoint: Id, as in `checkpoints`.

        Returns:
            Names of sites, sorted.

        Raises:
            CheckpointNotFound: If the store has no such checkpoint.
            IncompleteCube: If its run did not commit yet.

        Example:
            >>> store.scored_sites("planted-step64")
            ['attn_out', 'mlp_hidden', 'mlp_pre']
        """
        sites = self._checkpoint(checkpoint).sites
        return [site for site in sites if self.score_record(checkpoint, site) is not None]

    def score_writer(
        self,
        checkpoint: str,
        site: str,
        *,
        stats: Sequence[str],
        languages: Sequence[str],
        concepts: Sequence[str],
        settings: Mapping[str, Any],
        overwrite: bool = False,
    ) -> ScoreWriter:
        """Begin to write scores, or go on where a stopped run left off.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: As in `sites` or `state_sites`.
            stats: Statistics that will be written.
            languages: Names along the first axis.
            concepts: Names along the second axis.
            settings: What decides the numbers: threshold, versions.
            overwrite: Compute scores that are there once more; they stay until the new ones are complete.

        Returns:
            The writer; nothing can be read before its `finish`.

        Raises:
            ReadOnlyStore: In mode "r".
            RecipeMismatch: If scores made with other settings are there and `overwrite` is False, or another run writes them.

        Example:
            >>> from actlas.testing import planted_store
            >>> opened = Store(planted_store(folder / "run.actlas"), "a")
            >>> names = {"stats": ["mean"], "languages": ["en"], "concepts": ["water"]}
            >>> with opened.score_writer("planted-step64", "mlp_pre", **names, settings={}) as writer:
            ...     for layer in writer.pending_layers():
            ...         writer.write_layer(layer, {"mean": np.zeros((1, 1, 40), np.float32)})
            ...     writer.finish()
            >>> opened.scores("planted-step64", "mlp_pre").shape
            (1, 1, 2, 40)
        """
        self._refuse_read_only("scores")
        shape = self.shape(checkpoint, site)
        about = {
            "stats": list(stats),
            "languages": list(languages),
            "concepts": list(concepts),
            "settings": dict(settings),
        }
        name, store_format = self._records.score_name(checkpoint, site), self.about["format"]
        target = ScoreTarget(self.path, name, shape, self.codec, store_format, self.log)
        return ScoreWriter(target, about, overwrite=overwrite)

    def score_basis(self, checkpoint: str, site: str) -> bytes:
        """What answers that are computed from the scores of a site can be told by: it changes when the scores do.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: As in `sites` or `state_sites`.

        Returns:
            The records of the scores' settings and of their completion; empty where they are not complete.

        Example:
            >>> store.score_basis("planted-step64", "mlp_pre") != store.score_basis("planted-step0", "mlp_pre")
            True
        """
        name, committed = self._records.score_name(checkpoint, site), self._records.committed
        version = committed.version(name)
        if version is None:
            return b""
        # every part of every kept table asks for it
        known, basis = self._bases.get(name, (None, b""))
        if known != version:
            files = ("settings.json", "done.json")
            basis = b"".join(data for file in files for _, data in committed.contents(name, file))
            self._bases[name] = (version, basis)
        return basis

    def _refuse_read_only(self, what: str) -> None:
        if self.mode != "a":
            raise ReadOnlyStore(f"{self.path} is open read-only, {what} can not be kept; open it with mode='a'")

    # Tables

    def publish_table(
        self,
        name: str,
        checkpoint: str,
        frame: pl.DataFrame,
        settings: Mapping[str, Any],
        *,
        variant: str | None = None,
        moves: Mapping[Part, Part] | None = None,
        drops: Sequence[Part] = (),
        only_if: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Keep an answer as the part of a table for one checkpoint; readers see the old one or the new one.

        Args:
            name: Name of the table.
            checkpoint: Its partition; the frame's own checkpoint column, if any, is left to the folder name.
            frame: Rows.
            settings: What decided the numbers (k, seeds, versions), kept in the file's metadata.
            variant: Keep it beside, as made with other settings, without touching what the table itself holds.
            moves: Parts that go elsewhere in the same step: (name, checkpoint, variant) -> likewise.
            drops: Parts that are not there any more, in the same step.
            only_if: Asked right before; asked again where another process was first.

        Returns:
            Whether it was kept: False where `only_if` said no.

        Raises:
            ReadOnlyStore: In mode "r".

        Example:
            >>> from actlas.testing import planted_store
            >>> own = actlas.open_store(planted_store(folder / "own.actlas"), "a")
            >>> own.publish_table("notes", "planted-step0", pl.DataFrame({"note": ["a first look"]}), {"by": "hand"})
            True
            >>> own.scan("notes").collect().rows()
            [('a first look', 'planted-step0')]
        """
        self._refuse_read_only(f"table {name}")
        data = parquet_bytes(
            frame.drop("checkpoint", strict=False), {"actlas_settings": json.dumps(dict(settings), sort_keys=True)}
        )
        return self._tables.publish((name, checkpoint, variant), data, moves or {}, drops, only_if)

    def table_names(self) -> list[str]:
        """Tables that were computed for at least one checkpoint.

        Returns:
            Their names, sorted.

        Example:
            >>> {"experts", "overlap"} <= set(store.table_names())
            True
        """
        return sorted({name for name, _, variant in self._tables.parts() if variant is None})

    def table_parts(self) -> dict[str, dict[str | None, list[Path]]]:
        """The files of all tables, found at once.

        Returns:
            Name of a table -> variant as in `table_variants`, None for the table itself -> its files, as in `table_files`.

        Example:
            >>> [path.parent.name for path in store.table_parts()["experts"][None]]
            ['checkpoint=planted-step0', 'checkpoint=planted-step64', 'checkpoint=planted-step128']
        """
        parts, order = self._tables.parts(), {checkpoint: at for at, checkpoint in enumerate(self.checkpoints)}
        tables: dict[str, dict[str | None, list[Path]]] = {}
        for part in sorted(
            (part for part in parts if part[1] in order), key=lambda part: (part[0], part[2] or "", order[part[1]])
        ):
            tables.setdefault(part[0], {}).setdefault(part[2], []).append(parts[part])
        return tables

    def part_files(self) -> dict[Part, Path]:
        """The file of every part of every table, also of those for checkpoints that are not there.

        Returns:
            (name, checkpoint, variant) -> its file, which is not looked at.

        Example:
            >>> store.part_files()["experts", "planted-step64", None].parent.name
            'checkpoint=planted-step64'
        """
        return self._tables.parts()

    def table_variants(self, name: str) -> list[str]:
        """The settings, other than those of the table itself, with which a table is kept too.

        Args:
            name: Name of the table.

        Returns:
            What `publish_table` calls `variant`, sorted.

        Example:
            >>> store.table_variants("experts")
            []
        """
        return sorted({variant for its_name, _, variant in self._tables.parts() if its_name == name and variant is not None})

    def table_files(self, name: str, variant: str | None = None) -> list[Path]:
        """Parquet files of a table.

        Args:
            name: Name of the table.
            variant: One of `table_variants`; None for the table itself.

        Returns:
            One file per checkpoint in order of step; none where it was never computed.

        Raises:
            DamagedStore: If one of them is not what was committed.

        Example:
            >>> [file.suffix for file in store.table_files("experts")]
            ['.parquet', '.parquet', '.parquet']
        """
        files = [self.table_file(name, checkpoint, variant) for checkpoint in self.checkpoints]
        return [file for file in files if file is not None]

    def table_file(self, name: str, checkpoint: str, variant: str | None = None) -> Path | None:
        """The part of a table for one checkpoint.

        Args:
            name: Name of the table.
            checkpoint: Which part of it.
            variant: One of `table_variants`; None for the table itself.

        Returns:
            Its file; None where there is none.

        Raises:
            DamagedStore: If it is not what was committed.

        Example:
            >>> store.table_file("experts", "planted-step63") is None
            True
        """
        file = self._tables.parts().get((name, checkpoint, variant))
        return None if file is None else self.checked(file)

    def table_settings(self, name: str, checkpoint: str, variant: str | None = None) -> dict[str, Any]:
        """The settings that a table was published with.

        Args:
            name: Name of the table.
            checkpoint: Which part of it.
            variant: One of `table_variants`; None for the table itself.

        Returns:
            Names of settings to what they were.

        Raises:
            TableNotFound: If it was not computed for this checkpoint.

        Example:
            >>> store.table_settings("experts", "planted-step64")["k"]
            6
        """
        path = self.table_file(name, checkpoint, variant)
        if path is None:
            raise TableNotFound(
                f"table {name} was not computed for {checkpoint}; there are {', '.join(self.table_names()) or 'none'}"
            )
        return table_settings(path)


def only_scores(store: object) -> str:
    """What a store of imported scores says to a question about values."""
    return f"{store} holds imported scores only, and no values of texts"


def _recipe(about: Mapping[str, Any], path: Path) -> Recipe:
    """The recipe of a store, if its fingerprint is the one that was written beside it."""
    try:
        recipe = Recipe.from_json(about["recipe"])
        # of what was written, for a recipe of today may have fields that it has not
        written = fingerprint(about["recipe"])
        if (written, recipe.corpus) == (about["recipe_fingerprint"], about["corpus_fingerprint"]):
            return recipe
        why = f"its recipe has the fingerprint {written}"
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        why = f"its recipe cannot be read: {' '.join(str(error).split())}"
    raise DamagedStore(f"{path / 'zarr.json'} is not what was written: {why}")


def table_settings(path: Path) -> dict[str, Any]:
    """What a part of a table was published with, as its file says."""
    try:
        settings: dict[str, Any] = json.loads(parquet_metadata(path)["actlas_settings"])
    except (KeyError, ValueError) as error:
        raise DamagedStore(f"{path} does not say what it was made with ({error})") from error
    return settings
