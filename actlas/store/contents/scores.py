"""`Scores`: the statistics that were computed of every neuron of a site, read and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actlas.errors import ScoresNotFound
from actlas.store.committed import score_folder
from actlas.store.contents.checkpoints import Checkpoints
from actlas.store.cube import Committed, ScoreCube
from actlas.store.records import score_manifest
from actlas.store.write.score_writer import ScoreTarget, ScoreWriter


class Scores(Checkpoints):
    """Scores of the sites of each checkpoint."""

    def __init__(self, path: Path | str, mode: str = "r") -> None:
        super().__init__(path, mode)
        self._bases: dict[str, tuple[object, bytes]] = {}

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
            >>> opened = actlas.open_store(planted_store(folder / "run.actlas"), "a")
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
