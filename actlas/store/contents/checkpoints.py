"""`Checkpoints`: which checkpoints a store holds, which sites each has, and what is said of one that is not there."""

from __future__ import annotations

from typing import Any

from actlas.errors import CheckpointNotFound, CubeNotFound, DamagedStore, IncompleteCube
from actlas.names import safe_id
from actlas.store import layout
from actlas.store.committed import is_committed
from actlas.store.contents.opened import Opened
from actlas.store.contents.records import Snapshot
from actlas.store.records import CheckpointRecord, ScoreRecord, block_record, read_record
from actlas.words import did_you_mean


class Checkpoints(Opened):
    """The checkpoints of a store and their sites, as their records tell them."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} with {len(self.checkpoints)} checkpoints>"

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

    @property
    def unfinished(self) -> dict[str, int]:
        """Checkpoints that were begun and did not commit -> texts that are committed so far."""
        begun = sorted(path.parent.name for path in (self.path / "manifests").glob("*/begun.json"))
        done = {checkpoint: self._texts_of_unfinished(checkpoint) for checkpoint in begun}
        return {checkpoint: n_texts for checkpoint, n_texts in done.items() if n_texts is not None}

    def _texts_of_unfinished(self, checkpoint: str) -> int | None:
        """Texts that a begun checkpoint has committed so far; None for one that is complete or was never begun."""
        folder = self.path / layout.manifest_path(safe_id(checkpoint))
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
