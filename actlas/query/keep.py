"""Answers that a question left in the store, and how the next question finds them again.

An answer is kept as a table with one part (a Parquet file) per checkpoint. The file says which settings decided its rows and on
which scores it stands. A part is found again by its settings, and only while those scores are still the ones in the store.

Parts with different settings stand beside each other: the parts that ``FROM experts`` shows all have the same settings, those of
the first answer that was kept; parts with other settings lie in folders of their own, ``settings=<id>``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from actlas.errors import QueryError, ReadOnlyStore, StaleTable
from actlas.names import VERSION
from actlas.query.schema import TABLES, Basis
from actlas.store.contents.parts import Part
from actlas.store.contents.tables import table_settings
from actlas.store.files.parquet import parquet_columns, scan_parquet
from actlas.store.layout import manifest_path
from actlas.store.store import Store

_LOG = logging.getLogger(__name__)
#: Setting -> the flag that gives it, in the order of a command line.
_FLAGS = {
    "of": "of",
    "k": "k",
    "n": "n",
    "sites": "site",
    "site": "site",
    "seed": "seed",
    "n_repeats": "repeats",
    "share": "share",
    "bar_quantile": "bar-quantile",
    "threshold": "threshold",
    "label": "label",
    "values": "values",
    "solver": "solver",
    "seeds": "seeds",
    "c": "c",
    "texts": "texts",
}
_PART_OF_CHOICE = "an answer for some of the languages or concepts does not stand for the whole table"


def settings_id(name: str, settings: Mapping[str, Any]) -> str:
    """Short name of the settings that decide the rows of a table; what only limits them, such as k, does not count.

    Example:
        >>> settings_id("experts", {"k": 50, "sites": ["mlp_pre"]}) == settings_id("experts", {"k": 3, "sites": ["mlp_pre"]})
        True
        >>> settings_id("overlap", {"k": 50, "sites": ["mlp_pre"]}) == settings_id("overlap", {"k": 3, "sites": ["mlp_pre"]})
        False
    """
    deciding = {key: settings.get(key, unrecorded) for key, unrecorded in TABLES[name].settings.items()}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:8]


def basis_of(store: Store, name: str, checkpoint: str, settings: Mapping[str, Any]) -> str:
    """Fingerprint of what a part of a table is computed from: commit records of the checkpoint, or of the scores of its sites."""
    basis = TABLES[name].basis
    checkpoints = store.checkpoints if basis is Basis.ALL_SCORES else settings.get("compared") or [checkpoint]
    digest = hashlib.sha256(store.corpus.fingerprint.encode())
    for one in checkpoints:
        if basis is Basis.VALUES:
            record = store.path / manifest_path(one) / "checkpoint.json"
            # one that was compared and is not there any more is no longer what it was
            digest.update(record.read_bytes() if record.is_file() else b"none")
            continue
        for site in settings["sites"]:
            digest.update(store.score_basis(one, site) or b"nonenone")
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class KeptPart:
    """One part of a kept table.

    Attributes:
        name: Name of the table.
        checkpoint: Which checkpoint the part is about.
        path: Its file.
        settings: What it was kept with: what decided its rows, versions, and the fingerprint of what it stands on.
        is_shown: Whether SQL shows it under the name of the table; otherwise it stands beside, with other settings.
    """

    name: str
    checkpoint: str
    path: Path
    settings: Mapping[str, Any]
    is_shown: bool

    @property
    def id(self) -> str:
        return settings_id(self.name, self.settings)

    @property
    def missing_columns(self) -> list[str]:
        """Columns that the table has by now, and that this part, of an earlier version, does not."""
        existing = parquet_columns(self.path)
        return [name for name in TABLES[self.name].columns if name != "checkpoint" and name not in existing]

    def is_current(self, store: Store) -> bool:
        """Whether the scores or values that it stands on are still those of the store; False where it does not say which."""
        if "basis" not in self.settings or self.checkpoint not in store.checkpoints or self.missing_columns:
            return False
        return bool(self.settings["basis"] == basis_of(store, self.name, self.checkpoint, self.settings))

    def check_current(self, store: Store) -> None:
        """Refuse an answer that outlived its scores; one of an older version, which does not say what it stands on, passes.

        Raises:
            StaleTable: With the command that makes it again.
        """
        if self.missing_columns:
            raise StaleTable(
                f"table {self.name} of {self.checkpoint} was kept by an earlier version, without column "
                f"{', '.join(self.missing_columns)}; make it again: {self.command(store)}"
            )
        if "basis" not in self.settings or self.is_current(store):
            return
        if self.checkpoint not in store.checkpoints:
            raise StaleTable(
                f"table {self.name} holds rows of {self.checkpoint}, which is not in {store.path} any more; "
                f"remove {self.path.parent}"
            )
        raise StaleTable(
            f"table {self.name} of {self.checkpoint} stands on {TABLES[self.name].basis.value}, which changed since; "
            f"make it again: {self.command(store)}"
        )

    def command(self, store: Store) -> str:
        """The command line that makes this part, with its settings."""
        table = TABLES[self.name]
        words = [(table.command or "").removesuffix(" --site SITE").replace("STORE", shlex.quote(str(store.path)))]
        known = {**self.settings, "seeds": len(self.settings.get("seeds", ()))}
        for name, flag in (table.flags or _FLAGS).items():
            value = known.get(name)
            if name not in self.settings or not (value or value == 0) or (table.flags and value == table.settings.get(name)):
                continue
            if isinstance(value, bool):
                words += [f"--{flag}"] * value
            else:
                words += [f"--{flag} {shlex.quote(str(one))}" for one in (value if isinstance(value, list) else [value])]
        return " ".join([*words, *["--no-halves"] * (self.settings.get("halves") is False)])

    def reaches(self, settings: Mapping[str, Any]) -> bool:
        """Whether it holds at least as much as was asked for: as large a k, and so on."""
        return all(self.settings[limit] >= settings[limit] for limit in TABLES[self.name].limits)

    def scan(self) -> pl.LazyFrame:
        """Its rows, lazily, with the columns of the table."""
        columns = list(TABLES[self.name].columns)
        rows = scan_parquet(self.path, [name for name in columns if name != "checkpoint"])
        return rows.with_columns(pl.lit(self.checkpoint).alias("checkpoint")).select(columns)


def kept_parts(store: Store, name: str) -> Iterator[KeptPart]:
    """Every part of a table: those that SQL shows first, then those with other settings."""
    for variant in (None, *store.table_variants(name)):
        for file in store.table_files(name, variant):
            checkpoint = file.parent.name.removeprefix("checkpoint=")
            yield KeptPart(name, checkpoint, file, store.table_settings(name, checkpoint, variant), variant is None)


def check_current(store: Store, name: str, *, beside: bool) -> None:
    """Refuse a table in which an answer outlived its scores.

    Args:
        store: Where it is.
        name: Name of the table.
        beside: Whether parts count that have other settings than those that SQL shows.

    Raises:
        StaleTable: With the command that makes the first such answer again.
    """
    for part in kept_parts(store, name):
        if beside or part.is_shown:
            part.check_current(store)


def part_with(store: Store, name: str, checkpoint: str, settings: Mapping[str, Any]) -> KeptPart | None:
    """The part that was kept with some settings, be it still current or not; limits such as k do not count."""
    for variant in (None, settings_id(name, settings)):
        file = store.table_file(name, checkpoint, variant)
        if file is not None:
            part = KeptPart(name, checkpoint, file, store.table_settings(name, checkpoint, variant), variant is None)
            if part.id == settings_id(name, settings):
                return part
    return None


def kept_answer(store: Store, name: str, checkpoint: str, settings: Mapping[str, Any]) -> KeptPart | None:
    """The part of a table that answers a question with these settings; None where it has to be computed.

    Args:
        store: Where to look.
        name: Name of the table.
        checkpoint: Which checkpoint the question is about.
        settings: The settings that decide the rows, and the limits (k and the like) that have to be reached.
    """
    part = part_with(store, name, checkpoint, settings)
    return part if part is not None and part.reaches(settings) and part.is_current(store) else None


@dataclass
class Keeper:
    """Keeps the answers of one question. Leave it as a context manager: it then logs what was kept, and where.

    Attributes:
        store: The store that the question is put to.
        keep: True and False as the caller said; None keeps where the store was opened with mode "a".
        replace: Whether an answer takes the place of one with other settings, instead of standing beside it.
    """

    store: Store
    keep: bool | None = None
    replace: bool = False
    _kept: dict[str, set[str]] = field(default_factory=dict)
    _used: dict[str, set[str]] = field(default_factory=dict)
    _ids: dict[tuple[Path, int], str] = field(default_factory=dict)
    _set_aside: dict[tuple[str, str], Part] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.keep and self.store.mode != "a":
            raise ReadOnlyStore(f"{self.store.path} is open read-only, the answer cannot be kept; open it with mode='a'")
        self.is_on = self.store.mode == "a" if self.keep is None else self.keep

    def only_if(self, is_whole: bool, why_not: str = _PART_OF_CHOICE) -> None:
        """Keep nothing of an answer that would pass for more than it is.

        Raises:
            QueryError: If the caller asked for it to be kept.
        """
        if is_whole:
            return
        if self.keep:
            raise QueryError(f"this answer cannot be kept: {why_not}; leave that out, or keep=True")
        if self.is_on:
            _LOG.info("nothing is kept: %s", why_not)
        self.is_on = False

    def find(self, name: str, checkpoint: str, settings: Mapping[str, Any], along: Sequence[str] = ()) -> KeptPart | None:
        """As `kept_answer`; with `replace`, what is found beside becomes what SQL shows.

        Args:
            name: Name of the table that is the answer.
            checkpoint: Which checkpoint the question is about.
            settings: As in `kept_answer`.
            along: Tables that are kept together with this one.
        """
        part = kept_answer(self.store, name, checkpoint, settings)
        if part is not None:
            self.used(name, checkpoint)
        if part is not None and self.is_on and self.replace:
            self._guarded(lambda: self._show_found((name, *along), checkpoint, settings))
            part = part_with(self.store, name, checkpoint, settings)
        return part

    def used(self, name: str, checkpoint: str) -> None:
        """A kept table was what the question, or a part of it, was answered from."""
        self._used.setdefault(name, set()).add(checkpoint)

    def _show_found(self, names: Sequence[str], checkpoint: str, settings: Mapping[str, Any]) -> None:
        for name in names:
            part = part_with(self.store, name, checkpoint, settings)
            if part is not None and (not part.is_shown or (name, checkpoint) in self._set_aside):
                self._keep_part(name, checkpoint, part.scan().collect(), part.settings, replace=True)

    def largest(self, limit: str, name: str, checkpoint: str, settings: Mapping[str, Any]) -> int:
        """What to compute so that a kept table does not shrink: the limit asked for, or that of what is about to be replaced."""
        part = part_with(self.store, name, checkpoint, settings) if self.is_on else None
        return max(settings[limit], part.settings[limit]) if part is not None else int(settings[limit])

    def put(
        self, checkpoint: str, tables: Mapping[str, pl.DataFrame], settings: Mapping[str, Any], *, is_answer: bool = True
    ) -> None:
        """Keep tables of one checkpoint, all made with the same settings.

        What was computed on the way to an answer (not `is_answer`) is kept where a table shows it: it takes no other table's
        place, and does not stand beside one, where it was not asked for.

        Where keeping was not asked for by name and fails (a full disk, a folder that cannot be written to), the question still
        answers, and a warning says why nothing was kept.
        """

        def keep_all() -> None:
            for name, frame in tables.items():
                basis = basis_of(self.store, name, checkpoint, settings)
                part = {**settings, "basis": basis, "actlas": VERSION}
                self._keep_part(name, checkpoint, frame, part, replace=self.replace and is_answer, is_answer=is_answer)

        if self.is_on:
            self._guarded(keep_all)

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            if self.keep:
                raise
            self.is_on = False
            _LOG.warning("nothing is kept in %s: %s", self.store.path, error.strerror or error)

    def _keep_part(
        self,
        name: str,
        checkpoint: str,
        frame: pl.DataFrame,
        settings: Mapping[str, Any],
        *,
        replace: bool,
        is_answer: bool = True,
    ) -> None:
        own_id = settings_id(name, settings)
        own = (name, checkpoint, own_id)
        set_aside = self._set_aside.pop((name, checkpoint), None)
        drops = [own] if set_aside is None else [own, set_aside]
        if replace:
            moves = self._moves(name, own_id, checkpoint)
            self.store.publish_table(name, checkpoint, frame, settings, moves=moves, drops=drops)
        elif not self.store.publish_table(
            name, checkpoint, frame, settings, drops=drops, only_if=lambda: self._may_show(name, own_id, checkpoint)
        ):
            if not is_answer and part_with(self.store, name, checkpoint, settings) is None:
                return
            self.store.publish_table(name, checkpoint, frame, settings, variant=own_id)
            self._kept.setdefault(f"{name} (settings {own_id}, beside those that SQL shows as {name})", set()).add(checkpoint)
            return
        self._kept.setdefault(name, set()).add(checkpoint)

    def _may_show(self, name: str, own_id: str, checkpoint: str) -> bool:
        """Whether parts with these settings are those that SQL shows of a table, or it shows none yet."""
        shown = self._shown_ids(name)
        return shown.get(checkpoint) == own_id or set(shown.values()) <= {own_id}

    def _shown_ids(self, name: str) -> dict[str, str]:
        """checkpoint -> id of the settings of what SQL shows of a table, as it is now."""
        files = self.store.table_parts().get(name, {}).get(None, [])
        return {partition: self._id_of(name, file) for file in files if (partition := _partition(file))}

    def _id_of(self, name: str, file: Path) -> str:
        version = (file, file.stat().st_mtime_ns)
        if version not in self._ids:
            self._ids[version] = settings_id(name, table_settings(self.store.checked(file)))
        return self._ids[version]

    def _moves(self, name: str, own_id: str, checkpoint: str) -> dict[Part, Part]:
        """What lets SQL show the parts of a table with these settings, of all checkpoints but the one about to be written.

        What it showed of the others is set aside, and dropped only when this question answers for them too.
        """
        moves: dict[Part, Part] = {}
        for other, shown_id in self._shown_ids(name).items():
            if shown_id != own_id and other != checkpoint:
                moves[name, other, None] = self._set_aside[name, other] = (name, other, shown_id)
        for file in self.store.table_files(name, own_id):
            other = _partition(file)
            if other != checkpoint:
                moves[name, other, own_id] = (name, other, None)
        return moves

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        for name, checkpoints in self._used.items():
            _LOG.info("answered from what is kept in %s: table %s of %d checkpoints", self.store.path, name, len(checkpoints))
        for what, checkpoints in self._kept.items():
            _LOG.info("kept in %s: table %s of %d checkpoints", self.store.path, what, len(checkpoints))


def _partition(file: Path) -> str:
    return file.parent.name.removeprefix("checkpoint=")
